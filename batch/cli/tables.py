"""Small tables on stdout, and how a job's run is written in their cells."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from batch.plaintext import printable

if TYPE_CHECKING:
    from batch.plan.scheduled.history import Record


def show(lines: Iterable[str]) -> None:
    """Print lines; on a terminal those that are too long for it are folded between words, and stay indented."""
    width = shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else None
    for line in map(printable, lines):
        for part in [line] if width is None or len(line) <= width else folded(line, width):
            click.echo(part)


def folded(line: str, width: int) -> list[str]:
    """Return a line in pieces of at most so many characters, but for longer words."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )  # words that are longer than a line, such as paths, stay whole


def columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield printable("  ".join(cells).rstrip())


def moment(seconds: float) -> str:
    """Return a time since 1970 as people of this machine's time zone write it."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


def rows(record: Record) -> str:
    """Return how the job's rows stood: answered of all."""
    return f"{record.rows.get('ok', 0):,} of {sum(record.rows.values()):,}" if record.rows else "-"


def bought(record: Record) -> str:
    """Return what a run's answers cost; of the emulator's that nothing was paid."""
    if record.gained is None:
        return "-"
    cost = ", ".join(f"{amount:f} {code}" for code, amount in sorted(record.gained.cost.items())) or "0"
    return f"{cost} (emulated)" if record.emulated else cost
