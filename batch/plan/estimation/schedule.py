"""Hours at the given quotas: how long so many rows take, which limit binds, and whether that is by morning.

Pure: durations in seconds, and the time is given. The quotas are the service's documented defaults, or what
`--concurrency` and `--limit` say, less what earlier runs have used of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from batch.limits.windows import WINDOW_MARGIN
from batch.parsing import RateLimit, rates_over
from batch.plan.splitting import COUNTED_ON, SLACK, UNSEEN_S
from batch.pricing import ASYNC
from batch.providers.yandex import SUBMISSIONS
from batch.settings import Settings

# What an answer takes where nothing was measured: half a second until the first token, then 40 tokens a second.
FIRST_TOKEN_S = 0.5
TOKENS_PER_S = 40.0
# Recorded: an operation that was submitted at :48 was done at :52.
OPERATION_S = 4.0
MORNING = 8
BOTH = "both"
_UNITS = {1: "s", 60: "min", 3600: "h", 86400: "d"}
# What earlier runs sent in a window, by its seconds: (how long ago, how many), the oldest first.
Earlier: TypeAlias = "Mapping[int, Sequence[tuple[float, int]]]"
_NOTHING: Earlier = {}


@dataclass(frozen=True, slots=True)
class Quotas:
    """What may be asked in a mode: `slots` requests at once (None: any number), and rates.

    `earlier` requests count in the windows of the rates; those of a second are over before anything is sent.
    """

    mode: str
    slots: int | None
    rates: Sequence[RateLimit]
    earlier: Earlier = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, mode: str, granted: int, earlier: Earlier = _NOTHING) -> Quotas:
        """Return a mode's quotas; `granted` is how many requests at once the service grants everybody.

        A fixed `--concurrency` is taken at its word; an adapting one will find out what is granted.
        """
        if mode == ASYNC:
            return cls(mode, None, rates_of(settings, mode), earlier)
        bounds = settings.concurrency
        return cls(mode, min(max(granted, bounds.low), bounds.high), rates_of(settings, mode), earlier)

    @property
    def used(self) -> list[tuple[str, int]]:
        """Return how much earlier runs have used of which rates, for people; untouched ones are left out."""
        return [(shown_rate(rate), count) for rate in self.rates if (count := self._used_of(rate))]

    def _used_of(self, rate: RateLimit) -> int:
        return sum(count for _, count in self.earlier.get(rate.seconds, ()))

    def seconds(self, rows: int, latency_s: float) -> float:
        """Return how long so many rows take from the first request to the last answer."""
        if rows <= 0:
            return 0.0
        steady = latency_s / self.slots if self.slots else 0.0
        rates = sorted(self.rates, key=lambda rate: -rate.seconds)
        return _elapsed(rows, rates, steady, self.earlier) + latency_s

    def done_within(self, seconds: float, rows: int, latency_s: float) -> int:
        """Return how many of the rows are answered after so many seconds."""
        low, high = 0, rows
        while low < high:
            middle = (low + high + 1) // 2
            if self.seconds(middle, latency_s) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low

    def binding(self, rows: int, latency_s: float) -> tuple[str, float]:
        """Return the limit that makes it take so long, for people, and the seconds that it alone would take."""
        alone: list[tuple[float, str]] = []
        if self.slots:
            alone.append((rows * latency_s / self.slots, f"{self.slots} requests at once"))
        alone += [(_elapsed(rows, [rate], 0.0, self.earlier), shown_rate(rate)) for rate in self.rates]
        # Of two that take as long, the smaller unit is the one that is felt.
        seconds, name = max(alone, key=lambda item: item[0], default=(0.0, "none"))
        return name, seconds

    def needed(self, rows: int, latency_s: float, seconds: float) -> str:
        """Return what the binding limit would have to be for the rows to be done in time, for people."""
        usable = seconds - latency_s
        if usable <= 0:
            return "more time: not even one row would be answered"
        name, _ = self.binding(rows, latency_s)
        rate = next((rate for rate in self.rates if shown_rate(rate) == name), None)
        if rate is None:
            return f"{math.ceil(rows * latency_s / usable):,} requests at once"
        windows = usable / span_of(rate)
        # A window's count may leave at its beginning, so of h hours h + 1 windows can be used in part.
        places = rows + self._used_of(rate)
        return f"{math.ceil(places / max(1.0, windows)):,}/{_UNITS[rate.seconds]}"


def _elapsed(rows: int, rates: Sequence[RateLimit], steady: float, earlier: Earlier = _NOTHING) -> float:
    """Return when the last of the rows leaves, the longest window first; `steady` seconds between two rows.

    A window that the others do not fill in its time does not bind, but for what is in it already.
    """
    if not rates or not rows:
        return rows * steady
    rate, smaller = rates[0], rates[1:]
    span = span_of(rate)
    if rate.seconds == 1:  # paced evenly, not in bursts
        return max(rows * span / rate.count, _elapsed(rows, smaller, steady, earlier))
    never_full = rows <= rate.count or _elapsed(rate.count, smaller, steady) >= span
    full = 0 if never_full else (rows - 1) // rate.count
    rest = rows - full * rate.count
    return full * span + max(
        free_in + _elapsed(rest - taken, smaller, steady, _NOTHING if free_in or full else earlier)
        for free_in, taken in _places(rate, earlier.get(rate.seconds, ()))
        if taken < rest
    )


def _places(rate: RateLimit, earlier: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return in how many seconds places of a window are free, and how many of them are so before."""
    taken = rate.count - sum(count for _, count in earlier)
    places = [(0.0, 0)] if taken > 0 else []
    for ago, count in earlier:
        if taken + count > 0:  # else one place is held twice: the limit is lower than it was
            places.append((max(0.0, span_of(rate) - ago), max(0, taken)))
        taken += count
    return places


