"""Rate windows as functions of time: never more than allowed, and hardly less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.limits import Window
from batch.limits.windows import CATCH_UP, UNANSWERED_S, UNSURE_S, WINDOW_MARGIN, Followed
from batch.parsing import RateLimit

LIMITS = st.builds(
    RateLimit,
    st.integers(1, 12) | st.integers(1, 3000),
    st.sampled_from([1, 60, 3600, 86400]),
)


def _take(window: Window, now: float) -> float:
    """Take one as soon as may be from `now` on; returns when that was."""
    while (free := window.free_at(now)) > now:
        now = free
    window.take(now)
    return now


def _gaps_of(limit: RateLimit) -> st.SearchStrategy[list[float]]:
    """Pauses between arrivals, from bursts to many windows, in units of the limit's own interval."""
    interval = limit.seconds / limit.count
    shares = st.just(0.0) | st.floats(0, 3) | st.floats(0, 4.0 * limit.count)
    return st.lists(shares.map(lambda share: share * interval), min_size=1, max_size=120)


@settings(deadline=None, max_examples=300)
@given(limit=LIMITS, began=st.floats(0, 1e7), data=st.data())
def test_never_more_than_allowed(limit: RateLimit, began: float, data: st.DataObject) -> None:
    """For any pattern of arrivals, no window of the limit's length holds more than its count."""
    window, now, taken = Window.of(limit), began, list[float]()
    for gap in data.draw(_gaps_of(limit)):
        now = _take(window, now + gap)
        taken.append(now)
    assert taken == sorted(taken)
    for first, last in zip(taken, taken[limit.count :], strict=False):
        assert last - first >= limit.seconds * (1 + WINDOW_MARGIN) - 1e-6


@settings(deadline=None)
@given(limit=LIMITS, began=st.floats(0, 1e7), data=st.data())
def test_asking_changes_nothing(limit: RateLimit, began: float, data: st.DataObject) -> None:
    """When the next may leave is the same however often it is asked, and asking is not taking."""
    window, now = Window.of(limit), began
    for gap in data.draw(_gaps_of(limit))[:20]:
        now += gap
        free = window.free_at(now)
        assert free == window.free_at(now) >= now
        if free == now:
            window.take(now)


@settings(deadline=None)
@given(count=st.integers(1, 300), began=st.floats(0, 1e6), data=st.data())
def test_seconds_are_paced(count: int, began: float, data: st.DataObject) -> None:
    """A limit per second lets a few catch up after a stall and is an even stream otherwise."""
    limit = RateLimit(count, 1)
    interval = (1 + WINDOW_MARGIN) / count
    window, now, taken = Window.of(limit), began, list[float]()
    for gap in data.draw(_gaps_of(limit)):
        now = _take(window, now + gap)
        taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            allowed = (taken[last] - taken[first]) / interval + CATCH_UP + 1
            assert last - first + 1 <= allowed + 1e-6


def test_a_stall_is_caught_up() -> None:
    """After a stall a few requests leave at once, and then one after the other."""
    window, now = Window.of(RateLimit(100, 1)), 50.0
    taken = [_take(window, now) for _ in range(CATCH_UP + 1)]
    assert taken == pytest.approx([now] * (CATCH_UP + 1))
    assert window.free_at(now) == pytest.approx(now + (1 + WINDOW_MARGIN) / 100)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 50, 333])
def test_seconds_are_used(count: int) -> None:
    """Where somebody always waits, a limit per second is used to 98 %."""
    window, now, taken = Window.of(RateLimit(count, 1)), 1_000.3, 0
    end = now + 100
    while (now := _take(window, now)) < end:
        taken += 1
    assert 0.97 * 100 * count <= taken <= 100 * count


@pytest.mark.parametrize(
    ("count", "seconds"), [(1, 60), (300, 60), (5000, 3600), (7, 3600), (1000, 86400), (1, 86400)]
)
def test_long_windows_are_used(count: int, seconds: int) -> None:
    """Where somebody always waits, a limit per minute, hour or day is used to 98 % over a long time."""
    window, now, taken = Window.of(RateLimit(count, seconds)), 1_000.3, 0
    end = now + 60 * seconds
    while (now := _take(window, now)) < end:
        taken += 1
    assert 0.98 * 60 * count <= taken <= 60 * count


