"""What was sent in the last day, in slices that are coarser the older they are: small enough to be passed on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# Up to this age in seconds, a slice is so long. A slice counts until all of it is past.
GRAINS = ((120.0, 2.0), (7200.0, 60.0), (88200.0, 1800.0))


@dataclass(slots=True)
class Usage:
    """Requests by the end of the slice in which they left, the oldest first."""

    slices: list[tuple[float, int]] = field(default_factory=list)

    def add(self, now: float, count: int) -> None:
        """Note requests that left just now."""
        if count:
            self.slices.append((now, count))
            self.compact(now)

    def extend(self, other: Usage, now: float) -> None:
        """Take in what somebody else sent."""
        self.slices = sorted(self.slices + other.slices)
        self.compact(now)

    def compact(self, now: float) -> None:
        """Put together what is old, and forget what is older than a day (and a slice)."""
        kept: list[tuple[float, int]] = []
        for at, count in self.slices:
            grain = next((grain for most, grain in GRAINS if now - at < most), None)
            if grain is None:
                continue
            end = math.ceil(at / grain) * grain
            if kept and kept[-1][0] >= end:
                kept[-1] = (kept[-1][0], kept[-1][1] + count)
            else:
                kept.append((end, count))
        self.slices = kept

    def within(self, now: float, seconds: float) -> int:
        """Return how many left in the last so many seconds, rather too many than too few."""
        return sum(count for end, count in self.slices if end > now - seconds)
