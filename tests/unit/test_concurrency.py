"""The controller of requests at once, as a pure function of what it is told."""

from __future__ import annotations

from itertools import pairwise

from batch.limits import Concurrency
from batch.limits.concurrency import FIRST_REST_S, LONGEST_REST_S


def _round_trip(controller: Concurrency, now: float = 0.0, share: float = 1.0) -> None:
    """Answer as many requests as may run at once, while that share of the limit runs."""
    for _ in range(controller.limit):
        controller.succeeded(now, int(share * controller.limit))


def _grown(granted: int = 10, high: int = 256) -> Concurrency:
    controller = Concurrency(1, high, granted=granted)
    while controller.limit < granted:
        _round_trip(controller)
    return controller


def test_slow_start_doubles() -> None:
    """From one the limit doubles every round trip until the number that the service grants everybody."""
    controller, limits = Concurrency(1, 256, granted=16), [1]
    for _ in range(4):
        _round_trip(controller)
        limits.append(controller.limit)
    assert limits == [1, 2, 4, 8, 16]


def test_growth_is_additive_beyond_what_is_granted() -> None:
    """Beyond the granted number the limit grows by one per round trip."""
    controller = _grown()
    for expected in (11, 12, 13):
        _round_trip(controller)
        assert controller.limit == expected


def test_an_idle_limit_does_not_grow() -> None:
    """The limit grows while four fifths of it are used, and not while less is."""
    controller = _grown()
    for _ in range(10):
        _round_trip(controller, share=0.7)
    assert controller.limit == 10
    _round_trip(controller, share=0.8)
    assert controller.limit == 11


def test_the_bound_is_kept() -> None:
    """The limit never leaves its bounds, however many answers or refusals come."""
    controller = Concurrency(2, 5, granted=10)
    for _ in range(20):
        _round_trip(controller)
    assert controller.limit == 5
    for now in range(20):
        controller.refused(1000.0 * now, controller.limit, None)
    assert controller.limit == 2


def test_a_fixed_number_never_moves() -> None:
    """With equal bounds neither answers nor refusals change the number."""
    controller = Concurrency(7, 7, granted=10)
    _round_trip(controller)
    controller.refused(0.0, 7, 3)
    controller.stumbled()
    _round_trip(controller, now=1e6)
    assert controller.limit == 7


def test_a_refusal_cuts_to_four_fifths() -> None:
    """A refusal that states no number cuts the limit to four fifths."""
    controller = _grown(granted=50)
    controller.refused(0.0, 50, None)
    assert controller.limit == 40


def test_a_stated_number_is_taken_over() -> None:
    """A refusal that states the number of requests at once sets the limit to it at once."""
    controller = _grown(granted=50)
    controller.refused(0.0, 50, 10)
    assert controller.limit == 10


def test_a_stated_number_that_does_not_explain_the_refusal_is_not_believed() -> None:
    """Where fewer ran than the stated number, somebody else uses the quota, and the limit is cut."""
    controller = _grown()
    controller.refused(0.0, 5, 10)
    assert controller.limit == 8


def test_the_limit_rests_just_below_a_known_ceiling() -> None:
    """After a refusal at eleven the limit is ten, and stays there for the whole rest."""
    controller = _grown()
    _round_trip(controller)
    controller.refused(0.0, 11, None)
    for _ in range(20):
        _round_trip(controller, now=FIRST_REST_S - 1)
    assert controller.limit == 10


def test_probes_of_a_ceiling_get_rare() -> None:
    """A ceiling that stands is asked again after a minute, then two, four, and at most every half hour."""
    controller, now, asked = _grown(), 0.0, list[float]()
    while now < 6 * 3600:
        _round_trip(controller, now=now)
        if controller.limit > 10:
            asked.append(now)
            controller.refused(now, 11, 10)
        now += 1.0
    gaps = [later - first for first, later in pairwise(asked)]
    assert len(asked) < 20
    assert gaps == sorted(gaps)
    assert FIRST_REST_S <= gaps[0] <= FIRST_REST_S + 2
    assert LONGEST_REST_S <= gaps[-1] <= LONGEST_REST_S + 2


def test_a_ceiling_that_moved_up_is_followed() -> None:
    """When the quota was raised, the probe after the rest goes on growing to the new ceiling."""
    controller = _grown()
    controller.refused(0.0, 11, 10)
    for _ in range(30):
        _round_trip(controller, now=FIRST_REST_S)
    assert controller.limit > 30


def test_failures_of_the_service_stop_growth_without_shrinking() -> None:
    """A 5xx now and then keeps the limit where it is."""
    controller = _grown()
    controller.stumbled()
    for _ in range(5):
        for _ in range(9):
            controller.succeeded(0.0, 10)
        controller.stumbled()
    assert controller.limit == 10
