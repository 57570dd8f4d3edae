"""What was billed: one entry per generation that somebody must pay for.

A test holds the output of a run against the ledger. An entry is written before the answer
leaves, so that an answer that was received is always in it. Knows nothing of HTTP or of
why an answer was not delivered.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

#: How many entries stay in memory where not all are kept.
TAIL: Final = 1_000


@dataclass(frozen=True, slots=True)
class Charge:
    """What there is to bill; the ledger adds when and in which order.

    Attributes:
        client_request_id: `x-client-request-id` of the request, if it had one.
        idempotency_key: `idempotency-key` of the request, if it had one.
        attempt: `x-retry-attempt` of the request, as sent, if it had one.
        model_uri: the request's model.
        input_tokens: equals the length of the request's `tokenizeCompletion`.
        completion_tokens: reasoning included.
        delivered: whether the whole, well-formed answer is sent to a client that listens; of an
            operation, whether its client was told of it and could read the answer when it was made.
        digest: of the messages, equal for equal conversations.
        mode: "sync", or "async" for an operation.
        operation_id: of an operation; None for a synchronous generation.
    """

    client_request_id: str | None
    idempotency_key: str | None
    attempt: str | None
    model_uri: str
    input_tokens: int
    completion_tokens: int
    delivered: bool
    digest: str
    mode: str = "sync"
    operation_id: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One billed generation: the fields of its `Charge`, the total, the order and the time.

    `sequence` counts from 1; `time` is in seconds of the emulator's clock: when an operation's
    generation ended, which may be long before anybody asks.
    """

    sequence: int
    time: float
    client_request_id: str | None
    idempotency_key: str | None
    attempt: str | None
    model_uri: str
    input_tokens: int
    completion_tokens: int
    total_tokens: int
    delivered: bool
    digest: str
    mode: str = "sync"
    operation_id: str | None = None

    def line(self) -> bytes:
        """The entry as one line of JSON Lines."""
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """The sums over every entry since the start, those no longer kept included."""

    requests: int = 0
    undelivered: int = 0
    input_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def plus(self, entry: LedgerEntry) -> LedgerTotals:
        """The sums with one more entry."""
        return LedgerTotals(
            requests=self.requests + 1,
            undelivered=self.undelivered + (not entry.delivered),
            input_tokens=self.input_tokens + entry.input_tokens,
            completion_tokens=self.completion_tokens + entry.completion_tokens,
            total_tokens=self.total_tokens + entry.total_tokens,
        )

    def minus(self, others: LedgerTotals) -> LedgerTotals:
        """The sums without those of some of the entries."""
        return LedgerTotals(
            requests=self.requests - others.requests,
            undelivered=self.undelivered - others.undelivered,
            input_tokens=self.input_tokens - others.input_tokens,
            completion_tokens=self.completion_tokens - others.completion_tokens,
            total_tokens=self.total_tokens - others.total_tokens,
        )


@dataclass(frozen=True, slots=True)
class Activity:
    """What was done and costs nothing, since the start.

    Attributes:
        submissions: operations that were accepted, whether or not anybody learned of them.
        polls: readings of operations that the quota let through, of unknown ones too.
        cancels: requests to cancel an operation that exists, also one that is done.
        iam_tokens: IAM tokens handed out, by exchange and by metadata; each is one renewal.
    """

    submissions: int = 0
    polls: int = 0
    cancels: int = 0
    iam_tokens: int = 0


