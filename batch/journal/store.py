"""The journal's SQLite file: its schema, its one way of opening, its statements.

Synchronous; whoever awaits calls it in a worker thread. A file is made whole under another name first, so
that one which is empty or damaged is known to have been harmed, and is never quietly begun anew: that would
buy everything again.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batch.errors import JournalError
from batch.journal.entries import Intent, Outcome, Receipt, Result, Stored, Unjudged, Write
from batch.records import Reply, Status, Usage

APPLICATION_ID = 0x63686274  # "chbt", in the file's header: tells ours from any other SQLite file
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, version TEXT NOT NULL,
    settings TEXT NOT NULL, exit_code INTEGER
);
CREATE TABLE attempts (
    attempt INTEGER PRIMARY KEY, row_key TEXT NOT NULL, number INTEGER NOT NULL, run INTEGER NOT NULL,
    sent_at REAL NOT NULL, outcome TEXT, error_code TEXT
);
CREATE INDEX attempts_of_row ON attempts (row_key);
CREATE INDEX attempts_open ON attempts (attempt) WHERE outcome IS NULL;
CREATE TABLE receipts (
    attempt INTEGER PRIMARY KEY, received_at REAL NOT NULL, latency_s REAL NOT NULL,
    http_status INTEGER NOT NULL, server_request_id TEXT, body BLOB NOT NULL
);
CREATE TABLE results (
    row_key TEXT PRIMARY KEY, attempt INTEGER NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    input_tokens INTEGER, completion_tokens INTEGER, reasoning_tokens INTEGER, total_tokens INTEGER,
    error_code TEXT, error_message TEXT, latency_s REAL, finished_at REAL NOT NULL
);
"""
_RESULT_COLUMNS = (
    "r.row_key, r.attempt, r.status, r.attempts, r.input_tokens, r.completion_tokens, r.reasoning_tokens, "
    "r.total_tokens, r.error_code, r.error_message, r.latency_s, r.finished_at"
)


@dataclass(frozen=True, slots=True)
class RowState:
    """What the journal knows of a row: its status (None: no result yet), and how often it was asked."""

    status: Status | None
    attempts: int


