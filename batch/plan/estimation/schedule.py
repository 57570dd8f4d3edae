"""Hours at the given quotas: how long so many rows take, which limit binds, and whether that is by morning.

Pure: durations in seconds, and the time is given. The quotas are the service's documented defaults, or what
`--concurrency` and `--limit` say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from batch.limits.windows import WINDOW_MARGIN
from batch.parsing import RateLimit, rates_over
from batch.pricing import ASYNC
from batch.providers.yandex import SUBMISSIONS
from batch.settings import Settings

# The service's documentation, "Quotas and limits": asynchronous submissions.
# What an answer takes where nothing was measured: half a second until the first token, then 40 tokens a second.
FIRST_TOKEN_S = 0.5
TOKENS_PER_S = 40.0
# Recorded: an operation that was submitted at :48 was done at :52.
OPERATION_S = 4.0
MORNING = 8
_UNITS = {1: "s", 60: "min", 3600: "h", 86400: "d"}


@dataclass(frozen=True, slots=True)
class Quotas:
    """What may be asked in a mode: `slots` requests at once (None: any number), and rates."""

    mode: str
    slots: int | None
    rates: Sequence[RateLimit]

    @classmethod
    def of(cls, settings: Settings, mode: str, granted: int) -> Quotas:
        """Return a mode's quotas; `granted` is how many requests at once the service grants everybody.

        A fixed `--concurrency` is taken at its word; an adapting one will find out what is granted.
        """
        if mode == ASYNC:
            return cls(mode, None, rates_over(settings.async_limit, SUBMISSIONS))
        bounds = settings.concurrency
        return cls(mode, min(max(granted, bounds.low), bounds.high), settings.limit)

    def seconds(self, rows: int, latency_s: float) -> float:
        """Return how long so many rows take from the first request to the last answer."""
        if rows <= 0:
            return 0.0
        steady = latency_s / self.slots if self.slots else 0.0
        return _elapsed(rows, sorted(self.rates, key=lambda rate: -rate.seconds), steady) + latency_s

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
        alone += [(_elapsed(rows, [rate], 0.0), shown_rate(rate)) for rate in self.rates]
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
        windows = usable / (rate.seconds * (1 + WINDOW_MARGIN))
        # A window's count may leave at its beginning, so of h hours h + 1 windows can be used in part.
        return f"{math.ceil(rows / max(1.0, windows)):,}/{_UNITS[rate.seconds]}"


def _elapsed(rows: int, rates: Sequence[RateLimit], steady: float) -> float:
    """Return when the last of the rows leaves, the longest window first; `steady` seconds between two rows.

    A window that the others do not fill in its time does not bind.
    """
    if not rates:
        return rows * steady
    rate, smaller = rates[0], rates[1:]
    span = rate.seconds * (1 + WINDOW_MARGIN)
    if rate.seconds == 1:  # paced evenly, not in bursts
        return max(rows * span / rate.count, _elapsed(rows, smaller, steady))
    if rows <= rate.count or _elapsed(rate.count, smaller, steady) >= span:
        return _elapsed(rows, smaller, steady)
    full = (rows - 1) // rate.count
    return full * span + _elapsed(rows - full * rate.count, smaller, steady)


def shown_rate(rate: RateLimit) -> str:
    """Return a rate as `--limit` takes it, with its thousands marked: `5,000/h`."""
    return f"{rate.count:,}/{_UNITS[rate.seconds]}"


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when it has to be done, in seconds since 1970, and what says so: `--stop-at 07:00`, `by 08:00`."""

    at: float
    name: str

    @classmethod
    def of(cls, settings: Settings, now: float) -> Deadline:
        """Return the deadline that the settings mean, or the next morning's in the machine's time zone."""
        bounds: list[Deadline] = []
        if settings.max_duration is not None:
            bounds.append(cls(now + settings.max_duration, "--max-duration"))
        if settings.stop_at is not None:
            hour, minute = settings.stop_at
            bounds.append(cls(_next(now, hour, minute), f"--stop-at {hour:02}:{minute:02}"))
        return min(bounds, key=lambda item: item.at) if bounds else cls(_next(now, MORNING, 0), "the next morning")


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
    and `needed` the quota with which none would; times in seconds since 1970.
    """

    mode: str
    seconds: tuple[float, float, float]
    latency_s: float
    binding: str
    done_at: float
    deadline: Deadline
    left: int
    needed: str

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
    )