def span_of(rate: RateLimit) -> float:
    """Return for how many seconds a run keeps a request in the window of a rate."""
    return rate.seconds * (1 + WINDOW_MARGIN)


def shown_rate(rate: RateLimit) -> str:
    """Return a rate as `--limit` takes it, with its thousands marked: `5,000/h`."""
    return f"{rate.count:,}/{_UNITS[rate.seconds]}"


def rates_of(settings: Settings, mode: str) -> Sequence[RateLimit]:
    """Return the rates that a run keeps to in a mode."""
    return rates_over(settings.async_limit, SUBMISSIONS) if mode == ASYNC else settings.limit


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when it has to be done, in seconds since 1970, and what says so: `--stop-at 07:00`, `the next morning`.

    `is_set` tells whether somebody set it: then a run ends there.
    """

    at: float
    name: str
    is_set: bool = True

    @classmethod
    def of(cls, settings: Settings, now: float) -> Deadline:
        """Return the deadline that the settings mean, or the next morning's in the machine's time zone."""
        bounds: list[Deadline] = []
        if settings.max_duration is not None:
            bounds.append(cls(now + settings.max_duration, "--max-duration"))
        if settings.stop_at is not None:
            hour, minute = settings.stop_at
            bounds.append(cls(_next(now, hour, minute), f"--stop-at {hour:02}:{minute:02}"))
        if bounds:
            return min(bounds, key=lambda item: item.at)
        return cls(_next(now, MORNING, 0), "the next morning", is_set=False)


def _next(now: float, hour: int, minute: int) -> float:
    local = datetime.fromtimestamp(now).astimezone()
    at = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if at <= local:
        at += timedelta(days=1)
    return at.timestamp()


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a mode takes, low, expected and high seconds; `binding` is the limit that makes it so long.

    `done_at` is when it would be done if it began now, `left` how many rows would not be done by the deadline,
    and `needed` the quota with which none would; times in seconds since 1970. `used` is how many requests of
    earlier runs the windows of which limits still hold.
    """

    mode: str
    seconds: tuple[float, float, float]
    latency_s: float
    binding: str
    done_at: float
    deadline: Deadline
    left: int
    needed: str
    used: Sequence[tuple[str, int]] = ()

    @property
    def in_time(self) -> bool:
        """Return whether it is expected to be done by the deadline."""
        return not self.left


