"""Both modes at once: the cheap one for the bulk, the other for what it would not do in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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
# How often the open operations are asked for their ages: there may be very many.
LOOK_S = 2.0


@dataclass(slots=True)
class Outlook:
    """How long operations are to be expected to take: as long as those that ended, and those that are still open.

    Without the latter, operations that have become slow would not be known of before the first of them ended.
    """

    durations: Durations
    ages: Callable[[], Iterable[float]]
    clock: Clock
    _slow: list[float] = field(default_factory=list)
    _looked_at: float = float("-inf")

    def expected_s(self) -> float:
        """Return the time in which an operation that is submitted now will surely be done, as far as is known."""
        seen = self.durations.share(SHARE_IN_TIME)
        usual = UNSEEN_S / SLACK if seen is None else seen
        now = self.clock.monotonic()
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            self._slow = sorted(age for age in self.ages() if age > usual)
        known = self.durations.known
        # Few of very many say nothing: an operation that never ends is to be no reason to pay twice as much.
        rank = int(SHARE_IN_TIME * (known + len(self._slow))) - known
        return SLACK * (max(usual, self._slow[rank]) if self._slow and rank >= 0 else usual)


@dataclass(frozen=True, slots=True)
class Split:
    """Decides, row by row, which mode takes the next; `left` is how many rows are neither done nor submitted,
    `submitting` how many are about to be.

    `deadline` is a time of the clock's `monotonic`.
    """

    deadline: float
    clock: Clock
    submissions: Limits
    outlook: Outlook
    left: Callable[[], int]
    submitting: Callable[[], int]

    def last_submission(self) -> float:
        """Return the time until which an operation is submitted that is to be done by the deadline."""
        return self.deadline - self.outlook.expected_s()

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
