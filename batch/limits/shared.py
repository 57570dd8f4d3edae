"""What a gate says of its need where several runs use one quota, and what it is given of it.

Plain data, and the little that has to be watched between two looks. Knows no file and no other run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

# Slots that were all in use in most of the last so many looks (0.1 s each) are needed, and perhaps as many again.
LOOKS = 5


@dataclass(frozen=True, slots=True)
class Demand:
    """What is used and needed of a quota.

    `limit` is how many requests may run at once in the whole quota, `need` how many could run now, `running` how
    many do. `rates` gives, by the seconds of each window that is kept, how many requests it allows and holds;
    `last_second` left in the last second, `sent` since the last time that this was asked.
    """

    limit: int
    need: int
    running: int
    rates: Mapping[int, tuple[int, int]]
    last_second: int
    sent: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What is ours of a quota: slots, requests by the seconds of a window; `elsewhere`, what others run now."""

    slots: int
    rates: Mapping[int, int] = field(default_factory=dict)
    elsewhere: int = 0


@dataclass(slots=True)
class Watched:
    """Counts between two looks; `low` and `most` are the bounds of this run, as its user stated them."""

    low: int
    most: int
    grown: int = 0
    resume_at: float = float("-inf")
    stated: dict[int, int] = field(default_factory=dict)
    _sent: int = 0
    _peak: int = 0
    _slots: int = 0
    _fresh: int | None = None
    _looks: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=LOOKS))

    def left(self, running: int) -> None:
        """Note that a request left; so many run now."""
        self._sent += 1
        self._fresh = None
        if running > self._peak:
            self._peak = running

    def take_sent(self) -> int:
        """Return how many requests left since this was asked last."""
        sent, self._sent = self._sent, 0
        return sent

    def look(self, running: int, slots: int, limit: int) -> int:
        """Return how many requests could run: more than the `slots` that there are where these were in use."""
        if slots > self._slots:
            self._fresh = running  # more slots are taken when the next answer comes: until then all are kept
            self._looks.clear()
        elif self._fresh is not None and running < self._fresh:
            self._fresh = None
        self._slots = slots
        most, peak, self._peak = min(self.most, limit), self._peak, running
        if self._fresh is not None:
            return min(most, max(1, slots))
        self._looks.append((peak, peak >= slots))
        if 2 * sum(full for _, full in self._looks) > len(self._looks):
            return min(most, max(1, 2 * slots))
        return min(most, max(1, *(peak for peak, _ in self._looks)))