def scheduled(
    quotas: Quotas, rows: int, latencies: tuple[float, float, float], deadline: Deadline, now: float
) -> Schedule:
    """Return how long the rows take where an answer takes `latencies`: low, expected, high seconds."""
    if quotas.mode == ASYNC:
        latencies = (OPERATION_S,) * 3
    expected = latencies[1]
    low, middle, high = (quotas.seconds(rows, latency) for latency in latencies)
    time_left = deadline.at - now
    left = rows - quotas.done_within(time_left, rows, expected)
    return Schedule(
        quotas.mode,
        (low, middle, high),
        expected,
        quotas.binding(rows, expected)[0],
        now + middle,
        deadline,
        left,
        quotas.needed(rows, expected, time_left) if left else "",
        quotas.used,
    )


@dataclass(frozen=True, slots=True)
class Divided:
    """How many rows each mode takes with `--mode both`, and how many neither would do in time."""

    deferred: int
    at_once: int
    left: int


@dataclass(frozen=True, slots=True)
class BothModes:
    """The quotas of a run with `--mode both`, which divides its rows as `plan.splitting` says."""

    deferred: Quotas
    at_once: Quotas

    def divided(self, rows: int, latency_s: float, seconds: float) -> Divided:
        """Return who takes how many rows in so many seconds.

        As long as no operation was seen to its end, operations are given longer, and more rows are asked at once.
        """
        most = self._submitted(rows, seconds - SLACK * OPERATION_S if seconds > UNSEEN_S else -1.0)
        unseen = rows - int(COUNTED_ON * self._submitted(rows, seconds - UNSEEN_S))
        at_first = self.at_once.done_within(OPERATION_S + latency_s, max(0, unseen), latency_s)
        beyond = max(at_first, rows - int(COUNTED_ON * most))
        done = self.at_once.done_within(seconds, beyond, latency_s)
        submitted = min(most, rows - done)
        return Divided(submitted, done, rows - done - submitted)

    def _submitted(self, rows: int, seconds: float) -> int:
        """Return how many can be submitted in so many seconds; more than that many rows need not be known."""
        return self.deferred.done_within(seconds, math.ceil(rows / COUNTED_ON), 0.0)

    def scheduled(
        self, rows: int, latencies: tuple[float, float, float], deadline: Deadline, now: float
    ) -> tuple[Schedule, Divided]:
        """Return how long the rows take, and how they are divided."""
        expected, time_left = latencies[1], deadline.at - now
        found = self.divided(rows, expected, time_left)
        middle = self._seconds(found, expected)
        others = [self._seconds(self.divided(rows, each, time_left), each) for each in latencies]
        limits = [(self.deferred, found.deferred, OPERATION_S), (self.at_once, found.at_once, expected)]
        binding = [f"{quotas.binding(part, each)[0]} ({quotas.mode})" for quotas, part, each in limits if part]
        used = [(f"{limit} ({quotas.mode})", count) for quotas, _, _ in limits for limit, count in quotas.used]
        needed = ""
        if found.left:
            needed = f"{self.at_once.needed(rows - found.deferred, expected, time_left)} (sync)"
        told = (expected, " and ".join(binding) or "none", now + middle, deadline, found.left, needed, used)
        return Schedule(BOTH, (min(others), middle, max(others)), *told), found

    def _seconds(self, found: Divided, latency_s: float) -> float:
        """Return how long it takes to answer all but the rows that are left."""
        submitting = self.deferred.seconds(found.deferred, OPERATION_S)
        return max(submitting, self.at_once.seconds(found.at_once, latency_s))
