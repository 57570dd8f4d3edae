"""Both modes at once: the cheap one for as much as it does in time, the other for the rest."""

from __future__ import annotations

import pytest
from clocks import FakeClock

from batch.limits import Concurrency, Limits
from batch.parsing import RateLimit
from batch.plan.splitting import LOOK_S, SLACK, UNSEEN_S, Outlook, Split
from batch.polling import Durations
from batch.stopping import Stop

HOUR = 3600.0


class _Night:
    """A split with a window of 1,000 operations an hour, and rows that are left."""

    def __init__(self, deadline_s: float, left: int, submitting: int = 0) -> None:
        self.clock = FakeClock()
        limits = Limits(Concurrency(16, 16, 16), [RateLimit(1000, 3600)], clock=self.clock, stop=Stop())
        self.durations, self.ages = Durations(), list[float]()
        deadline = self.clock.monotonic() + deadline_s
        outlook = Outlook(self.durations, lambda: self.ages, self.clock)
        self.split = Split(deadline, self.clock, limits, outlook, lambda: left, lambda: submitting)

    @property
    def expected_s(self) -> float:
        self.clock.now += LOOK_S
        return self.split.outlook.expected_s()

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


def test_operations_that_have_become_slow_are_known_of_before_one_of_them_ends() -> None:
    """Where more than a hundredth is open for longer than those before took, their ages are what is expected."""
    night = _Night(HOUR, 10)
    for _ in range(400):
        night.durations.add(10.0)
    night.ages = [5.0] * 1000
    assert night.expected_s == SLACK * 10.0
    night.ages = [5.0] * 1000 + [300.0] * 4  # a few that never end say nothing of the others
    assert night.expected_s == SLACK * 10.0
    night.ages = [float(age) for age in range(0, 300, 3)]
    assert night.expected_s > SLACK * 280.0


@pytest.mark.parametrize(("ages", "expected"), [([30.0] * 50, UNSEEN_S), ([200.0] * 50, SLACK * 200.0)])
def test_before_one_has_ended_the_open_ones_tell(ages: list[float], expected: float) -> None:
    """Where no operation has ended yet, more is expected once they are open for longer than was assumed."""
    night = _Night(HOUR, 10)
    night.ages = ages
    assert night.expected_s == expected
