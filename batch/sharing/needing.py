"""How many slots a run needs that its own rate holds up: the fewest at which its rate still does.

A run that may send two requests a second uses every slot that it has, if only to wait in it for its rate; so from
the use of slots nobody can tell how many it needs. It is found out: while the rate holds the run up, it does with
one slot less, and where then the slots hold it up, it gets that one back and leaves it at that for a while.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# So many looks at one number of slots say whether the rate held the run up: in at least half of them.
LOOKS = 15
# One slot less is tried again after so long: what requests take changes.
AGAIN_S = 30.0


@dataclass(slots=True)
class Fewest:
    """Watches one run's slots and whether its rate is used up, look by look."""

    _need: int | None = None
    _slots: int = 0
    _looks: int = 0
    _least: int = 1
    _until: float = float("-inf")
    _held_up: deque[bool] = field(default_factory=lambda: deque(maxlen=LOOKS))

    def need(self, asked: int, slots: int, now: float, *, held_up: bool) -> int:
        """Return how many slots are needed: `asked` by their use alone, or fewer where the rate is used up."""
        slots = max(1, slots)
        self._looks = self._looks + 1 if slots == self._slots else 1
        self._slots = slots
        self._held_up.append(held_up)
        often = 2 * sum(self._held_up) >= len(self._held_up)
        if self._need is None and often:
            self._need = min(asked, slots)
        elif self._need is not None and self._looks >= LOOKS:
            self._need = self._judged(asked, now, often=often)
            self._looks = 0
        return asked if self._need is None else self._need

    def _judged(self, asked: int, now: float, *, often: bool) -> int | None:
        """Return what is needed after so many looks at one number of slots; None where no rate is used up."""
        if often:
            least = self._least if now < self._until else 1
            return max(least, min(asked, self._slots - 1))
        if asked <= self._slots:
            return None
        self._least, self._until = self._slots + 1, now + AGAIN_S  # all are in use, and the rate is not used up
        return self._least
