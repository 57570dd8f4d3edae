"""Hours at the given quotas, by hand: which limit binds, when it is done, and what would have to be raised."""

from __future__ import annotations

import pytest

from batch.limits.windows import WINDOW_MARGIN
from batch.parsing import Bounds, RateLimit
from batch.plan.estimation.schedule import Deadline, Quotas, scheduled
from batch.providers.yandex import SUBMISSIONS as ASYNC_RATES
from batch.settings import Settings

SPAN = 1 + WINDOW_MARGIN
TEN = Quotas("sync", 10, ())
NOW = 1_750_000_000.0


def test_ten_at_once() -> None:
    """1,000 answers of 2 s at 10 at once take 200 s, and the last one its own 2 s."""
    assert TEN.seconds(1000, 2.0) == pytest.approx(202)
    assert TEN.binding(1000, 2.0)[0] == "10 requests at once"


def test_the_asynchronous_windows() -> None:
    """12,000 rows at 10/s and 5,000/h: two full hours, then 2,000 rows at ten a second."""
    quotas = Quotas("async", None, ASYNC_RATES)
    assert quotas.seconds(12_000, 4.0) == pytest.approx(2 * 3600 * SPAN + 200 * SPAN + 4)
    assert quotas.binding(12_000, 4.0)[0] == "5,000/h"
    assert quotas.seconds(5000, 4.0) == pytest.approx(500 * SPAN + 4)
    assert quotas.binding(5000, 4.0)[0] == "10/s"


def test_a_window_that_is_never_full_does_not_bind() -> None:
    """Ten at once at 10 s are 3,600 an hour, so a window of 5,000 an hour changes nothing."""
    limited = Quotas("sync", 10, (RateLimit(5000, 3600),))
    assert limited.seconds(20_000, 10.0) == TEN.seconds(20_000, 10.0)
    assert limited.binding(20_000, 10.0)[0] == "10 requests at once"


@pytest.mark.parametrize(
    ("bounds", "slots"), [(Bounds(1, 256), 10), (Bounds(3, 3), 3), (Bounds(1, 4), 4), (Bounds(40, 60), 40)]
)
def test_the_slots_that_count(bounds: Bounds, slots: int) -> None:
    """A fixed number is taken at its word; an adapting one is what the service grants, within its bounds."""
    assert Quotas.of(Settings(concurrency=bounds), "sync", 10).slots == slots


def test_stated_rates_replace_the_defaults() -> None:
    """`--async-limit 20000/h` replaces the hourly window of asynchronous mode and leaves that of a second."""
    quotas = Quotas.of(Settings(async_limit=(RateLimit(20_000, 3600),)), "async", 10)
    assert set(quotas.rates) == {RateLimit(10, 1), RateLimit(20_000, 3600)}


def test_what_is_left_at_the_deadline_and_what_it_needs() -> None:
    """In 102 s ten at once answer 500 rows of 2 s: of 1,000 half are left, and 20 at once would do."""
    schedule = scheduled(TEN, 1000, (2.0, 2.0, 2.0), Deadline(NOW + 102, "--stop-at"), NOW)
    assert (schedule.left, schedule.needed, schedule.in_time) == (500, "20 requests at once", False)
    assert schedule.done_at == pytest.approx(NOW + 202)


def test_what_is_needed_suffices() -> None:
    """The quota that is named as needed brings all rows in time."""
    slow = Quotas("sync", 100, (RateLimit(100, 3600),))
    needed = slow.needed(5000, 1.0, 8 * 3600)
    rate = RateLimit(int(needed.partition("/")[0].replace(",", "")), 3600)
    assert Quotas("sync", 100, (rate,)).seconds(5000, 1.0) <= 8 * 3600 < slow.seconds(5000, 1.0)


def test_nothing_to_send_takes_no_time() -> None:
    """Without rows it is done at once, and in time."""
    schedule = scheduled(TEN, 0, (1.0, 2.0, 3.0), Deadline(NOW + 1, "x"), NOW)
    assert (schedule.seconds, schedule.in_time) == ((0.0, 0.0, 0.0), True)


def test_the_deadline() -> None:
    """Of --max-duration and --stop-at the earlier counts; else it is eight in the morning."""
    morning = Deadline.of(Settings(), NOW)
    assert morning.name == "the next morning"
    assert 0 < morning.at - NOW <= 86400
    both = Deadline.of(Settings(max_duration=60.0, stop_at=(8, 0)), NOW)
    assert both == Deadline(NOW + 60, "--max-duration")
