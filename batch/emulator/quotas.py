"""The service's quotas: how many at once, per second and per hour.

A request that is refused uses up nothing. Knows nothing of HTTP; time is injected, so an
hour passes in no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from batch.emulator.rejections import (
    Rejected,
    too_many_polls,
    too_many_requests,
    too_many_sessions,
    too_many_submissions,
    too_many_tokenizations,
)


@dataclass(frozen=True, slots=True)
class Quotas:
    """What an account may do; None is without limit.

    Attributes:
        concurrent: synchronous generations at once; 10 by the service's documentation.
        per_second: synchronous requests per second.
        per_hour: synchronous requests in any 3,600 seconds.
        burst: makes `per_second` a token bucket of this capacity; without it, a sliding
            window allows at most `per_second` requests in any second.
        tokenizer_per_second: tokenizer calls per second; 50 by the service's documentation.
        async_per_second: asynchronous submissions per second; 10 by the service's documentation.
        async_per_hour: asynchronous submissions in any 3,600 seconds; 5,000 by the documentation.
        operations_per_second: readings of operations per second; 50 by the documentation.
    """

    concurrent: int | None = 10
    per_second: int | None = None
    per_hour: int | None = None
    burst: int | None = None
    tokenizer_per_second: int | None = 50
    async_per_second: int | None = 10
    async_per_hour: int | None = 5_000
    operations_per_second: int | None = 50


class Rate(Protocol):
    """A quota of requests in time."""

    def room(self, now: float) -> bool:
        """Whether one more request is allowed at `now`, in seconds."""

    def take(self, now: float) -> None:
        """Use up one request."""


#: Rates that hold together, each with what is said when it is exhausted.
Rates = tuple[tuple[Rate, Rejected], ...]


class Window:
    """At most `limit` requests in any `seconds`: exact, and no larger than the limit."""

    def __init__(self, limit: int, seconds: float) -> None:
        """Begin with nothing used."""
        self._limit = limit
        self._seconds = seconds
        self._taken: deque[float] = deque()

    def room(self, now: float) -> bool:
        """Whether fewer than `limit` requests lie in the window that ends at `now`."""
        taken = self._taken
        while taken and now - taken[0] >= self._seconds:
            taken.popleft()
        return len(taken) < self._limit

    def take(self, now: float) -> None:
        """Remember a request at `now`."""
        self._taken.append(now)


class Bucket:
    """A token bucket: bursts up to `capacity`, refilled at `per_second`."""

    def __init__(self, per_second: float, capacity: int, now: float) -> None:
        """Begin full."""
        self._rate = per_second
        self._capacity = float(capacity)
        self._level = self._capacity
        self._filled_at = now

    def room(self, now: float) -> bool:
        """Whether a whole token is in the bucket at `now`."""
        self._fill(now)
        # Refilling in many small steps loses a few bits of each; a token short of 1e-9 is whole.
        return self._level >= 1 - 1e-9

    def take(self, now: float) -> None:
        """Take a token out."""
        self._fill(now)
        self._level = max(0.0, self._level - 1)

    def _fill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now


def refusals(quotas: Quotas, route: str) -> tuple[Rejected, Rejected]:
    """What a method of the API answers when its quota is exhausted: the one of the moment, and of the hour.

    Where nothing is limited it names the service's own limits, for faults that refuse all the same.
    """
    if route == "completionAsync":
        second, hour = quotas.async_per_second or 10, quotas.async_per_hour or 5_000
        return too_many_submissions("Second", second), too_many_submissions("Hour", hour)
    if route in ("operations", "cancel"):
        return (too_many_polls(quotas.operations_per_second or 50),) * 2
    if route.startswith("tokenize"):
        return (too_many_tokenizations(quotas.tokenizer_per_second or 50),) * 2
    return too_many_sessions(quotas.concurrent or 10), too_many_requests("Hour", quotas.per_hour or 100)


class Admission:
    """Lets requests in while the quotas allow it.

    `quotas` may be replaced at any time, from any thread: rates begin anew, and what is
    running goes on being counted.
    """

    def __init__(self, quotas: Quotas, time: Callable[[], float]) -> None:
        """Begin with nothing running."""
        self._time = time
        self.running = 0
        self.peak = 0
        self.quotas = quotas

    @property
    def quotas(self) -> Quotas:
        """What is allowed now."""
        return self._quotas

    @quotas.setter
    def quotas(self, quotas: Quotas) -> None:
        self._quotas = quotas
        rates: list[tuple[Rate, Rejected]] = []
        if quotas.per_second is not None:
            refusal = too_many_requests("Second", quotas.per_second)
            rates.append((self._per_second(quotas.per_second, quotas.burst), refusal))
        self._rates = (*rates, *_window(quotas.per_hour, 3600, partial(too_many_requests, "Hour")))
        self._tokenizer = _window(quotas.tokenizer_per_second, 1, too_many_tokenizations)
        self._submissions = (
            *_window(quotas.async_per_second, 1, partial(too_many_submissions, "Second")),
            *_window(quotas.async_per_hour, 3600, partial(too_many_submissions, "Hour")),
        )
        self._polls = _window(quotas.operations_per_second, 1, too_many_polls)

    def enter(self) -> None:
        """Begin a generation; every `enter` that returns needs a `leave`.

        Raises:
            Rejected: 429, for the first quota that is exhausted.
        """
        allowed = self._quotas.concurrent
        if allowed is not None and self.running >= allowed:
            raise too_many_sessions(allowed)
        self._take(self._rates)
        self.running += 1
        self.peak = max(self.peak, self.running)

    def leave(self) -> None:
        """End a generation."""
        self.running -= 1

    def enter_tokenizer(self) -> None:
        """Count a call of the tokenizer; raises `Rejected` (429) where there are too many."""
        self._take(self._tokenizer)

    def enter_submission(self) -> None:
        """Count an asynchronous submission; raises `Rejected` (429) where there are too many."""
        self._take(self._submissions)

    def enter_poll(self) -> None:
        """Count a reading of an operation; raises `Rejected` (429) where there are too many."""
        self._take(self._polls)

    def _take(self, rates: Rates) -> None:
        """Use up one of each, or nothing at all."""
        if not rates:
            return
        now = self._time()
        for rate, refusal in rates:
            if not rate.room(now):
                raise Rejected(refusal.http_status, refusal.body)
        for rate, _ in rates:
            rate.take(now)

    def _per_second(self, limit: int, burst: int | None) -> Rate:
        return Window(limit, 1) if burst is None else Bucket(limit, burst, self._time())


def _window(limit: int | None, seconds: float, refusal: Callable[[int], Rejected]) -> Rates:
    """A sliding window and its refusal; nothing where there is no limit."""
    return () if limit is None else ((Window(limit, seconds), refusal(limit)),)
