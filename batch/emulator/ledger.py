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
from collections.abc import Iterator
from dataclasses import dataclass
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
        delivered: whether the whole, well-formed answer is sent to a client that listens.
        digest: of the messages, equal for equal conversations.
    """

    client_request_id: str | None
    idempotency_key: str | None
    attempt: str | None
    model_uri: str
    input_tokens: int
    completion_tokens: int
    delivered: bool
    digest: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One billed generation: the fields of its `Charge`, the total, the order and the time.

    `sequence` counts from 1; `time` is in seconds of the emulator's clock.
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


class Ledger:
    """The entries in the order of billing; may be read from any thread.

    Args:
        file: each entry is appended to it as a line of JSON, in one write, before `bill` returns.
        keep_entries: False keeps only the last `TAIL` entries in memory; totals stay exact.
    """

    def __init__(self, file: Path | None = None, *, keep_entries: bool = True) -> None:
        """Open the file for appending, where there is one."""
        self._lock = threading.Lock()
        self._kept: deque[LedgerEntry] = deque(maxlen=None if keep_entries else TAIL)
        self._totals = LedgerTotals()
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
            )
            if self._descriptor is not None:
                os.write(self._descriptor, entry.line())
            self._kept.append(entry)
            self._totals = LedgerTotals(
                requests=entry.sequence,
                undelivered=before.undelivered + (not entry.delivered),
                input_tokens=before.input_tokens + entry.input_tokens,
                completion_tokens=before.completion_tokens + entry.completion_tokens,
                total_tokens=before.total_tokens + entry.total_tokens,
            )
            return entry

    def entries(self) -> Iterator[LedgerEntry]:
        """The entries that are kept, oldest first, as they stand at the time of the call."""
        with self._lock:
            return iter(tuple(self._kept))

    def totals(self) -> LedgerTotals:
        """The exact sums."""
        with self._lock:
            return self._totals

    def by_request_id(self) -> Counter[str | None]:
        """How many times each client request id was billed, among the entries that are kept."""
        return Counter(entry.client_request_id for entry in self.entries())

    def close(self) -> None:
        """Close the file; safe to repeat. Nothing can be billed to the file afterwards."""
        with self._lock:
            if self._descriptor is not None:
                self._descriptor = None
                self._closed()
