"""When to look at an operation: learned from how long the ones before took.

Pure: told of durations and ages, it says the next age at which a look is likely to pay. The readings of a service
are a quota too, so an operation is looked at about when half of those before it were done, and from there on at
growing intervals.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

# Looks before anything is known: at 2 s, then at ages that grow by half.
FIRST_AGE_S = 2.0
UNKNOWN_GROWTH = 1.5
# With so many durations known they tell more than a guess does.
ENOUGH = 20
REMEMBERED = 500
# The shares of all operations that are done at the first, second … look.
LADDER = (0.6, 0.85, 0.95, 0.99)
# Beyond the ladder ages grow by a tenth, by a second at least and ten minutes at most.
GROWTH = 1.1
SHORTEST_S = 1.0
LONGEST_S = 600.0


@dataclass(slots=True)
class Durations:
    """The durations of the last `REMEMBERED` operations, in seconds."""

    _recent: deque[float] = field(default_factory=deque)
    _sorted: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        """Take in how long an operation took."""
        self._recent.append(seconds)
        insort(self._sorted, seconds)
        if len(self._recent) > REMEMBERED:
            self._sorted.remove(self._recent.popleft())

    @property
    def known(self) -> int:
        """Return how many durations are remembered."""
        return len(self._sorted)

    @property
    def informed(self) -> bool:
        """Return whether enough is known to say when a look pays."""
        return self.known >= ENOUGH

    def share(self, part: float) -> float | None:
        """Return the duration within which this share of the operations is done; None where none is known."""
        if not self._sorted:
            return None
        return self._sorted[min(len(self._sorted) - 1, int(part * len(self._sorted)))]

    def next_age(self, age: float) -> float:
        """Return the age at which an operation that is not done at `age` is to be looked at."""
        if not self.informed:
            return max(FIRST_AGE_S, age + min(age * (UNKNOWN_GROWTH - 1), LONGEST_S))
        for part in LADDER:
            at = self.share(part)
            if at is not None and at > age + 0.05 * at:
                return at
        return age + min(max(age * (GROWTH - 1), SHORTEST_S), LONGEST_S)
