"""Recordings of the real service, where there are any: CHATBATCH_REFERENCE_DATA names their folder."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

# Read when the tests are collected: each test begins with an environment without CHATBATCH_ variables.
FOLDER = Path(os.environ.get("CHATBATCH_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def recorded(name: str) -> list[dict[str, object]]:
    """Return the lines of a recorded JSON Lines file; skips the test where the file is not here."""
    file = FOLDER / name
    if not file.exists():
        pytest.skip(f"the recorded {name} is not here; CHATBATCH_REFERENCE_DATA names its folder")
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]
