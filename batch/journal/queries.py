"""What is read back from the journal: states, results, sums; also while another process writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Self

from batch.errors import JournalError
from batch.journal.connection import connect, sentences
from batch.journal.entries import (
    NOT_SENT,
    SYNC,
    Intent,
    LimitSet,
    OpenOperation,
    Outcome,
    Receipt,
    Result,
    RowState,
    RunBegan,
    RunEnded,
    Stored,
    Submitted,
    Unjudged,
    Write,
)
from batch.journal.schema import APPLICATION_ID, MICROS, SCHEMA_VERSION, as_charge, as_money
from batch.parsing import Money
from batch.records import Charge, Reply, Status, Usage

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


@dataclass(frozen=True, slots=True)
class Spent:
    """What some attempts of one model, mode and outcome were charged, or may have been at most.

    `cost` is None where no price was known when they were asked; its currency is empty where it is nothing.
    """

    model: str
    mode: str
    outcome: str | None
    attempts: int
    input_tokens: int
    output_tokens: int
    cost: Money | None


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

    def _all(
        self, question: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[object, ...]]:
        given = values if isinstance(values, Mapping) else tuple(values)
        with sentences(self.path):
            found: list[tuple[object, ...]] = self._connection.execute(question, given).fetchall()
        return found

    def fact(self, name: str) -> str:
        """Return a lasting fact about the journal, or an empty text."""
        found = self._all("SELECT value FROM facts WHERE name = ?", (name,))
        return str(found[0][0]) if found else ""

    def states(self, row_keys: Sequence[str]) -> dict[str, RowState]:
        """Return what is known of rows; those that were never asked are left out."""
        found = self._all(
            "SELECT a.row_key, r.status, r.error_code, count(*), "
            "max(a.operation_id IS NOT NULL AND a.outcome IS NULL), coalesce(r.attempt, 0) < max(a.attempt) "
            "FROM attempts a LEFT JOIN results r "
            f"USING (row_key) WHERE a.row_key IN ({_marks(row_keys)}) GROUP BY a.row_key",
            row_keys,
        )
        return {
            str(key): RowState(
                Status(status) if status else None, as_text(code), as_int(asked), bool(is_open), bool(unfinished)
            )
            for key, status, code, asked, is_open, unfinished in found
        }

    def results(self, row_keys: Sequence[str]) -> dict[str, Stored]:
        """Return the results of rows with their raw replies; those without one are left out."""
        found = self._all(
            f"SELECT {_RESULT}, c.http_status, c.body, c.server_request_id, a.model, a.content, a.operation_id "
            "FROM results r LEFT JOIN receipts c USING (attempt) LEFT JOIN attempts a USING (attempt) "
            f"WHERE r.row_key IN ({_marks(row_keys)})",
            row_keys,
        )
        return {str(columns[0]): _stored(columns) for columns in found}

    def unjudged(self) -> list[Unjudged]:
        """Return receipts that a run committed and did not come to judge, some hundreds at most."""
        found = self._all(
            f"SELECT {UNJUDGED} FROM attempts a JOIN receipts c USING (attempt) WHERE a.outcome IS NULL "
            f"LIMIT {_AT_ONCE}"
        )
        return [as_unjudged(columns) for columns in found]

    def open_attempts(self) -> list[tuple[int, str]]:
        """Return (attempt, row key) of the requests whose end nobody saw: as many as were in flight.

        Operations are not among them: their end can still be seen.
        """
        found = self._all(
            "SELECT a.attempt, a.row_key FROM attempts a LEFT JOIN receipts c USING (attempt) "
            "WHERE a.outcome IS NULL AND c.attempt IS NULL AND a.operation_id IS NULL ORDER BY a.attempt"
        )
        return [(as_int(attempt), str(key)) for attempt, key in found]

    def open_operations(self) -> Iterator[OpenOperation]:
        """Yield the operations whose end nobody has seen, the oldest first."""
        after = 0
        while found := self._all(
            "SELECT a.attempt, a.row_key, a.number, a.model, a.operation_id, a.submitted_at, a.charged_input, "
            "a.charged_output, a.charged_micros, a.currency FROM attempts a LEFT JOIN receipts c USING (attempt) "
            "WHERE a.outcome IS NULL AND a.operation_id IS NOT NULL AND c.attempt IS NULL AND a.attempt > ? "
            f"ORDER BY a.attempt LIMIT {_AT_ONCE}",
            (after,),
        ):
            for attempt, key, number, model, operation_id, submitted_at, *charged in found:
                after = as_int(attempt)
                known = (str(key), as_int(number), str(model), str(operation_id), float(str(submitted_at)))
                yield OpenOperation(after, *known, _charge(charged))

    def attempts_in(self, run: int, row_key: str) -> int:
        """Return how often a run has asked for a row."""
        question = "SELECT count(*) FROM attempts WHERE row_key = ? AND run = ?"
        return as_int(self._all(question, (row_key, run))[0][0])

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

    def sent_since(self, since: float, slice_s: float, mode: str = SYNC) -> list[tuple[float, int]]:
        """Return (time, requests sent) of a mode since a time, in slices of so many seconds, oldest first."""
        found = self._all(
            "SELECT max(sent_at), count(*) FROM attempts WHERE sent_at > ? AND mode = ? AND "
            "(outcome IS NOT 'not_billed' OR coalesce(error_code, '') NOT IN ('RESOURCE_EXHAUSTED', ?)) "
            "GROUP BY cast(sent_at / ? AS INTEGER) ORDER BY 1",
            (since, mode, NOT_SENT, slice_s),
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

    def spending(self) -> list[Spent]:
        """Return what all attempts were charged, or may have been, by model, mode, outcome and currency."""
        found = self._all(
            "SELECT model, mode, outcome, currency, charged_micros IS NULL, count(*), "
            "coalesce(sum(charged_input), 0), coalesce(sum(charged_output), 0), coalesce(sum(charged_micros), 0) "
            "FROM attempts GROUP BY 1, 2, 3, 4, 5"
        )
        return [as_spent(columns) for columns in found]

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
            f"SELECT {_ATTEMPT}, c.received_at, c.latency_s, c.http_status, c.body, c.server_request_id "
            "FROM attempts a LEFT JOIN receipts c USING (attempt) WHERE a.attempt > ? AND a.attempt <= ? "
            "ORDER BY a.attempt",
            (first, first + _AT_ONCE),
        ).fetchall()
        yield [entry for columns in found for entry in _attempt(columns)]
        last = connection.execute("SELECT coalesce(max(attempt), 0) FROM attempts").fetchone()[0]
        if first + _AT_ONCE >= last:
            break
    for columns in connection.execute(f"SELECT {_RESULT} FROM results r ORDER BY rowid"):
        yield [_stored((*columns, None, None, None, None, None, None)).result]
    for run, at, name, value in connection.execute("SELECT run, at, name, value FROM limits ORDER BY rowid"):
        yield [LimitSet(run, at, name, value)]


def _attempt(columns: Sequence[object]) -> Iterator[Write]:
    attempt, key, number, sent_at, run, model, content, mode, *charged = columns[:12]
    operation_id, submitted_at, outcome, code, received_at, *rest = columns[12:]
    asked = (str(model), as_text(content), str(mode), _charge(charged))
    yield Intent(as_int(attempt), str(key), as_int(number), float(str(sent_at)), as_int(run), *asked)
    if operation_id is not None:
        yield Submitted(as_int(attempt), str(operation_id), float(str(submitted_at)))
    if received_at is not None:
        yield as_receipt((attempt, received_at, *rest))
    if outcome is not None:
        yield Outcome(as_int(attempt), str(outcome), as_text(code))


def as_spent(columns: Sequence[object]) -> Spent:
    """Return what some attempts were charged, from the columns of `Records.spending`."""
    model, mode, outcome, currency, unpriced, attempts, given, taken, micros = columns
    cost = None if unpriced else Money(Decimal(as_int(micros)) / MICROS, as_text(currency) or "")
    counts = (as_int(attempts), as_int(given), as_int(taken))
    return Spent(str(model), str(mode), as_text(outcome), *counts, cost)


def as_receipt(columns: Sequence[object]) -> Receipt:
    """Return the receipt that these columns hold."""
    attempt, received_at, latency_s, http_status, body, server_id = columns
    content = body if isinstance(body, bytes) else b""
    reply = Reply(as_int(http_status), content, server_request_id=as_text(server_id))
    return Receipt(as_int(attempt), reply, float(str(received_at)), float(str(latency_s)))


def as_unjudged(columns: Sequence[object]) -> Unjudged:
    """Return the receipt, and whose it is, that the columns `UNJUDGED` hold."""
    key, number, model, content, mode, *receipt = columns
    known = (str(model), as_text(content), str(mode))
    return Unjudged(as_int(receipt[0]), str(key), as_int(number), as_receipt(receipt), *known)


def _charge(columns: Sequence[object]) -> Charge | None:
    given, taken, micros, currency = columns
    return as_charge(_int(given), _int(taken), _int(micros), as_text(currency))


_RESULT = (
    "r.row_key, r.attempt, r.status, r.attempts, r.input_tokens, r.completion_tokens, r.reasoning_tokens, "
    "r.total_tokens, r.error_code, r.error_message, r.latency_s, r.finished_at, r.cost_micros, r.currency"
)
UNJUDGED = (
    "a.row_key, a.number, a.model, a.content, a.mode, a.attempt, c.received_at, c.latency_s, c.http_status, "
    "c.body, c.server_request_id"
)
_ATTEMPT = (
    "a.attempt, a.row_key, a.number, a.sent_at, a.run, a.model, a.content, a.mode, a.charged_input, "
    "a.charged_output, a.charged_micros, a.currency, a.operation_id, a.submitted_at, a.outcome, a.error_code"
)


def _stored(columns: Sequence[object]) -> Stored:
    key, attempt, status, attempts, *counts = columns[:8]
    code, message, latency_s, finished_at, micros, currency, http_status, body, server_id, *asked = columns[8:]
    model, content, operation_id = (as_text(item) for item in asked)
    usage = Usage(*(_int(number) for number in counts))
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
        as_money(_int(micros), as_text(currency)),
    )
    reply = None
    if isinstance(body, bytes):
        reply = Reply(as_int(http_status), body, server_request_id=as_text(server_id))
    return Stored(result, reply, model, content, operation_id)


def as_int(value: object) -> int:
    """Return a column that is never null."""
    return int(str(value))


def _int(value: object) -> int | None:
    return None if value is None else int(str(value))


def as_float(value: object) -> float | None:
    """Return a number, or None."""
    return None if value is None else float(str(value))


def as_text(value: object) -> str | None:
    """Return a text, or None."""
    return None if value is None else str(value)


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
