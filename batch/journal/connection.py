"""SQLite connections, and what SQLite says turned into sentences."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from batch.errors import JournalError
from batch.journal.schema import APPLICATION_ID, SCHEMA_VERSION

RESTORE = "Restore it from a backup, or move it away to begin again; answers that only it held are bought again."
_SAFE = "Nothing that was committed is lost; mend the cause and run the command again."
_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection; transactions begin and end where the caller says so, and nowhere else."""
    if read_only:
        # Without a log nobody writes and nothing is to be recovered: then the file is read as it stands, and
        # none is made beside it.
        at_rest = not path.with_name(path.name + "-wal").exists()
        address, uri = f"file:{quote(str(path))}?mode=ro" + ("&immutable=1" if at_rest else ""), True
    else:
        address, uri = str(path), False
    connection = sqlite3.connect(address, timeout=30, isolation_level=None, check_same_thread=False, uri=uri)
    # NORMAL: the tape is synced before SQLite hears of a group, and what SQLite lost is played back from it.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA temp_store = FILE")
    return connection


class Damaged(Exception):
    """The SQLite file cannot be read any more, or not wholly."""


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Prove that a file is a journal of ours that this version can use.

    Raises `JournalError` for a foreign or a newer one, `Damaged` for one that is torn or cut off. All pages
    are read only where the last run did not come to its end.
    """
    if path.stat().st_size == 0:
        raise Damaged("it is empty")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is no journal of chatbatch.", hint="Name another file with --journal.")
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"The journal {path} has schema {version}; this version of chatbatch knows {SCHEMA_VERSION}.",
            hint="Continue with the version that wrote it, or a newer one.",
        )
    ended = connection.execute("SELECT count(*) FROM runs WHERE ended_at IS NULL").fetchone()[0] == 0
    if _is_short(path):
        raise Damaged("it is shorter than it says")
    if not ended and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise Damaged(found)


def _is_short(path: Path) -> bool:
    """Return whether a file has fewer pages than its own header states (SQLite's file format, 1.3)."""
    with path.open("rb") as file:
        header = file.read(100)
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    return path.stat().st_size < page * int.from_bytes(header[28:32], "big")


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn whatever SQLite and the file system say into one `JournalError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        hint = RESTORE if is_damage(error) else _SAFE
        raise JournalError(f"The journal {path} cannot be used: {error}.", hint=hint) from error
    except (OverflowError, TypeError, UnicodeError) as error:
        raise JournalError(f"The journal {path} cannot hold an entry: {error}.", hint=_SAFE) from error
    except OSError as error:
        reason = error.strerror or error
        raise JournalError(f"The journal {path} cannot be used: {reason}.", hint=_SAFE) from error


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether SQLite says that the file itself is harmed."""
    return getattr(error, "sqlite_errorname", "") in _DAMAGED


def sync_folder(folder: Path) -> None:
    """Make names in a folder lasting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