class Ledger:
    """The entries in the order of billing; may be read from any thread.

    Args:
        file: each entry is appended to it as a line of JSON, in one write, before `bill` returns.
        keep_entries: False keeps only the last `TAIL` entries in memory, and no counts by identifier;
            totals stay exact.
    """

    def __init__(self, file: Path | None = None, *, keep_entries: bool = True) -> None:
        """Open the file for appending, where there is one."""
        self._lock = threading.Lock()
        self._kept: deque[LedgerEntry] = deque(maxlen=None if keep_entries else TAIL)
        self._keep_entries = keep_entries
        self._totals = LedgerTotals()
        self._async_totals = LedgerTotals()
        self._activity = Activity()
        self._submitted: Counter[str | None] = Counter()
        self._conversations: Counter[str] = Counter()
        self._polls: Counter[str] = Counter()
        self._settle: Callable[[], None] | None = None
        self._descriptor: int | None = None
        if file is not None:
            self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._closed = weakref.finalize(self, os.close, self._descriptor)

    def bill(self, charge: Charge, now: float) -> LedgerEntry:
        """Enter a charge, at `now` seconds of the emulator's clock."""
        with self._lock:
            before = self._totals
            entry = LedgerEntry(
                sequence=before.requests + 1,
                time=now,
                client_request_id=charge.client_request_id,
                idempotency_key=charge.idempotency_key,
                attempt=charge.attempt,
                model_uri=charge.model_uri,
                input_tokens=charge.input_tokens,
                completion_tokens=charge.completion_tokens,
                total_tokens=charge.input_tokens + charge.completion_tokens,
                delivered=charge.delivered,
                digest=charge.digest,
                mode=charge.mode,
                operation_id=charge.operation_id,
            )
            if self._descriptor is not None:
                os.write(self._descriptor, entry.line())
            self._kept.append(entry)
            self._totals = before.plus(entry)
            if entry.mode == "async":
                self._async_totals = self._async_totals.plus(entry)
            return entry

    def settled_by(self, settle: Callable[[], None] | None) -> None:
        """Set what bills everything that is due; it is called before anything is read. None for nothing."""
        self._settle = settle

    def note_submission(self, client_request_id: str | None, digest: str) -> None:
        """Count an operation that was accepted, under its request's id and its conversation's digest."""
        with self._lock:
            self._activity = replace(self._activity, submissions=self._activity.submissions + 1)
            if self._keep_entries:
                self._submitted[client_request_id] += 1
                self._conversations[digest] += 1

    def note_poll(self, operation_id: str) -> None:
        """Count a reading of an operation."""
        with self._lock:
            self._activity = replace(self._activity, polls=self._activity.polls + 1)
            if self._keep_entries:
                self._polls[operation_id] += 1

    def note_cancel(self) -> None:
        """Count a request to cancel an operation."""
        with self._lock:
            self._activity = replace(self._activity, cancels=self._activity.cancels + 1)

    def note_iam_token(self) -> None:
        """Count an IAM token that was handed out."""
        with self._lock:
            self._activity = replace(self._activity, iam_tokens=self._activity.iam_tokens + 1)

    def entries(self) -> Iterator[LedgerEntry]:
        """The entries that are kept, oldest first, as they stand at the time of the call."""
        self._bring_up_to_date()
        with self._lock:
            return iter(tuple(self._kept))

    def totals(self, mode: str | None = None) -> LedgerTotals:
        """The exact sums; of one mode, "sync" or "async", or of both."""
        self._bring_up_to_date()
        with self._lock:
            if mode is None:
                return self._totals
            return self._async_totals if mode == "async" else self._totals.minus(self._async_totals)

    def activity(self) -> Activity:
        """The exact counts of what is free of charge."""
        with self._lock:
            return self._activity

    def submissions(self) -> Counter[str | None]:
        """How many operations were accepted under each client request id, billed or not; with `keep_entries`."""
        with self._lock:
            return self._submitted.copy()

    def conversations(self) -> Counter[str]:
        """How many operations were accepted for each digest of a conversation; with `keep_entries`."""
        with self._lock:
            return self._conversations.copy()

    def polls(self) -> Counter[str]:
        """How many times each operation id was read; with `keep_entries`."""
        with self._lock:
            return self._polls.copy()

    def by_request_id(self) -> Counter[str | None]:
        """How many times each client request id was billed, among the entries that are kept."""
        return Counter(entry.client_request_id for entry in self.entries())

    def close(self) -> None:
        """Close the file; safe to repeat. Nothing can be billed to the file afterwards."""
        with self._lock:
            if self._descriptor is not None:
                self._descriptor = None
                self._closed()

    def _bring_up_to_date(self) -> None:
        settle = self._settle
        if settle is not None:
            settle()
