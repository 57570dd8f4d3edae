"""The tape read through without touching it: every line's checksum, and how many entries of each kind it holds.

For `doctor`, which may look while a run writes: unlike `Tape` it neither cuts nor appends, and it reads no
further than it is told.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from batch.jsontext import NotJson, parse

HEAD = "tape"


@dataclass(slots=True)
class TapeFacts:
    """What stands on a tape: its journal's identity, entries by kind, where lines are harmed, and its size."""

    identity: str = ""
    entries: Counter[str] = field(default_factory=Counter)
    harmed: list[int] = field(default_factory=list)
    size: int = 0
    fits: bool = False


def examine(path: Path, end: int) -> TapeFacts:
    """Read the tape at `path` up to the offset `end`; `fits` says whether a line ends there. Raises `OSError`."""
    facts = TapeFacts()
    with path.open("rb") as file:
        facts.size = file.seek(0, 2)
        file.seek(0)
        for offset, line in _lines(file, end):
            facts.fits = offset + len(line) == end
            kind, identity = _kind(line)
            if kind is None:
                facts.harmed.append(offset)
            elif kind == HEAD:
                facts.identity = identity
            else:
                facts.entries[kind] += 1
    return facts


def _lines(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < end and (line := file.readline()):
        yield offset, line
        offset += len(line)


def _kind(line: bytes) -> tuple[str | None, str]:
    """Return an entry's kind and, of the tape's head, the journal's identity; no kind where it is harmed."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    try:
        fields = parse(text) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, NotJson):
        return None, ""
    if not line.endswith(b"\n") or not isinstance(fields, list) or not fields:
        return None, ""
    return str(fields[0]), str(fields[2]) if fields[0] == HEAD and len(fields) > 2 else ""
