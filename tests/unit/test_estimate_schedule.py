"""Hours at the given quotas, by hand: which limit binds, when it is done, and what would have to be raised."""

from __future__ import annotations

import random

import pytest

from batch.limits.windows import WINDOW_MARGIN, Window
from batch.parsing import Bounds, RateLimit
from batch.plan.estimation.schedule import BothModes, Deadline, Earlier, Quotas, scheduled, span_of
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
    assert not morning.is_set
    both = Deadline.of(Settings(max_duration=60.0, stop_at=(8, 0)), NOW)
    assert both == Deadline(NOW + 60, "--max-duration")


def test_an_hour_that_is_used_up() -> None:
    """5,000 submissions of twenty minutes ago fill the hour: the next ones leave when it is over, ten a second."""
    quotas = Quotas("async", None, ASYNC_RATES, {3600: [(1200.0, 5000)]})
    assert quotas.seconds(1, 4.0) == pytest.approx(3600 * SPAN - 1200 + SPAN / 10 + 4)
    assert quotas.seconds(5000, 4.0) == pytest.approx(3600 * SPAN - 1200 + 500 * SPAN + 4)
    assert quotas.seconds(5001, 4.0) == pytest.approx(2 * 3600 * SPAN - 1200 + SPAN / 10 + 4)
    assert quotas.binding(10, 4.0)[0] == "5,000/h"
    assert quotas.used == [("5,000/h", 5000)]


def test_what_is_needed_counts_what_was_used() -> None:
    """With 80 of 100 an hour used just now, 50 more rows within the hour need 130 an hour."""
    quotas = Quotas("sync", 100, (RateLimit(100, 3600),), {3600: [(1.0, 80)]})
    assert quotas.needed(50, 1.0, 1800) == "130/h"
    assert quotas.done_within(1800, 50, 1.0) == 20


def _leaves(rates: list[RateLimit], earlier: Earlier, rows: int) -> float:
    """Return when the last row leaves, from windows as a run keeps them."""
    windows = [Window.of(rate) for rate in rates]
    for window in windows:
        for ago, count in earlier.get(window.seconds, ()):
            window.take(-ago, count)
    now = 0.0
    for _ in range(rows):
        now = max(window.free_at(now) for window in windows)
        for window in windows:
            window.take(now)
    return now


@pytest.mark.parametrize("seed", range(40))
def test_the_windows_of_a_run_say_the_same(seed: int) -> None:
    """Whatever was sent before, and with one window or two, the last row leaves when a run's windows let it."""
    chance = random.Random(seed)
    rates = [RateLimit(chance.randint(20, 200), 3600), RateLimit(chance.randint(5, 40), 60)][: 1 + seed % 2]
    left, before = rates[0].count, []
    for ago in sorted((chance.uniform(0, 3600) for _ in range(seed % 7)), reverse=True):
        count = min(left, chance.randint(1, rates[0].count // 3))
        left -= count
        before += [(ago, count)] if count else []
    minute = [(ago, min(count, rates[-1].count)) for ago, count in before if ago < 60]
    earlier, rows = {3600: before, 60: minute}, chance.randint(1, 600)
    said = Quotas("sync", None, rates, earlier).seconds(rows, 0.0)
    assert said == pytest.approx(_leaves(rates, earlier, rows), rel=0.06, abs=4)


def test_a_limit_that_is_lower_than_what_was_sent() -> None:
    """Of 30 requests under an older limit the 20 oldest free no place of a limit of 10."""
    rate = RateLimit(10, 3600)
    quotas = Quotas("sync", None, (rate,), {3600: [(3000.0, 20), (1000.0, 10)]})
    assert quotas.seconds(1, 0.0) == pytest.approx(span_of(rate) - 1000)


@pytest.mark.parametrize(
    ("rows", "hours", "parts"),
    [
        (900, 1.0, (900, 0, 0)),  # the window does all of it
        (1200, 1.0, (950, 250, 0)),  # and is counted on for 95 %
        (30_000, 1.0, (1000, 17_990, 11_010)),  # all that both can
        (100, 0.01, (0, 100, 0)),  # nothing that is submitted now would be done
    ],
)
def test_how_both_modes_divide_the_rows(rows: int, hours: float, parts: tuple[int, int, int]) -> None:
    """As a run divides them: the cheap mode for what it will do in time, the other for the rest."""
    both = BothModes(Quotas("async", None, (RateLimit(1000, 3600),)), TEN)
    found = both.divided(rows, 2.0, hours * 3600)
    assert (found.deferred, found.at_once, found.left) == parts
