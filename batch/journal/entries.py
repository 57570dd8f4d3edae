"""The journal's entries, as frozen data. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from batch.records import Reply, Status, Usage


@dataclass(frozen=True, slots=True)
class Intent:
    """A request is about to leave: committed before it does. `number` counts the row's attempts from 1."""

    attempt: int
    row_key: str
    number: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the service answered, raw: committed before anybody judges it."""

    attempt: int
    reply: Reply
    received_at: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: `answered`, or what it may have cost (`not_billed`, `maybe_billed`, `billed`)."""

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


Write: TypeAlias = Intent | Receipt | Outcome | Result


@dataclass(frozen=True, slots=True)
class Stored:
    """A row's result as it stands in the journal, with the raw reply where one came."""

    result: Result
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A receipt that a run committed and did not come to judge."""

    attempt: int
    row_key: str
    number: int
    receipt: Receipt
