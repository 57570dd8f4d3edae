"""The journal's entries, as frozen data. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from batch.parsing import Money
from batch.records import Charge, Reply, Status, Usage

# How a request is asked: answered at once, or as an operation that is collected later.
SYNC, ASYNC = "sync", "async"
# The code of an attempt that the run's end kept from being sent.
NOT_SENT = "NOT_SENT"


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
    is known by an id, which does not say what was asked. `charge` is what the request may cost at most: it
    counts as spent until an `Outcome` says less, and for good where nobody ever sees the end.
    """

    attempt: int
    row_key: str
    number: int
    sent_at: float
    run: int
    model: str
    content: str | None
    mode: str = SYNC
    charge: Charge | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The service took a request as an operation: the receipt of a submission, committed before it is polled."""

    attempt: int
    operation_id: str
    submitted_at: float


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
    run ended before anybody saw it. `charge` replaces the intent's, which stays where it is None.
    """

    attempt: int
    outcome: str
    error_code: str | None
    charge: Charge | None = None


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
    cost: Money | None = None


@dataclass(frozen=True, slots=True)
class LimitSet:
    """A limit has this value from now on, such as requests at once: how the night went, for the report."""

    run: int
    at: float
    limit: str
    value: int


Write: TypeAlias = RunBegan | RunEnded | Intent | Submitted | Receipt | Outcome | Result | LimitSet


@dataclass(frozen=True, slots=True)
class Stored:
    """A row's result as it stands in the journal, with the raw reply where one came, and what was asked."""

    result: Result
    reply: Reply | None
    model: str | None
    content: str | None
    operation_id: str | None = None


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation whose end nobody has seen: whose it is, and what it may cost at most."""

    attempt: int
    row_key: str
    number: int
    model: str
    operation_id: str
    submitted_at: float
    charge: Charge | None


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A receipt that a run committed and did not come to judge."""

    attempt: int
    row_key: str
    number: int
    receipt: Receipt
    model: str
    content: str | None
    mode: str


@dataclass(frozen=True, slots=True)
class RowState:
    """What is known of a row that was asked: its status (None: no result yet), the code of its failure, how
    often it was asked, whether an operation of it is open, and whether its last attempt led to no result.
    """

    status: Status | None
    error_code: str | None
    attempts: int
    is_open: bool = False
    unfinished: bool = False