class Journal:
    """An open journal. Methods raise `JournalError` with one sentence for whatever SQLite reports.

    One connection writes and another reads, so that a reader's thread and the committing one do not meet.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._reader = _connect(path)
        self.identity = self.fact("identity")
        self._run = 0

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open the journal at `path`, making one where there is none.

        Raises `JournalError` for a file that is empty, damaged, foreign, or of a newer version.
        """
        with _sentences(path):
            if not path.exists():
                _create(path)
            connection = _connect(path)
            try:
                _check(connection, path)
                return cls(path, connection)
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """Close the file; SQLite folds its log into it."""
        self._reader.close()
        self._connection.close()

    # -- facts and runs

    def fact(self, name: str, default: str = "") -> str:
        """Return a lasting fact about this journal."""
        with _sentences(self.path):
            found = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else default

    def note_fact(self, name: str, value: str) -> None:
        """Write a lasting fact."""
        with _sentences(self.path):
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def begin_run(self, started_at: float, version: str, settings: str) -> int:
        """Write down that a run begins, with its settings as JSON without secrets; returns its number."""
        with _sentences(self.path):
            cursor = self._connection.execute(
                "INSERT INTO runs (started_at, version, settings) VALUES (?, ?, ?)",
                (started_at, version, settings),
            )
        self._run = int(cursor.lastrowid or 0)
        return self._run

    def end_run(self, ended_at: float, exit_code: int) -> None:
        """Write down how the run ended."""
        with _sentences(self.path):
            self._connection.execute(
                "UPDATE runs SET ended_at = ?, exit_code = ? WHERE run = ?", (ended_at, exit_code, self._run)
            )

    def next_attempt(self) -> int:
        """Return the first attempt number that is free."""
        with _sentences(self.path):
            found = self._connection.execute("SELECT coalesce(max(attempt), 0) + 1 FROM attempts").fetchone()
        return int(found[0])

    # -- what a run writes

    def apply(self, writes: Sequence[Write]) -> None:
        """Commit the writes, in their order, all or none; on disk when it returns."""
        with _sentences(self.path):
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            try:
                for write in writes:
                    execute(*self._statement(write))
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise

    def _statement(self, write: Write) -> tuple[str, tuple[object, ...]]:
        match write:
            case Intent(attempt, row_key, number, sent_at):
                return _INSERT_INTENT, (attempt, row_key, number, self._run, sent_at)
            case Receipt(attempt, reply, received_at, latency_s):
                return _INSERT_RECEIPT, (
                    attempt,
                    received_at,
                    latency_s,
                    reply.http_status,
                    reply.server_request_id,
                    reply.body,
                )
            case Outcome(attempt, outcome, error_code):
                return "UPDATE attempts SET outcome = ?, error_code = ? WHERE attempt = ?", (
                    outcome,
                    error_code,
                    attempt,
                )
            case Result():
                usage = write.usage
                return _INSERT_RESULT, (
                    write.row_key,
                    write.attempt,
                    write.status.value,
                    write.attempts,
                    usage.input_tokens,
                    usage.completion_tokens,
                    usage.reasoning_tokens,
                    usage.total_tokens,
                    write.error_code,
                    write.error_message,
                    write.latency_s,
                    write.finished_at,
                )

    # -- what is read back

    def states(self, row_keys: Sequence[str]) -> dict[str, RowState]:
        """Return what is known of rows; those that were never asked are left out."""
        with _sentences(self.path):
            found = self._reader.execute(
                "SELECT a.row_key, r.status, count(*) FROM attempts a LEFT JOIN results r USING (row_key) "
                f"WHERE a.row_key IN ({_marks(row_keys)}) GROUP BY a.row_key",
                tuple(row_keys),
            ).fetchall()
        return {key: RowState(Status(status) if status else None, count) for key, status, count in found}

    def results(self, row_keys: Sequence[str]) -> dict[str, Stored]:
        """Return the results of rows with their raw replies; those without one are left out."""
        with _sentences(self.path):
            found = self._reader.execute(
                f"SELECT {_RESULT_COLUMNS}, c.http_status, c.body, c.server_request_id FROM results r "
                f"LEFT JOIN receipts c USING (attempt) WHERE r.row_key IN ({_marks(row_keys)})",
                tuple(row_keys),
            ).fetchall()
        return {columns[0]: _stored(columns) for columns in found}

    def answered(self) -> int:
        """Return how many rows have an answer."""
        with _sentences(self.path):
            found = self._reader.execute("SELECT count(*) FROM results WHERE status = 'ok'").fetchone()
        return int(found[0])

    def unjudged(self) -> list[Unjudged]:
        """Return receipts that a run committed and did not come to judge, some hundreds at most."""
        with _sentences(self.path):
            found = self._connection.execute(
                "SELECT a.attempt, a.row_key, a.number, c.received_at, c.latency_s, c.http_status, c.body, "
                "c.server_request_id FROM attempts a JOIN receipts c USING (attempt) "
                "WHERE a.outcome IS NULL LIMIT 500"
            ).fetchall()
        return [
            Unjudged(
                attempt,
                key,
                number,
                Receipt(attempt, Reply(http_status, body, server_request_id=server_id), received_at, latency),
            )
            for attempt, key, number, received_at, latency, http_status, body, server_id in found
        ]

    def note_unknown(self) -> int:
        """Mark the requests that an earlier run sent and whose end nobody saw; returns how many are new.

        They may have been billed. To be called after `unjudged` has been worked off, before anything is sent.
        """
        with _sentences(self.path):
            return self._connection.execute(
                "UPDATE attempts SET outcome = 'unknown' WHERE outcome IS NULL"
            ).rowcount


_INSERT_INTENT = "INSERT INTO attempts (attempt, row_key, number, run, sent_at) VALUES (?, ?, ?, ?, ?)"
_INSERT_RECEIPT = "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_RESULT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _stored(columns: Sequence[object]) -> Stored:
    key, attempt, status, attempts, *counts = columns[:8]
    code, message, latency_s, finished_at, http_status, body, server_id = columns[8:]
    result = Result(
        str(key),
        _int(attempt),
        Status(status),
        _int(attempts),
        Usage(*(_count(n) for n in counts)),
        _text(code),
        _text(message),
        float(str(latency_s)) if latency_s is not None else None,
        float(str(finished_at)),
    )
    if not isinstance(body, bytes):
        return Stored(result, None)
    return Stored(result, Reply(_int(http_status), body, server_request_id=_text(server_id)))


def _int(value: object) -> int:
    return int(str(value))


def _count(value: object) -> int | None:
    return None if value is None else int(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions begin and end where this module says so, and nowhere else.
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = FILE")
    return connection


def _create(path: Path) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    connection = _connect(unfinished)
    try:
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO facts VALUES ('identity', ?)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    os.rename(unfinished, path)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size == 0:
        raise JournalError(f"The journal {path} is empty: it was cut off.", hint=_KEEP)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is no journal of chatbatch.", hint="Name another file with --journal.")
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"The journal {path} has schema {version}; this version of chatbatch knows {SCHEMA_VERSION}.",
            hint="Continue with the version that wrote it, or a newer one.",
        )


_KEEP = (
    "Restore it from a backup, or move it away to begin again; answers that only it held are bought again."
)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn whatever SQLite and the file system say into one sentence."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise JournalError(f"The journal {path} cannot be used: {error}.", hint=_hint(error)) from error
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be used: {error.strerror}.") from error


def _hint(error: sqlite3.DatabaseError) -> str:
    damaged = getattr(error, "sqlite_errorname", "") in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
    return (
        _KEEP if damaged else "Nothing that was committed is lost; mend the cause and run the command again."
    )
