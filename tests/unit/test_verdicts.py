"""What failures mean for rows and for the run."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from clocks import FakeClock

from batch.errors import AttemptFailed, Billed, ExitCode, StatedQuota
from batch.events import Event, News, ServiceBack, ServiceDown
from batch.limits import Concurrency, Limits
from batch.retry import RetryPolicy
from batch.stopping import Stop
from batch.verdicts import (
    REFUSALS_THAT_STOP,
    ROWS_REFUSED_ALIKE,
    UNREADABLE_THAT_STOP,
    Life,
    Patience,
    Verdicts,
)

DOWN = AttemptFailed("gone", code="UNAVAILABLE", retryable=True)
LOST = AttemptFailed("lost", code="READ_TIMEOUT", retryable=True, billed=Billed.MAYBE)
GARBLED = AttemptFailed("cut off", code="UNREADABLE_ANSWER", retryable=True, billed=Billed.YES)
REFUSED = AttemptFailed("bad", code="INVALID_ARGUMENT")
NO_KEY = AttemptFailed("no key", code="UNAUTHENTICATED", retryable=True, stops_run=ExitCode.CREDENTIALS)
FOREIGN = AttemptFailed("denied", code="PERMISSION_DENIED", retryable=True, stops_run=ExitCode.CREDENTIALS)
PER_HOUR = StatedQuota(100, 3600)


@dataclass
class _Court:
    """Verdicts with what they work on; each request lasts a second."""

    retries: int = 8
    retry_maybe_billed: bool = True
    max_outage_s: float | None = 3600.0
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock, self.stop, news = FakeClock(), Stop(), News([self.told.append])
        self.limits = Limits(Concurrency(10, 10, granted=10), (), clock=self.clock, stop=self.stop)
        retry = RetryPolicy(self.retries + 1, 1800.0)
        patience = Patience(retry, self.retry_maybe_billed, self.max_outage_s)
        self.verdicts = Verdicts(patience, self.limits, self.clock, self.stop, news)
        self.lives: dict[str, Life] = {}

    def fail(self, row: str, error: AttemptFailed, *, own_model: bool = False) -> float | None:
        life = self.lives.setdefault(row, Life(row, own_model))
        life.attempts += 1
        sent_at, self.clock.now = self.clock.now, self.clock.now + 1.0
        return self.verdicts.delay(life, error, sent_at, 1.0)

    def answer(self) -> None:
        self.clock.now += 1.0
        self.verdicts.answered(self.clock.now - 1.0)


def test_many_rows_failing_alike_are_an_outage() -> None:
    """Five rows that fail with no answer between are told as an outage once, and one answer ends it."""
    court = _Court()
    court.answer()
    for number in range(8):
        assert court.fail(f"row-{number}", DOWN) is not None
    assert court.limits.concurrency == 1
    court.answer()
    assert court.limits.concurrency == 10
    assert [type(event) for event in court.told] == [ServiceDown, ServiceBack]


def test_nothing_counts_against_a_row_in_an_outage() -> None:
    """Failures in an outage are no strikes, so that a row outlives any number of them."""
    court = _Court(retries=2, max_outage_s=None)
    for number in range(5):
        court.fail(f"other-{number}", LOST)
    assert all(court.fail("row", LOST) is not None for _ in range(50))
    assert court.lives["row"].strikes == 0


def test_a_poison_row_fails_alone() -> None:
    """A row that fails every time while others are answered is given up after its attempts; the run goes on."""
    court, delays = _Court(retries=3), list[float | None]()
    for _ in range(4):
        delays.append(court.fail("poison", LOST))
        court.answer()
    assert [delay is None for delay in delays] == [False, False, False, True]
    assert not court.stop.requested


def test_poison_rows_that_are_the_last_ones_end() -> None:
    """Rows that are all that is left, and that the service breaks on, fail; they do not wait as in an outage."""
    court = _Court(retries=3, max_outage_s=None)
    broken = AttemptFailed("internal", code="INTERNAL", retryable=True, billed=Billed.MAYBE)
    rows = [f"row {number}" for number in range(10)]
    delays = [[court.fail(row, broken) for row in rows] for _ in range(4)]
    assert all(delay is not None for times in delays[:3] for delay in times)
    assert delays[3] == [None] * 10


def test_what_is_not_billed_does_not_count() -> None:
    """A failure that surely was not billed costs the row no attempt."""
    court = _Court(retries=1, max_outage_s=None)
    assert all(court.fail("row", DOWN) is not None for _ in range(30))


@pytest.mark.parametrize(("asked", "error"), [(True, LOST), (False, LOST), (True, DOWN), (False, DOWN)])
def test_asking_again_where_it_may_cost(asked: bool, error: AttemptFailed) -> None:
    """With --no-retry-maybe-billed what may have been billed fails its row; what was not is asked again."""
    again = _Court(retry_maybe_billed=asked).fail("row", error) is not None
    assert again is (asked or error is DOWN)


def test_without_retries_every_failure_is_final() -> None:
    """With --retries 0 no kind of failure is asked again."""
    slow = AttemptFailed("slow down", code="RESOURCE_EXHAUSTED", retryable=True, slow_down=True)
    court = _Court(retries=0)
    errors = (DOWN, LOST, NO_KEY, slow)
    assert [court.fail(f"{number}", error) for number, error in enumerate(errors)] == [None] * 4


def test_an_outage_that_lasts_too_long_ends_the_run() -> None:
    """After --max-outage without an answer the run stops with exit 5, and not before."""
    court = _Court(max_outage_s=100.0)
    for number in range(100):
        court.fail(f"row-{number}", DOWN)
    assert not court.stop.requested
    court.fail("row", DOWN)
    court.fail("row", DOWN)
    assert court.stop.exit_code is ExitCode.UNAVAILABLE


def test_rows_refused_alike_stop_the_run() -> None:
    """When the first fifty rows are refused with one code the run stops with exit 3."""
    court = _Court()
    assert [court.fail(f"{number}", REFUSED) for number in range(ROWS_REFUSED_ALIKE - 1)] == [None] * 49
    assert not court.stop.requested
    court.fail("last", REFUSED)
    assert court.stop.exit_code is ExitCode.ROWS_FAILED


def test_one_answer_makes_refused_rows_their_own_fault() -> None:
    """Once a row was answered, any number of refused ones fail alone."""
    court = _Court()
    court.answer()
    for number in range(200):
        court.fail(f"{number}", REFUSED)
    assert not court.stop.requested


def test_refused_credentials_stop_the_run() -> None:
    """Three requests one after the other that are refused stop the run with exit 4."""
    court = _Court()
    for number in range(REFUSALS_THAT_STOP):
        assert not court.stop.requested
        court.fail(f"{number}", NO_KEY)
    assert court.stop.exit_code is ExitCode.CREDENTIALS


def test_refusals_in_flight_together_are_one() -> None:
    """Requests that left together and were refused together count once."""
    court = _Court()
    for number in range(20):
        court.verdicts.delay(Life(f"{number}", False, 1), NO_KEY, court.clock.now - 1.0, 1.0)
    assert not court.stop.requested
    assert court.limits.concurrency == 1


def test_an_answer_from_before_a_refusal_does_not_excuse_it() -> None:
    """An answer to a request that left before the refusal opens no slots again; one that left after it does."""
    court = _Court()
    before = court.clock.now
    court.fail("refused", NO_KEY)
    court.verdicts.answered(before)
    assert court.limits.concurrency == 1
    court.verdicts.answered(court.clock.now)
    assert court.limits.concurrency == 10


def test_a_foreign_model_is_its_rows_fault() -> None:
    """A row that names a model without permission fails at once, and never stops the run."""
    court = _Court()
    assert [court.fail(f"{number}", FOREIGN, own_model=True) for number in range(10)] == [None] * 10
    assert not court.stop.requested


def test_unreadable_answers_in_a_row_stop_the_run() -> None:
    """Ten billed answers in a row that cannot be read stop the run with exit 1, whichever rows they were of."""
    court = _Court()
    for number in range(UNREADABLE_THAT_STOP):
        assert not court.stop.requested
        court.fail(f"{number}", GARBLED)
    assert court.stop.exit_code is ExitCode.UNEXPECTED
    assert "cannot be read" in court.stop.reason


def test_unreadable_answers_now_and_then_do_not() -> None:
    """An answer that can be read begins the count of unreadable ones anew; other failures do not."""
    court = _Court()
    for number in range(5 * UNREADABLE_THAT_STOP):
        court.fail(f"{number}", GARBLED)
        if number % 9 == 8:
            court.answer()
    assert not court.stop.requested


def test_a_rate_that_somebody_else_used_up_pauses_longer_and_longer() -> None:
    """A stated rate that our own requests did not use up pauses all rows, instead of asking again and again."""
    refused = AttemptFailed("hour", code="RESOURCE_EXHAUSTED", retryable=True, slow_down=True, quota=PER_HOUR)
    court = _Court()
    for number in range(50):
        court.fail(f"{number}", refused)
    assert court.limits.paused_s >= 50.0


def test_a_quota_that_never_clears_ends_the_run() -> None:
    """Refusals that go on longer than --max-outage, for no reason that our own count knows, end with exit 7."""
    refused = AttemptFailed("slow", code="RESOURCE_EXHAUSTED", retryable=True, slow_down=True)
    court = _Court(max_outage_s=20.0)
    for number in range(25):
        court.fail(f"{number}", refused)
    assert court.stop.exit_code is ExitCode.QUOTA
