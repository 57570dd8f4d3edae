"""Rate windows: how many requests left in the last second, minute, hour or day, and when one more may.

Plain functions of the time that they are given, so an hour can be tested in no time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from batch.parsing import RateLimit

# A window is kept a little longer than stated: requests that leave 1 s apart may arrive 0.99 s apart.
WINDOW_MARGIN = 0.01
LOW_RATE_MARGIN, MOST_MARGIN = 0.2, 0.02
# How many requests of a per-second limit may follow each other at once after a stall.
CATCH_UP = 4
# And of a low one at most as many as belong to so many seconds.
CATCH_UP_S = 0.04
# So much of the quickest exchange so far may not belong to every one. Where even that took longer, all may
# have been held up, and it says nothing.
UNSURE_S, SLOW_S = 0.01, 1.0
_SLICES = 1000
_SECOND = 1 + WINDOW_MARGIN
# How soon to ask again where others hold all of a quota, and where an answer is waited for.
NOTHING_S = 0.1
UNANSWERED_S = 0.005


def margin(per_second: int | None) -> float:
    """Return how much longer than stated a window is kept; of a low rate per second a little more.

    Ten requests that leave 0.1 s apart need only arrive unevenly by 20 ms to be eleven in a second.
    """
    return WINDOW_MARGIN + (min(LOW_RATE_MARGIN / per_second, MOST_MARGIN) if per_second else 0.0)


@dataclass(slots=True)
class Window:
    """Counts the requests of the last `seconds`, and keeps them to `count`; None counts only.

    Requests are counted in slices of a thousandth of the window, and a slice is forgotten only when all of
    it is past, so the count errs on the safe side and memory is bounded. Windows of a second are also paced
    (GCRA, ITU-T I.371 annex A, with a tolerance of `CATCH_UP`): a service that counts with a small bucket
    sees an even stream and not a burst at every second's beginning. `granted` is the part of `count` that is ours
    where others use the same quota, None for all of it. `followed`: somebody else (`Followed`) sees to uneven
    arrivals, so that no room is kept for these.
    """

    seconds: int
    count: int | None = None
    granted: int | None = None
    followed: bool = False
    _slices: deque[tuple[float, int]] = field(default_factory=deque)
    _used: int = 0
    _theoretical: float = float("-inf")

    @classmethod
    def of(cls, limit: RateLimit) -> Window:
        """Return the window that keeps a limit."""
        return cls(limit.seconds, limit.count)

    def used(self, now: float) -> int:
        """Return how many requests the window holds."""
        self._forget(now)
        return self._used

    def free_at(self, now: float, *, alone: bool = False) -> float:
        """Return the time from which one more request may leave; `now` or later.

        `alone`: if nobody else used the quota. Where our part is nothing, it is some time until it may be more.
        """
        if self.count is None:
            return now
        count = self.count if alone else self.ours
        if not count:
            return now + NOTHING_S
        self._forget(now)
        at, excess = now, self._used - count + 1
        for end, used in self._slices:  # nearly always the first one frees enough
            if excess <= 0:
                break
            at, excess = max(now, end + self._span), excess - used
        if self.seconds == 1:
            at = max(at, self._theoretical - CATCH_UP * self._span / count)
        return at

    def capacity(self, now: float, until: float) -> float:
        """Return how many requests could leave from now until then; infinite where nothing is kept.

        Each of the window's places is free from some time on, and again once in its length.
        """
        if self.count is None:
            return float("inf")
        self._forget(now)
        times = [(end + self._span, used) for end, used in self._slices]
        times.append((now, max(0, self.ours - self._used)))
        return sum(used * (1 + (until - at) // self._span) for at, used in times if at <= until)

    def take(self, now: float, requests: int = 1) -> None:
        """Count requests that leave now."""
        self._forget(now)
        size = self.seconds / _SLICES
        end = (now // size + 1) * size
        if self._slices and self._slices[-1][0] >= end:
            self._slices[-1] = (self._slices[-1][0], self._slices[-1][1] + requests)
        else:
            self._slices.append((end, requests))
        self._used += requests
        if self.count is not None:
            self._theoretical = max(now, self._theoretical) + requests * self._span / max(1, self.ours)

    def hold_back(self, now: float, waiting: int) -> None:
        """Let no more through than can be sent, where somebody else sends one now and so many wait there."""
        interval = self._span / max(1, self.ours)
        self._theoretical = max(self._theoretical, now + (waiting + 1 + CATCH_UP) * interval)

    @property
    def ours(self) -> int:
        """Return how many requests of the window are ours; 0 where nothing is kept."""
        count = self.count or 0
        return count if self.granted is None else min(count, self.granted)

    def give_back(self) -> None:
        """Forget one request that was refused: a long window counts what the service took."""
        if self.seconds > 1 and self._slices:
            end, used = self._slices[-1]
            if used > 1:
                self._slices[-1] = (end, used - 1)
            else:
                self._slices.pop()
            self._used -= 1

    @property
    def _span(self) -> float:
        low = self.count if self.seconds == 1 and not self.followed else None
        return self.seconds * (1 + margin(low))

    def _forget(self, now: float) -> None:
        while self._slices and self._slices[0][0] + self._span <= now:
            self._used -= self._slices.popleft()[1]


@dataclass(slots=True)
class Pace:
    """An even stream of `rate` requests a second, whatever comes: few leave at once.

    At most `CATCH_UP` + 1 of a high rate; of a low one fewer, since at 10/s four more are nearly half a second's.

    Behind a window of the same rate nobody waits here, unless requests were held up between the two. It has
    half the window's margin, so that what was held up drains.
    """

    _theoretical: float = float("-inf")

    def turn(self, now: float, rate: int) -> float:
        """Take the next turn; returns how long to wait for it."""
        at = max(now, self._theoretical - min(CATCH_UP, int(rate * CATCH_UP_S)) / rate)
        self._theoretical = max(now, self._theoretical) + (1 + margin(rate) / 2) / rate
        return at - now

    def left(self, now: float, rate: int) -> None:
        """Note that a turn was taken just now: where it was late, those after it are as far behind it.

        Else one that a busy machine held up, and ten on time after it, are eleven in the service's second.
        """
        if rate * CATCH_UP_S < 1:
            self._theoretical = max(self._theoretical, now + (1 + margin(rate) / 2) / rate)


@dataclass(slots=True)
class Followed:
    """At most so many requests in any second as the service counts them, however unevenly they arrive.

    For requests that are answered at once. Each was counted at some time between its sending and its answer, so it
    holds its place until a second after the latest of these times: its answer's, less what every exchange takes,
    whichever part of that is before the counting. (With the quickest exchange q = there + back at their least: i
    was counted by its answer less its way back, j no sooner than its sending plus the least way there. So j may
    leave from a second after i's answer less q on.) A stall on either side costs time, and no refusal.
    """

    _flying: int = 0
    _quickest: float = float("inf")
    _answers: deque[float] = field(default_factory=deque)

    def free_at(self, now: float, rate: int) -> float:
        """Return the time from which one more may be sent, or at which to ask again; `now` or later."""
        held = _SECOND - max(0.0, self._quickest - UNSURE_S if self._quickest <= SLOW_S else 0.0)
        while self._answers and self._answers[0] + held <= now:
            self._answers.popleft()
        excess = self._flying + len(self._answers) - rate
        if excess < 0:
            return now
        if excess < len(self._answers):
            return self._answers[excess] + held
        return now + UNANSWERED_S

    def send(self) -> None:
        """Count a request that is sent now."""
        self._flying += 1

    def answered(self, sent_at: float, now: float) -> None:
        """Note the answer to a request, or that none will come."""
        self._flying -= 1
        self._quickest = min(self._quickest, now - sent_at)
        self._answers.append(now)
