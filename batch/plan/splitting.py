"""Both modes at once: the cheap one for the bulk, the other for what it would not do in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batch.clock import Clock
from batch.limits import Limits
from batch.polling import Durations

# Of what the windows would let through by then, so much is counted on.
COUNTED_ON = 0.95
# How long an operation is expected to take: within this share of those that were seen, and somewhat longer; where
# none was seen yet, as long as the official SDK would wait for a completion.
SHARE_IN_TIME = 0.99
SLACK = 1.5
UNSEEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Split:
    """Decides, row by row, which mode takes the next; `left` is how many rows are neither done nor submitted,
    `submitting` how many are about to be.

    `deadline` is a time of the clock's `monotonic`.
    """

    deadline: float
    clock: Clock
    submissions: Limits
    durations: Durations
    left: Callable[[], int]
    submitting: Callable[[], int]

    def last_submission(self) -> float:
        """Return the time until which an operation is submitted that is to be done by the deadline."""
        seen = self.durations.share(SHARE_IN_TIME)
        return self.deadline - (UNSEEN_S if seen is None else SLACK * seen)

    def wants_async(self) -> bool:
        """Return whether one more operation can be submitted so that it is done in time."""
        until = self.last_submission()
        return self.clock.monotonic() <= until and self.submissions.capacity(until) > self.submitting()

    def wants_sync(self) -> bool:
        """Return whether rows are left that asynchronous mode alone would not do in time."""
        until = self.last_submission()
        if self.clock.monotonic() > until:
            return True
        return self.left() > COUNTED_ON * self.submissions.capacity(until)
