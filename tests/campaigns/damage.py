"""What a kill leaves of a journal, read without the tool, and ways to harm one copy of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Left:
    """What a journal's copies say: the rows that were received, by key, and those in flight."""

    received: dict[str, bytes]
    in_flight: set[int]


def on_tape(tape: Path) -> Left:
    """Return what whole lines of a tape say."""
    if not tape.exists():
        return Left({}, set())
    lines = [line for line in tape.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    entries = [json.loads(line[9:]) for line in lines]
    keys = {entry[1]: entry[2] for entry in entries if entry[0] == "intent"}
    received = {keys[entry[1]]: entry[6].encode() for entry in entries if entry[0] == "receipt"}
    over = {entry[1] for entry in entries if entry[0] in ("receipt", "outcome")}
    return Left(received, keys.keys() - over)


def in_sqlite(journal: Path) -> dict[str, bytes]:
    """Return the rows that a copy of the SQLite file and its log holds the receipts of."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for suffix in ("", "-wal"):
            if (part := journal.with_name(journal.name + suffix)).exists():
                shutil.copyfile(part, copy.with_name("copy" + suffix))
        connection = sqlite3.connect(copy)
        try:
            question = "SELECT row_key, body FROM attempts JOIN receipts USING (attempt)"
            return {str(key): bytes(body) for key, body in connection.execute(question)}
        except sqlite3.OperationalError:  # killed before there were tables
            return {}
        finally:
            connection.close()


def _tear_tape(output: Path) -> None:
    tape = tape_of(output)
    data = tape.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    os.truncate(tape, last + (len(data) - last) // 2)


def _tear_sqlite(output: Path) -> None:
    journal = journal_of(output)
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(max(0, size - PAGE))
        file.write(random.Random(size).randbytes(PAGE))


def _halve_output(output: Path) -> None:
    output.write_bytes(b"PAR1" + bytes(1000))
    output.with_name(f".{output.name}.99999.unfinished").write_bytes(b"half a file")


Damage = Callable[[Path], None]
DAMAGES: dict[str, Damage] = {
    "tape's last line torn": _tear_tape,
    "last page torn": _tear_sqlite,
    "last page cut off": lambda output: os.truncate(
        journal_of(output), max(0, journal_of(output).stat().st_size - PAGE)
    ),
    "WAL removed": lambda output: beside(output, "-wal").unlink(missing_ok=True),
    "SQLite file removed": lambda output: journal_of(output).unlink(missing_ok=True),
    "tape removed": lambda output: tape_of(output).unlink(),
    "output half written": _halve_output,
}
OF_TAPE = ("tape's last line torn", "tape removed")
# A line that nothing depends on yet may be torn, and a page may stand in the log, too.
SILENT = ("", "output half written", "tape's last line torn", "last page torn")


def journal_of(output: Path) -> Path:
    """Return where an output's journal stands."""
    return output.with_name(output.name + ".journal")


def beside(output: Path, suffix: str) -> Path:
    """Return a file beside the journal."""
    return output.with_name(output.name + ".journal" + suffix)


def tape_of(output: Path) -> Path:
    """Return where the journal's tape stands."""
    return beside(output, ".tape")
