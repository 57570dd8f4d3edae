"""Opening a journal: its SQLite file and its tape, each made again from the other where one was harmed.

What is never done: begin anew where something stood. A journal of which neither copy can be read is an error.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from batch.errors import JournalError
from batch.journal.connection import RESTORE, Damaged, check, connect, is_damage, sync_folder
from batch.journal.entries import Write
from batch.journal.queries import all_entries
from batch.journal.schema import APPLICATION_ID, SCHEMA_VERSION, SET_FACT, TABLES, statement
from batch.journal.tape import HeadHarmed, Tape

GROUP = 2000
IDENTITY, ASKED, TAPE_END, IN_USE = "identity", "asked", "tape_end", "in_use"
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite puts beside an open file


@dataclass(frozen=True, slots=True)
class Opened:
    """Both copies, in step with each other; `repaired` says what had to be done for that."""

    connection: sqlite3.Connection
    tape: Tape
    repaired: str


def tape_path(journal: Path) -> Path:
    """Return where a journal's tape stands."""
    return journal.with_name(journal.name + ".tape")


def open_both(path: Path, asked: str) -> Opened:
    """Open the journal at `path`, or make one where nothing stands; `asked` is whom it holds answers of.

    Raises `JournalError`, `OSError`, `sqlite3.DatabaseError`.
    """
    tape = _open_tape(tape_path(path), path)
    if not path.exists() and tape is None:
        tape = Tape.make(tape_path(path), uuid.uuid4().hex, asked, iter(()))
    repaired, connection = "", None
    try:
        if path.exists():
            connection, repaired = _open_sqlite(path, has_tape=tape is not None)
        if connection is None and tape is not None:
            repaired = _rebuild(path, tape, repaired)
            connection = connect(path)
        if connection is None:
            raise JournalError(f"The journal {path} is damaged and has no tape.", hint=RESTORE)
        return _in_step(path, connection, tape, repaired)
    except BaseException:
        if connection is not None:
            connection.close()
        if tape is not None:
            tape.close()
        raise


def _open_tape(path: Path, journal: Path) -> Tape | None:
    """Open the tape; None where there is none, or where its head is harmed and the journal can replace it."""
    try:
        return Tape.open(path)
    except FileNotFoundError:
        return None
    except HeadHarmed as error:
        if journal.exists():
            return None
        raise JournalError(f"The tape {path} is damaged, and its journal is gone.", hint=RESTORE) from error


def mark(connection: sqlite3.Connection, *, in_use: bool) -> None:
    """Write into the SQLite file itself, not only its log, whether a log has to stand beside it."""
    connection.execute(SET_FACT, (IN_USE, str(int(in_use))))
    if in_use:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _open_sqlite(path: Path, *, has_tape: bool) -> tuple[sqlite3.Connection | None, str]:
    """Return a checked connection; or None where the file is damaged and has a tape, and what is wrong."""
    has_log = path.with_name(path.name + "-wal").exists()  # looked for first: opening makes one
    connection = connect_or_damaged(path)
    reason = "SQLite cannot read it"
    if connection is not None:
        try:
            check(connection, path)
            in_use = connection.execute("SELECT value FROM facts WHERE name = ?", (IN_USE,)).fetchone()
            if in_use == ("1",) and not has_log:  # SQLite leaves it where its process dies
                raise Damaged("its write-ahead log was removed")
            return connection, ""
        except (Damaged, sqlite3.DatabaseError) as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
                raise
            reason = str(error)
        except BaseException:
            connection.close()
            raise
    if not has_tape:
        raise JournalError(f"The journal {path} is damaged: {reason}.", hint=RESTORE)
    return None, reason


def _move_aside(path: Path) -> Path:
    """Give a damaged file another name, and what SQLite left beside it too; returns the name."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    names = (path.with_name(stem + end) for end in ("", *(f"-{n}" for n in range(1, 1000))))
    aside = next(name for name in names if not name.exists())
    for suffix in ("", *_BESIDE):
        part = path.with_name(path.name + suffix)
        if part.exists():
            os.replace(part, aside.with_name(aside.name + suffix))
    return aside


def connect_or_damaged(path: Path) -> sqlite3.Connection | None:
    """Return a connection, or None where SQLite cannot even begin to read the file."""
    try:
        return connect(path)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return None
        raise


def _rebuild(path: Path, tape: Tape, reason: str) -> str:
    """Make the SQLite file from the whole tape, under another name first; returns what is to be told.

    A damaged file (`reason`) is kept under another name. Nothing is touched where the tape is damaged too.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    _remove_all(unfinished)
    connection = connect(unfinished)
    try:
        connection.executescript(TABLES)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for fact in ((IDENTITY, tape.identity), (ASKED, tape.asked), (TAPE_END, str(tape.begin))):
            connection.execute(SET_FACT, fact)
        play(connection, tape, tape.begin)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    except BaseException:
        connection.close()
        _remove_all(unfinished)
        raise
    told = "" if tape.end == tape.begin else "the journal was made again from its tape"
    if reason:
        aside = _move_aside(path)
        told = f"the journal was damaged ({reason}); it was made again from its tape, the old one is {aside}"
    _remove_all(path)  # a log that another file left would be played into this one
    os.replace(unfinished, path)
    sync_folder(path.parent)
    return told


def _remove_all(path: Path) -> None:
    for suffix in ("", *_BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def play(connection: sqlite3.Connection, tape: Tape, offset: int) -> int:
    """Apply what the tape holds from an offset on; returns how many entries that were."""
    entries, count = tape.read(offset), 0
    while group := list(islice(entries, GROUP)):
        apply(connection, [entry for entry, _ in group], group[-1][1])
        count += len(group)
    return count


def apply(
    connection: sqlite3.Connection,
    writes: Sequence[Write],
    tape_end: int,
    before_commit: Callable[[], None] = lambda: None,
) -> None:
    """Apply entries and the tape's offset behind them in one transaction."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    try:
        for write in writes:
            execute(*statement(write))
        execute(SET_FACT, (TAPE_END, str(tape_end)))
        before_commit()
        execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            execute("ROLLBACK")
        raise


def _in_step(path: Path, connection: sqlite3.Connection, tape: Tape | None, repaired: str) -> Opened:
    """Bring both copies to the same entry: play the tape's end, or write the tape again."""
    facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    if tape is not None and tape.identity != facts[IDENTITY]:
        raise JournalError(f"{tape.path} is the tape of another journal than {path}.", hint=RESTORE)
    if tape is not None:
        known = int(facts[TAPE_END])
        try:
            if known <= tape.end:
                played = play(connection, tape, known)
                done = f"{played} entries were played back from the tape" if played else ""
                return Opened(connection, tape, repaired or done)
        except JournalError as error:
            if known < tape.end:  # what is behind stands nowhere else
                raise JournalError(str(error), hint=RESTORE) from error
        tape.close()  # it is harmed, and the SQLite file has all that it had: write it again
    entries: Iterator[Sequence[Write]] = all_entries(connection)
    tape = Tape.make(tape_path(path), facts[IDENTITY], facts[ASKED], entries)
    try:
        apply(connection, [], tape.end)
    except BaseException:
        tape.close()
        raise
    return Opened(connection, tape, "the journal's tape was missing or harmed; it was written again")
