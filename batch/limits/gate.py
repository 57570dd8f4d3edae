"""The one gate through which every request of a quota leaves: slots, rate windows, and a shared pause.

Only this module of the limits waits. Whoever is let through leaves at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from batch.clock import Clock
from batch.errors import ExitCode
from batch.limits.concurrency import Concurrency, Known
from batch.limits.shared import Demand, Grant, Watched
from batch.limits.windows import NOTHING_S, Followed, Pace, Window
from batch.parsing import RateLimit
from batch.stopping import Stop, Stopped

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
UNITS_S = tuple(UNITS.values())
# One pause for an episode of refusals that state no time of their own.
PAUSE_S = 0.5
# The pauses while a rate is refused that by our own count has room (somebody else uses it): they double, from
# a sixtieth of the window's length.
FIRST_FOREIGN_S = 0.1
LONGEST_FOREIGN_S = 60.0
# What waits longer than this before it is sent came through the gate too early, and so would those after it.
LATE_S = 0.05


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit was changed by what the service did: `requests at once` or a rate, and why."""

    limit: str
    value: int
    reason: str


class TooLate(Exception):
    """Raised for a row whose turn would come after the time by which it is of use."""


class Limits:
    """The limits of one quota: so many requests at once, rate windows that all have to agree, and pauses.

    Begins with a single slot, so that refused credentials cost one request and not as many as may run at
    once; `trust` opens the rest after the first good answer and `doubt` closes them again. `told` hears of
    every change. `deadline` is a time of the clock's `monotonic`: where a window stays shut beyond it, the
    run is asked to stop. `in_time` says until when a turn is of use to a row: beyond it `TooLate` is raised.
    `prompt`: requests are answered at once, so that a rate per second is kept as the service counts it.
    """

    def __init__(
        self,
        concurrency: Concurrency,
        rates: Sequence[RateLimit],
        *,
        clock: Clock,
        stop: Stop,
        told: Callable[[LimitChange], None] = lambda _change: None,
        deadline: float | None = None,
        in_time: Callable[[], float] | None = None,
        prompt: bool = False,
    ) -> None:
        self._concurrency = concurrency
        # One window for each unit, so that a rate which is learned on the way knows what was sent already.
        self._windows = {seconds: Window(seconds, followed=prompt) for seconds in UNITS_S}
        for rate in rates:
            self._keep(rate)
        self._clock = clock
        self._stop = stop
        self._told = told
        self._deadline = deadline
        self.in_time = in_time
        self._pace = Pace()
        self._followed = Followed() if prompt else None
        self._door = anyio.Lock()
        self._slots = anyio.CapacityLimiter(1)
        self._trusted = False
        self._turn = anyio.Lock()
        self._resume_at = float("-inf")
        self._cut_at = float("-inf")
        self._foreign_s = 0.0
        self._running = 0
        self._watched = Watched(concurrency.low, concurrency.high)
        self._grant: Grant | None = None
        self.paused_s = 0.0

    @property
    def concurrency(self) -> int:
        """Return how many requests may run at once."""
        return int(self._slots.total_tokens)

    @property
    def running(self) -> int:
        """Return how many requests run; those that hold a slot and still wait do not."""
        return self._running

    def capacity(self, until: float) -> float:
        """Return how many requests the windows let through from now until a time of the clock's `monotonic`."""
        now = self._clock.monotonic()
        return min(window.capacity(now, until) for window in self._windows.values())

    def restore(self, sent: Iterable[tuple[float, int]]) -> None:
        """Count what earlier runs sent: (seconds ago, how many), the oldest first."""
        now = self._clock.monotonic()
        for ago, count in sent:
            for window in self._windows.values():
                window.take(now - ago, count)

    # -- what the service did

    def trust(self) -> None:
        """Note an answer that shows that the service takes us; let the concurrency grow."""
        now = self._clock.monotonic()
        self._foreign_s = 0.0
        if not self._trusted:
            self._trusted = True
            self._open_slots()
        if self._concurrency.succeeded(now, self.running + self._elsewhere):
            self._watched.grown += 1
            self._apply("grown")

    def doubt(self) -> None:
        """Let one request at a time find out whether the service takes us."""
        self._trusted = False
        self._slots.total_tokens = 1

    def refused(self, allowed: int | None, retry_after: float | None, sent_at: float = float("inf")) -> None:
        """Note that too many requests ran at once; the refusals of one episode make one pause and one cut.

        A request that was sent before the last cut belongs to that one's episode, however late its refusal.
        """
        now = self._clock.monotonic()
        if now >= self._resume_at and sent_at >= self._cut_at:
            running = self.running + self._elsewhere
            if self._elsewhere and allowed is not None:
                # What others run is known a little late; that all of the limit was in use is the better guess.
                running = max(running, self._concurrency.limit)
            self._concurrency.refused(now, running, allowed)
            self._cut_at = now
            self._watched.grown = 0
            self._apply("refused by the service")
        self.pause(max(PAUSE_S, retry_after or 0.0))
        self._watched.resume_at = self._resume_at

    def learn(self, rate: RateLimit, retry_after: float | None = None) -> bool:
        """Keep a rate that the service stated and refused, from now on; a lower one that is kept stays.

        Returns whether what we sent ourselves used it up: the window says then when to go on. Where it did
        not, somebody else uses the quota too, and all that helps is a pause.
        """
        self._watched.stated[rate.seconds] = min(rate.count, self._watched.stated.get(rate.seconds, rate.count))
        if self._keep(rate):
            unit = next(name for name, seconds in UNITS.items() if seconds == rate.seconds)
            self._told(LimitChange(f"requests per {unit}", rate.count, "stated by the service"))
        now = self._clock.monotonic()
        ours = self._windows[rate.seconds].free_at(now) > now
        if not ours and now >= self._resume_at:
            first = min(max(FIRST_FOREIGN_S, rate.seconds / 60), LONGEST_FOREIGN_S)
            self._foreign_s = min(max(first, 2 * self._foreign_s), LONGEST_FOREIGN_S)
            self.pause(self._foreign_s)
        self.pause(retry_after or 0.0)
        return ours

    def _keep(self, rate: RateLimit) -> bool:
        window = self._windows.setdefault(rate.seconds, Window(rate.seconds))
        if window.count is not None and window.count <= rate.count:
            return False
        window.count = rate.count
        return True

    def give_back(self) -> None:
        """Note that a request was refused for a quota: it takes no part of those of a minute and more."""
        for window in self._windows.values():
            window.give_back()

    def stumbled(self) -> None:
        """Note that the service failed: concurrency does not shrink for that, and does not grow either."""
        self._concurrency.stumbled()

    def pause(self, seconds: float) -> None:
        """Let nothing leave for so long; a pause that ends later wins."""
        now = self._clock.monotonic()
        until = now + seconds
        if until > self._resume_at:
            self.paused_s += until - max(now, self._resume_at)
            self._resume_at = until

    def _apply(self, reason: str) -> None:
        self._open_slots()
        self._told(LimitChange("requests at once", self._ours, reason))

    @property
    def _ours(self) -> int:
        """How many of the quota's slots are ours; at least the one in which whoever asks first waits."""
        limit = self._concurrency.limit
        return limit if self._grant is None else max(1, min(limit, self._grant.slots))

    def _open_slots(self) -> None:
        if self._trusted and self._slots.total_tokens != self._ours:
            self._slots.total_tokens = self._ours

    # -- sharing the quota with others

    @property
    def _elsewhere(self) -> int:
        return self._grant.elsewhere if self._grant is not None else 0

    def demand(self) -> Demand:
        """Return what is used and could be used of the quota; looks some times a second at what it watches."""
        now = self._clock.monotonic()
        limit = self._concurrency.limit
        slots = min(self._watched.most, limit) if self._trusted else 1
        if self._grant is not None:
            slots = min(slots, self._grant.slots)
        need = self._watched.look(self.running, slots, limit) if self._trusted else 1
        rates = {
            seconds: (window.count, window.used(now))
            for seconds, window in self._windows.items()
            if window.count is not None
        }
        return Demand(limit, need, self.running, rates, self._windows[1].used(now), self._watched.take_sent())

    def known(self) -> Known:
        """Return what was found out of the concurrency."""
        return Known(*self._concurrency.known(), _finite(self._cut_at), _finite(self._watched.resume_at))

    def bounds(self) -> tuple[int, int]:
        """Return between which numbers of requests at once the user wants this run to stay."""
        return self._watched.low, self._watched.most

    def adopt(self, theirs: Known | None, low: int, high: int) -> None:
        """Go on from what all users of the quota know of it, whose bounds are these; None where we are alone.

        The latest refusal counts, whoever met it: its cut is for all, and so is its pause.
        """
        mine = self._concurrency
        mine.low, mine.high = low, high
        before = mine.limit
        if theirs is None:
            mine.limit = max(low, min(mine.limit, high))
        elif theirs.refused_at is not None and theirs.refused_at > self._cut_at:
            self._cut_at = theirs.refused_at
            mine.adopt(theirs, 0)
            if theirs.resume_at is not None:
                self.pause(theirs.resume_at - self._clock.monotonic())
        elif (theirs.refused_at or float("-inf")) >= self._cut_at:
            mine.adopt(theirs, self._watched.grown)
        self._watched.grown = 0
        if mine.limit != before:
            self._open_slots()

    def grant(self, grant: Grant | None, reason: str = "") -> None:
        """Keep to a part of the quota from now on; None for all of it. With a reason it is told."""
        self._grant = grant
        for seconds, window in self._windows.items():
            window.granted = grant.rates.get(seconds) if grant is not None else None
        self._open_slots()
        if reason:
            self._told(LimitChange("requests at once", self._ours, reason))

    def learn_rates(self, rates: Mapping[int, int]) -> dict[int, int]:
        """Keep what the service stated to others (requests by seconds); returns what it stated to anybody."""
        for seconds, count in rates.items():
            if self._keep(RateLimit(count, seconds)):
                unit = next(name for name, length in UNITS.items() if length == seconds)
                self._told(LimitChange(f"requests per {unit}", count, "stated by the service to another run"))
            self._watched.stated[seconds] = min(count, self._watched.stated.get(seconds, count))
        return dict(self._watched.stated)

    # -- going through

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and then for the pause and the windows; hold the slot until the block ends.

        Raises `Stopped` when the run is asked to end meanwhile. The windows come last, so that what they
        count leaves at once.
        """
        while True:
            if self._stop.requested:
                raise Stopped
            holder = object()
            try:
                self._slots.acquire_on_behalf_of_nowait(holder)
            except anyio.WouldBlock:
                with self._stop.interruptible():
                    await self._slots.acquire_on_behalf_of(holder)
            try:
                if await self._may_leave():
                    try:
                        yield
                    finally:
                        self._running -= 1
                    return
            finally:
                self._slots.release_on_behalf_of(holder)

    @asynccontextmanager
    async def on_the_way(self) -> AsyncIterator[None]:
        """Enclose the sending of a request that came through the gate, until its answer is there.

        What was held up together since, by a slow disk for instance, is spaced out: it has had its turn, so it is
        sent also where the run is asked to end meanwhile.
        """
        if self._windows[1].count is None:
            yield
        elif self._followed is None:
            await self._space_out(self._windows[1].count)
            yield
        else:
            sent_at = await self._send(self._followed)
            try:
                yield
            finally:
                self._followed.answered(sent_at, self._clock.monotonic())

    async def _space_out(self, rate: int) -> None:
        if (wait := self._pace.turn(self._clock.monotonic(), rate)) > 0:
            await self._clock.sleep(wait)
        self._pace.left(self._clock.monotonic(), rate)

    async def _send(self, followed: Followed) -> float:
        """Wait until a request may be sent, first come, first served; returns when that was."""
        window, came_at = self._windows[1], self._clock.monotonic()
        if not self._door.statistics().locked and followed.free_at(came_at, window.ours) <= came_at:
            followed.send()
            return came_at
        door = self._door
        async with door:
            while (free := followed.free_at(now := self._clock.monotonic(), window.ours)) > now:
                await self._clock.sleep(free - now)
            followed.send()
        window.hold_back(now - LATE_S, door.statistics().tasks_waiting)
        return now

    async def _may_leave(self) -> bool:
        """Wait for the pause and the windows; returns False where the slot was taken back meanwhile."""
        now = self._clock.monotonic()
        if not self._turn.statistics().locked and self._free_at(now) <= now:
            return self._take(now)
        with self._stop.interruptible():
            async with self._turn:  # first come, first served
                return self._take(await self._until_free())

    async def _until_free(self) -> float:
        while (free := self._free_at(now := self._clock.monotonic())) > now:
            if self._deadline is not None and self._window_at(now, alone=True) > self._deadline:
                self._stop.request("a quota will not clear before the deadline", ExitCode.QUOTA)
            if self.in_time is not None and self._window_at(now) > self.in_time():
                raise TooLate
            await self._clock.sleep(free - now if self._grant is None else min(free - now, NOTHING_S))
        return now

    def _take(self, now: float) -> bool:
        if self._running >= self._slots.total_tokens:
            return False  # the limit shrank while we waited: others hold all the slots that there are now
        for window in self._windows.values():
            window.take(now)
        self._running += 1
        self._watched.left(self._running)
        return True

    def _window_at(self, now: float, *, alone: bool = False) -> float:
        return max(window.free_at(now, alone=alone) for window in self._windows.values())

    def _free_at(self, now: float) -> float:
        if self._grant is not None and not self._grant.slots:
            return max(self._resume_at, now + NOTHING_S)  # others hold all slots: our turn will come
        return max(self._resume_at, now, self._window_at(now))


def _finite(moment: float) -> float | None:
    return moment if moment > float("-inf") else None
