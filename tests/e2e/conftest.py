"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import pytest
from e2e.harness import ACCOUNT, Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs commands in this process, with an account."""
    made = Shell(capsys, monkeypatch)
    made.setenv(**ACCOUNT)
    return made
