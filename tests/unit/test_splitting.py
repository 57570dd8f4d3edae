"""Both modes at once: the cheap one for as much as it does in time, the other for the rest."""

from __future__ import annotations

import pytest
from clocks import FakeClock

from batch.limits import Concurrency, Limits
from batch.parsing import RateLimit
from batch.plan.splitting import SLACK, UNSEEN_S, Split
from batch.polling import Durations
from batch.stopping import Stop

HOUR = 3600.0


class _Night:
    """A split with a window of 1,000 operations an hour, and rows that are left."""

    def __init__(self, deadline_s: float, left: int, submitting: int = 0) -> None:
        self.clock = FakeClock()
        limits = Limits(Concurrency(16, 16, 16), [RateLimit(1000, 3600)], clock=self.clock, stop=Stop())
        self.durations = Durations()
        deadline = self.clock.monotonic() + deadline_s
        self.split = Split(deadline, self.clock, limits, self.durations, lambda: left, lambda: submitting)

    @property
    def wants(self) -> tuple[bool, bool]:
        return self.split.wants_async(), self.split.wants_sync()


@pytest.mark.parametrize(
    ("deadline_s", "left", "wants"),
    [
        (HOUR, 900, (True, False)),  # the window does all of it
        (HOUR, 1200, (True, True)),  # some would be left
        (3 * HOUR, 2500, (True, False)),  # its places come free again
        (3 * HOUR, 4000, (True, True)),
        (UNSEEN_S / 2, 1, (False, True)),  # nothing that is submitted now would be done
    ],
)
def test_who_takes_the_next_row(deadline_s: float, left: int, wants: tuple[bool, bool]) -> None:
    """The synchronous mode takes rows only where the asynchronous one would not do them all in time."""
    assert _Night(deadline_s, left).wants == wants


def test_operations_that_take_long_end_submitting_early() -> None:
    """The last submission leaves room for nearly as long as operations were seen to take, and some more."""
    night = _Night(HOUR, 10)
    for _ in range(100):
        night.durations.add(1000.0)
    assert night.split.last_submission() == night.split.deadline - SLACK * 1000.0


def test_no_more_are_submitted_than_there_is_room_for() -> None:
    """Rows that are about to be submitted hold the places that are left."""
    assert _Night(HOUR, 5000, submitting=999).wants == (True, True)
    assert _Night(HOUR, 5000, submitting=1000).wants == (False, True)
