"""The journal's entries, as frozen data. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from batch.records import Reply, Status, Usage


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A run begins: its number from 1, the tool's version, the settings as JSON without secrets."""

    run: int
    started_at: float
    version: str
    settings: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run came to its end; one without this entry was killed."""

    run: int
    ended_at: float
    exit_code: int


@dataclass(frozen=True, slots=True)
class Intent:
    """A request is about to leave: committed before it does. `number` counts the row's attempts from 1.

    `model` is the model that is asked, as the user named it; `content` the request's fingerprint where the row
    is known by an id, which does not say what was asked.
    """

    attempt: int
    row_key: str
    number: int
    sent_at: float
    run: int
    model: str
    content: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the service answered, raw: committed before anybody judges it."""

    attempt: int
    reply: Reply
    received_at: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    `answered`; or, by what it may have cost, `not_billed`, `maybe_billed`, `billed`; or `unknown`, where the
    run ended before anybody saw it.
    """

    attempt: int
    outcome: str
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a row, as far as it can be said without its body; replaces an earlier one.

    It repeats what judging the receipt gives, so that states and sums need no body to be read.
    """

    row_key: str
    attempt: int
    status: Status
    attempts: int
    usage: Usage
    error_code: str | None
    error_message: str | None
    latency_s: float | None
    finished_at: float


Write: TypeAlias = RunBegan | RunEnded | Intent | Receipt | Outcome | Result


@dataclass(frozen=True, slots=True)
class Stored:
    """A row's result as it stands in the journal, with the raw reply where one came, and what was asked."""

    result: Result
    reply: Reply | None
    model: str | None
    content: str | None


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A receipt that a run committed and did not come to judge."""

    attempt: int
    row_key: str
    number: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RowState:
    """What is known of a row that was asked: its status (None: no result yet), the code of its failure, and
    how often it was asked.
    """

    status: Status | None
    error_code: str | None
    attempts: int
