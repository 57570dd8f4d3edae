"""The documentation and the code say the same."""

from __future__ import annotations

from pathlib import Path

from batch.cli.options import settings_table
from batch.errors import ExitCode

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_readme_has_every_setting() -> None:
    """The README's table of settings is the one that the declared settings make."""
    assert settings_table() in README


def test_readme_names_only_known_exit_codes() -> None:
    """Every exit code that the README names exists, and the usual ones are named."""
    rows = [line.split("|")[1].strip() for line in README.splitlines() if line.startswith("| ")]
    codes = {int(word) for cell in rows for word in cell.split(",") if word.strip().isdigit()}
    assert codes <= {int(code) for code in ExitCode}
    assert {0, 1, 2, 3, 4, 6, 11, 130, 143} <= codes
