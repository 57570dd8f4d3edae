"""The emulator in a process of its own, as `chatbatch emulator` serves it: what holds up one holds up no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An emulator that is served by another process."""

    base_url: str

    def totals(self) -> dict[str, object]:
        """Return what happened so far."""
        with urllib.request.urlopen(f"{self.base_url}/emulator/totals") as reply:
            found = json.load(reply)
        assert isinstance(found, dict)
        return found


@contextmanager
def elsewhere(*flags: str) -> Iterator[Elsewhere]:
    """Serve an emulator with these flags of `chatbatch emulator`, for as long as the block lasts."""
    words = [sys.executable, "-m", "batch", "emulator", "--port", "0", *flags]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        try:
            announced = process.stderr.readline()
            assert announced.startswith("Serving "), announced + process.stderr.read()
            yield Elsewhere(announced.split()[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