@pytest.mark.parametrize("began", [0.0, 0.1 + 0.2, 1e9 + 1 / 3])
def test_a_rest_gives_the_whole_window_back(began: float) -> None:
    """After a window without requests the whole count may leave again."""
    window = Window.of(RateLimit(100, 3600))
    for _ in range(100):
        assert window.free_at(began) == began
        window.take(began)
    assert window.free_at(began) > began + 3600
    later = began + 2 * 3600
    for _ in range(100):
        assert window.free_at(later) == later
        window.take(later)


def test_memory_is_bounded() -> None:
    """However large its count, a window keeps about a thousand numbers."""
    window, now = Window.of(RateLimit(10_000_000, 3600)), 0.0
    for _ in range(20_000):
        now = _take(window, now + 1.0)
        assert len(window._slices) <= 1000 * (1 + WINDOW_MARGIN) + 2
    assert window._used == sum(taken for _, taken in window._slices)
    assert window._used <= 3600 * (1 + WINDOW_MARGIN) + 4


def test_a_refused_request_is_given_back() -> None:
    """What the service refused takes no part of an hour's window, which may be used to its last request."""
    window = Window.of(RateLimit(3, 3600))
    for now in (0.0, 1.0, 1.0):
        window.take(now)
    assert window.free_at(2.0) > 3000
    window.give_back()
    assert window.free_at(2.0) == 2.0
    window.take(2.0)
    window.give_back()
    window.give_back()
    window.give_back()
    window.give_back()
    assert [window.free_at(3.0), window.capacity(3.0, 3.0)] == [3.0, 3]


def test_a_second_is_not_given_back() -> None:
    """A refusal within a second means that there is no room in it, and gives none back."""
    window = Window.of(RateLimit(1, 1))
    window.take(0.0)
    window.give_back()
    assert window.free_at(0.1) > 0.9


def test_the_capacity_counts_places_that_come_free_again() -> None:
    """Each place of a window is free from some time on, and again once in its length."""
    window = Window.of(RateLimit(10, 3600))
    assert window.capacity(0.0, 1800.0) == 10
    window.take(0.0, 4)
    assert window.capacity(0.0, 1800.0) == 6
    assert window.capacity(0.0, 4000.0) == 4 + 2 * 6
    assert Window(60).capacity(0.0, 1.0) == float("inf")


@settings(deadline=None, max_examples=300)
@given(
    rate=st.integers(1, 12),
    quickest=st.floats(0.001, 0.4),
    ways=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 0.3)), max_size=60),
)
def test_followed_requests_are_never_too_many_where_they_arrive(
    rate: int, quickest: float, ways: list[tuple[float, float, float]]
) -> None:
    """However much longer than at best requests take there and back, the service counts no second too full."""
    followed, now = Followed(), 100.0
    flying: list[tuple[float, float]] = []  # when the answer comes, when it was sent
    arrivals: list[float] = []

    def until(moment: float) -> None:
        for answer in sorted(item for item in flying if item[0] <= moment):
            followed.answered(answer[1], answer[0])
            flying.remove(answer)

    for longer_there, longer_back, rest in [(0.0, 0.0, 0.0), *ways]:
        there, back = quickest + longer_there, quickest + longer_back
        now += rest
        until(now)
        while (free := followed.free_at(now, rate)) > now:
            now = free
            until(now)
        followed.send()
        arrivals.append(now + there)
        flying.append((now + there + back, now))
    arrivals.sort()
    for first, last in zip(arrivals, arrivals[rate:], strict=False):
        assert last - first >= 1.0


@pytest.mark.parametrize("takes", [0.001, 0.02, 0.09])
def test_followed_requests_use_the_rate(takes: float) -> None:
    """However long answers take, where they all take as long ten a second are used to 97 %."""
    followed, now, sent = Followed(), 0.0, 0
    while now < 60.0:
        while (free := followed.free_at(now, 10)) > now:
            now = free
        followed.send()
        followed.answered(now, now + takes)
        sent += 1
    assert 0.97 * 600 <= sent <= 610


def test_who_follows_a_request_without_an_answer_asks_again_soon() -> None:
    """While all places are held by requests on their way, nobody knows when one comes free."""
    followed = Followed()
    followed.send()
    assert followed.free_at(5.0, 1) == 5.0 + UNANSWERED_S
    followed.answered(5.0, 5.1)
    assert followed.free_at(5.1, 1) == pytest.approx(5.0 + 1 + WINDOW_MARGIN + UNSURE_S)
    assert followed.free_at(5.1, 2) == 5.1
