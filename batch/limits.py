"""How much may be asked at once and in a time: slots and rate windows.

A limit is taken before a request leaves. Windows are plain functions of the time that they are given, so an
hour can be tested in no time; only `Limits` waits. Knows nothing of requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from batch.clock import Clock
from batch.parsing import RateLimit
from batch.stopping import Stop

# A window is kept a little longer than stated: requests that leave 1 s apart may arrive 0.99 s apart.
WINDOW_MARGIN = 0.01
# How many requests of a per-second limit may follow each other at once after a stall.
CATCH_UP = 4
_SLICES = 1000


@dataclass(slots=True)
class Window:
    """At most `limit.count` requests in any `limit.seconds`, whatever way the other side counts.

    Requests are counted in slices of a thousandth of the window, and a slice is forgotten only when all of
    it is past, so the count errs on the safe side and memory is bounded. Windows of a second are also paced
    (GCRA, ITU-T I.371 annex A, with a tolerance of `CATCH_UP`): a service that counts with a small bucket
    sees an even stream and not a burst at every second's beginning.
    """

    limit: RateLimit
    _slices: deque[tuple[float, int]] = field(default_factory=deque)
    _used: int = 0
    _theoretical: float = float("-inf")

    def free_at(self, now: float) -> float:
        """Return the time from which one more request may leave; `now` or later."""
        self._forget(now)
        at = now
        if self._used >= self.limit.count:
            at = self._slices[0][0] + self._span
        if self.limit.seconds == 1:
            at = max(at, self._theoretical - CATCH_UP * self._interval)
        return at

    def take(self, now: float) -> None:
        """Count one request that leaves now."""
        slice_end = (now // self._slice + 1) * self._slice
        if self._slices and self._slices[-1][0] >= slice_end:
            self._slices[-1] = (self._slices[-1][0], self._slices[-1][1] + 1)
        else:
            self._slices.append((slice_end, 1))
        self._used += 1
        self._theoretical = max(now, self._theoretical) + self._interval

    @property
    def _span(self) -> float:
        return self.limit.seconds * (1 + WINDOW_MARGIN)

    @property
    def _slice(self) -> float:
        return self.limit.seconds / _SLICES

    @property
    def _interval(self) -> float:
        return self._span / self.limit.count

    def _forget(self, now: float) -> None:
        while self._slices and self._slices[0][0] + self._span <= now:
            self._used -= self._slices.popleft()[1]


class Limits:
    """The limits of one quota: `concurrency` slots, and rate windows that all have to agree.

    Begins with a single slot, so that refused credentials cost one request and not `concurrency` of them;
    `trust` opens the rest after the first good answer and `doubt` closes them again.
    """

    def __init__(self, concurrency: int, rates: Sequence[RateLimit], *, clock: Clock, stop: Stop) -> None:
        self._concurrency = concurrency
        self._windows = [Window(rate) for rate in rates]
        self._clock = clock
        self._stop = stop
        self._slots = anyio.CapacityLimiter(1)
        self._turn = anyio.Lock()

    @property
    def concurrency(self) -> int:
        """Return how many requests may run at once."""
        return int(self._slots.total_tokens)

    def trust(self) -> None:
        """Open all slots."""
        if self._slots.total_tokens != self._concurrency:
            self._slots.total_tokens = self._concurrency

    def doubt(self) -> None:
        """Let one request at a time find out whether the service takes us."""
        self._slots.total_tokens = 1

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and then for the windows; hold the slot until the block ends.

        Raises `Stopped` when the run is asked to end meanwhile. The windows come last, so that what they
        count leaves at once.
        """
        with self._stop.interruptible():
            await self._slots.acquire_on_behalf_of(holder := object())
        try:
            if self._windows:
                with self._stop.interruptible():
                    await self._windows_agree()
            yield
        finally:
            self._slots.release_on_behalf_of(holder)

    async def _windows_agree(self) -> None:
        async with self._turn:  # first come, first served
            now = self._clock.monotonic()
            while (free := max(window.free_at(now) for window in self._windows)) > now:
                await self._clock.sleep(free - now)
                now = self._clock.monotonic()
            for window in self._windows:
                window.take(now)
