"""What is read back from the journal: states, results, sums; also while another process writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

from batch.errors import JournalError
from batch.journal.connection import connect, sentences
from batch.journal.entries import (
    Intent,
    Outcome,
    Receipt,
    Result,
    RowState,
    RunBegan,
    RunEnded,
    Stored,
    Unjudged,
    Write,
)
from batch.journal.schema import APPLICATION_ID, SCHEMA_VERSION
from batch.records import Reply, Status, Usage

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as the journal knows it; `ended_at` is None while it goes on, or where it was killed."""

    run: int
    started_at: float
    version: str
    settings: str
    ended_at: float | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Sums:
    """What the journal holds: results by status, what the service stated, and attempts by outcome.

    The outcome None stands for requests in flight, or left by a run that was killed and not followed yet.
    """

    results: dict[str, int]
    input_tokens: int
    completion_tokens: int
    total_tokens: int
    attempts: dict[str | None, int]


class Records:
    """Read-only questions to a journal, over a connection of their own."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a journal that may be in use; raises `JournalError` where there is none that can be read."""
        if not path.exists():
            raise JournalError(f"There is no journal {path}.", hint="Was the output written by chatbatch run?")
        with sentences(path):
            connection = connect(path, read_only=True)
            known = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not known or version != SCHEMA_VERSION:
            connection.close()
            what = f"has schema {version}, not {SCHEMA_VERSION}" if known else "is no journal of chatbatch"
            raise JournalError(f"{path} {what}.")
        return cls(path, connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _all(self, question: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with sentences(self.path):
            found: list[tuple[object, ...]] = self._connection.execute(question, tuple(values)).fetchall()
        return found

    def fact(self, name: str) -> str:
        """Return a lasting fact about the journal, or an empty text."""
        found = self._all("SELECT value FROM facts WHERE name = ?", (name,))
        return str(found[0][0]) if found else ""

    def states(self, row_keys: Sequence[str]) -> dict[str, RowState]:
        """Return what is known of rows; those that were never asked are left out."""
        found = self._all(
            "SELECT a.row_key, r.status, r.error_code, count(*) FROM attempts a LEFT JOIN results r "
            f"USING (row_key) WHERE a.row_key IN ({_marks(row_keys)}) GROUP BY a.row_key",
            row_keys,
        )
        return {
            str(key): RowState(Status(status) if status else None, as_text(code), as_int(asked))
            for key, status, code, asked in found
        }

    def results(self, row_keys: Sequence[str]) -> dict[str, Stored]:
        """Return the results of rows with their raw replies; those without one are left out."""
        found = self._all(
            f"SELECT {_RESULT}, c.http_status, c.body, c.server_request_id, a.model, a.content "
            "FROM results r LEFT JOIN receipts c USING (attempt) LEFT JOIN attempts a USING (attempt) "
            f"WHERE r.row_key IN ({_marks(row_keys)})",
            row_keys,
        )
        return {str(columns[0]): _stored(columns) for columns in found}

    def unjudged(self) -> list[Unjudged]:
        """Return receipts that a run committed and did not come to judge, some hundreds at most."""
        found = self._all(
            "SELECT a.attempt, a.row_key, a.number, c.received_at, c.latency_s, c.http_status, c.body, "
            f"c.server_request_id FROM attempts a JOIN receipts c USING (attempt) WHERE a.outcome IS NULL "
            f"LIMIT {_AT_ONCE}"
        )
        return [
            Unjudged(as_int(attempt), str(key), as_int(number), as_receipt((attempt, *rest)))
            for attempt, key, number, *rest in found
        ]

    def open_attempts(self) -> list[tuple[int, str]]:
        """Return (attempt, row key) of the requests whose end nobody saw: as many as were in flight."""
        found = self._all(
            "SELECT a.attempt, a.row_key FROM attempts a LEFT JOIN receipts c USING (attempt) "
            "WHERE a.outcome IS NULL AND c.attempt IS NULL ORDER BY a.attempt"
        )
        return [(as_int(attempt), str(key)) for attempt, key in found]

    def unknown(self) -> list[tuple[str, float, str | None]]:
        """Return the requests that were in flight when a run ended: row key, sent at, the row's status now."""
        found = self._all(
            "SELECT a.row_key, a.sent_at, r.status FROM attempts a LEFT JOIN results r USING (row_key) "
            "WHERE a.outcome = 'unknown' ORDER BY a.attempt"
        )
        return [(str(key), float(str(sent)), as_text(status)) for key, sent, status in found]

    def next_attempt(self) -> int:
        """Return the first attempt number that is free."""
        return as_int(self._all("SELECT coalesce(max(attempt), 0) + 1 FROM attempts")[0][0])

    def answered(self) -> int:
        """Return how many rows have an answer."""
        return as_int(self._all("SELECT count(*) FROM results WHERE status = 'ok'")[0][0])

    def sent_since(self, since: float, slice_s: float) -> list[tuple[float, int]]:
        """Return (time, requests sent) since a time, in slices of so many seconds, the oldest first."""
        found = self._all(
            "SELECT max(sent_at), count(*) FROM attempts WHERE sent_at > ? AND (outcome IS NOT 'not_billed' OR "
            "error_code IS NOT 'RESOURCE_EXHAUSTED') GROUP BY cast(sent_at / ? AS INTEGER) ORDER BY 1",
            (since, slice_s),
        )
        return [(float(str(at)), as_int(sent)) for at, sent in found]

    def finished_since(self, since: float) -> int:
        """Return how many rows came to their end since a time."""
        return as_int(self._all("SELECT count(*) FROM results WHERE finished_at > ?", (since,))[0][0])

    def runs(self) -> list[RunRecord]:
        """Return all runs, the oldest first."""
        found = self._all("SELECT run, started_at, version, settings, ended_at, exit_code FROM runs ORDER BY run")
        return [
            RunRecord(
                as_int(run),
                float(str(started)),
                str(version),
                str(settings),
                as_float(ended),
                None if code is None else as_int(code),
            )
            for run, started, version, settings, ended, code in found
        ]

    def sums(self) -> Sums:
        """Return what the journal holds in all."""
        tokens = self._all(
            "SELECT coalesce(sum(input_tokens), 0), coalesce(sum(completion_tokens), 0), "
            "coalesce(sum(total_tokens), 0) FROM results"
        )[0]
        by_status = self._all("SELECT status, count(*) FROM results GROUP BY status")
        by_outcome = self._all("SELECT outcome, count(*) FROM attempts GROUP BY outcome")
        return Sums(
            {str(status): as_int(number) for status, number in by_status},
            as_int(tokens[0]),
            as_int(tokens[1]),
            as_int(tokens[2]),
            {as_text(outcome): as_int(number) for outcome, number in by_outcome},
        )

    def damage(self) -> str:
        """Read every page and return what SQLite finds wrong, or an empty text."""
        found = [str(line) for (line,) in self._all("PRAGMA integrity_check(5)")]
        return "" if found == ["ok"] else "; ".join(found)


def all_entries(connection: sqlite3.Connection) -> Iterator[Sequence[Write]]:
    """Yield everything that a journal holds as entries in groups, in an order in which they can be played."""
    runs: list[Write] = []
    for run, started, version, settings, ended, code in connection.execute(
        "SELECT run, started_at, version, settings, ended_at, exit_code FROM runs ORDER BY run"
    ):
        runs.append(RunBegan(run, started, version, settings))
        if ended is not None:
            runs.append(RunEnded(run, ended, code))
    yield runs
    for first in count(0, _AT_ONCE):
        found = connection.execute(
            "SELECT a.attempt, a.row_key, a.number, a.sent_at, a.run, a.model, a.content, "
            "a.outcome, a.error_code, c.received_at, "
            "c.latency_s, c.http_status, c.body, c.server_request_id FROM attempts a LEFT JOIN receipts c "
            "USING (attempt) WHERE a.attempt > ? AND a.attempt <= ? ORDER BY a.attempt",
            (first, first + _AT_ONCE),
        ).fetchall()
        yield [entry for columns in found for entry in _attempt(columns)]
        last = connection.execute("SELECT coalesce(max(attempt), 0) FROM attempts").fetchone()[0]
        if first + _AT_ONCE >= last:
            break
    for columns in connection.execute(f"SELECT {_RESULT} FROM results r ORDER BY rowid"):
        yield [_stored((*columns, None, None, None, None, None)).result]


def _attempt(columns: Sequence[object]) -> Iterator[Write]:
    attempt, key, number, sent_at, run, model, content, outcome, code, received_at, *rest = columns
    asked = (str(model), as_text(content))
    yield Intent(as_int(attempt), str(key), as_int(number), float(str(sent_at)), as_int(run), *asked)
    if received_at is not None:
        yield as_receipt((attempt, received_at, *rest))
    if outcome is not None:
        yield Outcome(as_int(attempt), str(outcome), as_text(code))


def as_receipt(columns: Sequence[object]) -> Receipt:
    """Return the receipt that these columns hold."""
    attempt, received_at, latency_s, http_status, body, server_id = columns
    content = body if isinstance(body, bytes) else b""
    reply = Reply(as_int(http_status), content, server_request_id=as_text(server_id))
    return Receipt(as_int(attempt), reply, float(str(received_at)), float(str(latency_s)))


_RESULT = (
    "r.row_key, r.attempt, r.status, r.attempts, r.input_tokens, r.completion_tokens, r.reasoning_tokens, "
    "r.total_tokens, r.error_code, r.error_message, r.latency_s, r.finished_at"
)


def _stored(columns: Sequence[object]) -> Stored:
    key, attempt, status, attempts, *counts = columns[:8]
    code, message, latency_s, finished_at, http_status, body, server_id, model, content = columns[8:]
    usage = Usage(*(None if number is None else as_int(number) for number in counts))
    result = Result(
        str(key),
        as_int(attempt),
        Status(status),
        as_int(attempts),
        usage,
        as_text(code),
        as_text(message),
        as_float(latency_s),
        float(str(finished_at)),
    )
    if not isinstance(body, bytes):
        return Stored(result, None, as_text(model), as_text(content))
    reply = Reply(as_int(http_status), body, server_request_id=as_text(server_id))
    return Stored(result, reply, as_text(model), as_text(content))


def as_int(value: object) -> int:
    """Return a column that is never null."""
    return int(str(value))


def as_float(value: object) -> float | None:
    """Return a number, or None."""
    return None if value is None else float(str(value))


def as_text(value: object) -> str | None:
    """Return a text, or None."""
    return None if value is None else str(value)


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
