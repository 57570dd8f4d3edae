"""Asynchronous operations: accepted, waiting, generating, done, and forgotten after some days.

Nothing runs in the background: when an operation is done is known when it is accepted, and whoever
looks first (a poll, another request, a reader of the ledger) brings everything up to that moment.
An operation keeps its request and no answer, which can be made again. Knows nothing of HTTP.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Final

from batch.emulator.rejections import CANCELLED, INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ends that does not simply succeed.

    Attributes:
        meaning: in a few words.
        error: the code and the message of the operation's `error`; None for none.
        response: whether the operation shows its answer all the same.
        charged: whether the generation is billed. An internal error is not charged by the
            documentation; for the other codes this is the emulator's own choice.
        kept: False makes the result disappear at the moment when it is done.
    """

    meaning: str
    error: tuple[int, str] | None = None
    response: bool = False
    charged: bool = False
    kept: bool = True


_INTERNAL: Final = (INTERNAL, "Internal error")

#: The outcomes by the name of the fault that brings them about.
OUTCOMES: Final[Mapping[str, Outcome]] = {
    "operation-failed": Outcome("the operation ends with error 13, INTERNAL", _INTERNAL),
    "operation-exhausted": Outcome(
        "the operation ends with error 8, RESOURCE_EXHAUSTED", (RESOURCE_EXHAUSTED, "Resource exhausted")
    ),
    "operation-invalid": Outcome(
        "the operation ends with error 3, INVALID_ARGUMENT", (INVALID_ARGUMENT, "Failed to process the request")
    ),
    "operation-failed-response": Outcome(
        "the operation ends with error 13 and a response besides", _INTERNAL, response=True
    ),
    "operation-ok-error": Outcome(
        "the operation succeeds and carries an error with code 0", (0, ""), response=True, charged=True
    ),
    "operation-empty": Outcome("the operation ends with neither an error nor a response", charged=True),
    "operation-expired": Outcome(
        "the result is gone, 404, as soon as it is done", response=True, charged=True, kept=False
    ),
}
_SUCCESS: Final = Outcome("the operation succeeds", response=True, charged=True)
_CANCELLED: Final = Outcome("the operation was cancelled", (CANCELLED, "The operation was cancelled"))


@dataclass(slots=True)
class Operation:
    """One operation; times are in seconds of the emulator's clock.

    Attributes:
        id: 20 characters.
        body: the request, from which the answer is made when it is asked for.
        input_tokens: the length of the request's prompt.
        client_request_id: of the submission, as are the next two.
        idempotency_key: see `client_request_id`.
        attempt: `x-retry-attempt`.
        told: whether its submission's answer was sent to a client that listens.
        accepted_at: when it was submitted.
        starts_at: when its generation begins, so that it costs money from then on.
        done_at: when it is, or was, done.
        outcome: how it ends.
        done: whether it has.
    """

    id: str
    body: bytes
    input_tokens: int
    client_request_id: str | None
    idempotency_key: str | None
    attempt: str | None
    told: bool
    accepted_at: float
    starts_at: float
    done_at: float
    outcome: Outcome = _SUCCESS
    done: bool = False

    @property
    def error(self) -> tuple[int, str] | None:
        """The code and the message of its error, None for none."""
        return self.outcome.error

    @property
    def readable(self) -> bool:
        """Whether its answer can be read."""
        return self.done and self.outcome.response and self.outcome.kept


class Operations:
    """The operations that are known; may be used from any thread.

    Args:
        time: seconds of the emulator's clock.
        keep_seconds: for how long after its end an operation can be read.
        charge: bills a generation that ended at `done_at`.
    """

    def __init__(
        self, time: Callable[[], float], keep_seconds: float, charge: Callable[[Operation], None]
    ) -> None:
        """Begin with none."""
        self._time = time
        self._keep_seconds = keep_seconds
        self._charge = charge
        self._lock = threading.Lock()
        self._known: dict[str, Operation] = {}
        self._due: list[tuple[float, int, Operation]] = []
        self._ended: deque[Operation] = deque()
        self._accepted = 0

    def __len__(self) -> int:
        """How many can be read."""
        return len(self._known)

    def accept(self, operation: Operation) -> None:
        """Begin an operation."""
        with self._lock:
            self._bring_up_to_date(self._time())
            self._accepted += 1
            self._known[operation.id] = operation
            heappush(self._due, (operation.done_at, self._accepted, operation))

    def find(self, identifier: str) -> Operation | None:
        """A copy of the operation as it is now; None where there is none, or no longer."""
        with self._lock:
            self._bring_up_to_date(self._time())
            return _copy(self._known.get(identifier))

    def cancel(self, identifier: str) -> Operation | None:
        """End an operation, unless it is done; one that generates already is billed. Returns a copy."""
        with self._lock:
            now = self._time()
            self._bring_up_to_date(now)
            operation = self._known.get(identifier)
            if operation is not None and not operation.done:
                operation.outcome, operation.done_at = _CANCELLED, now
                self._end(operation, charged=now >= operation.starts_at)
            return _copy(operation)

    def settle(self) -> None:
        """End and bill what is due by now, and forget what is too old."""
        if self._due or self._ended:
            with self._lock:
                self._bring_up_to_date(self._time())

    def _bring_up_to_date(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            operation = heappop(self._due)[2]
            if not operation.done:
                self._end(operation, charged=operation.outcome.charged)
        ended = self._ended
        while ended and ended[0].done_at + self._keep_seconds <= now:
            self._known.pop(ended.popleft().id, None)

    def _end(self, operation: Operation, *, charged: bool) -> None:
        operation.done = True
        if charged:
            self._charge(operation)
        if operation.outcome.kept:
            self._ended.append(operation)
        else:
            del self._known[operation.id]


def _copy(operation: Operation | None) -> Operation | None:
    """What may be looked at while a reader of the ledger, in another thread, ends the original."""
    return None if operation is None else replace(operation)
