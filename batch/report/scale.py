"""Time as an axis: cut into slices, with the hours in which nothing ran left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

# A chart is some 400 pixels wide: a slice is to be seen.
MOST_SLICES = 120
# Between periods nothing ran for hours; so many are drawn apart, and the shortest gaps are closed beyond.
MOST_PERIODS = 12
GAP = 3.0  # slices' widths between two periods
_WIDTHS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600,
    43200, 86400,
)  # fmt: skip
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_TICKS = 8


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the axis: where, and what it says; the date only where a new day begins."""

    position: float
    label: str
    date: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Slices of `width` seconds, in periods from a first to a last slice; positions count drawn slices from 0."""

    width: float
    periods: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, times: Iterable[tuple[float, float]]) -> Scale:
        """Return the axis of these times (from, to), at least one, that may overlap."""
        spans = _merged(sorted(times), 0.0)
        while len(spans) > MOST_PERIODS:
            gaps = (after[0] - before[1] for before, after in itertools.pairwise(spans))
            spans = _merged(spans, min(gaps))
        width = _width(spans)
        # What lies closer than the break between two periods is one period.
        spans = _merged(spans, width * GAP)
        return cls(width, [(math.floor(start / width), math.floor(end / width)) for start, end in spans])

    @property
    def end(self) -> float:
        """Return where the axis ends."""
        return self.start_of(len(self.periods) - 1) + self.periods[-1][1] - self.periods[-1][0] + 1

    @property
    def breaks(self) -> list[float]:
        """Return the middle of each gap that was cut out."""
        return [self.start_of(n) - GAP / 2 for n in range(1, len(self.periods))]

    def start_of(self, period: int) -> float:
        """Return where a period begins."""
        return sum(last - first + 1 + GAP for first, last in self.periods[:period])

    def position(self, piece: int) -> float:
        """Return where a slice begins; one outside of all periods is drawn at the nearest end of one."""
        best, distance = 0.0, math.inf
        for n, (first, last) in enumerate(self.periods):
            near = min(max(piece, first), last)
            if abs(piece - near) < distance:
                best, distance = self.start_of(n) + near - first, abs(piece - near)
        return best

    def slices(self) -> list[tuple[int, float]]:
        """Return every slice of every period with its position."""
        return [
            (piece, self.start_of(n) + piece - first)
            for n, (first, last) in enumerate(self.periods)
            for piece in range(first, last + 1)
        ]

    def times(self, piece: int) -> tuple[float, float]:
        """Return when a slice begins and ends."""
        return piece * self.width, (piece + 1) * self.width

    def ticks(self, zone: tzinfo | None) -> list[Tick]:
        """Return marks at full hours, minutes or seconds of a zone; the date stands where a new day begins."""
        length = sum(last - first + 1 for first, last in self.periods) * self.width
        step = next((step for step in _STEPS if length / step <= _TICKS), _STEPS[-1])
        ticks: list[Tick] = []
        day = ""
        for n, (first, last) in enumerate(self.periods):
            for at in _round_times(first * self.width, (last + 1) * self.width, step, zone):
                position = self.start_of(n) + at / self.width - first
                if ticks and position - ticks[-1].position < self.end / (_TICKS * 1.5):
                    continue
                here = datetime.fromtimestamp(at, UTC).astimezone(zone)
                label = here.strftime("%H:%M" if step >= 60 and self.width >= 1 else "%H:%M:%S")
                date = here.strftime("%d %b").lstrip("0")
                ticks.append(Tick(position, label, "" if date == day else date))
                day = date
        return ticks


def _merged(spans: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, max(start, end)))
    return merged


def _width(spans: Sequence[tuple[float, float]]) -> float:
    length = sum(end - start for start, end in spans)
    fitting = (width for width in _WIDTHS if length / width + len(spans) <= MOST_SLICES)
    days = math.ceil(length / 86400 / (MOST_SLICES - len(spans)))
    return next(fitting, 86400.0 * days)


def _round_times(start: float, end: float, step: int, zone: tzinfo | None) -> list[float]:
    """Return the multiples of a step on a zone's clocks; where there is none, the beginning."""
    offset = datetime.fromtimestamp(start, UTC).astimezone(zone).utcoffset()
    ahead = offset.total_seconds() if offset else 0.0
    first = math.ceil((start + ahead) / step) * step - ahead
    count = max(0, math.floor((end - first) / step) + 1)
    return [first + n * step for n in range(min(count, 64))] or [start]
