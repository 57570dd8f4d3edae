"""When operations are looked at: learned from those before, at growing intervals, never more than pays."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.polling import ENOUGH, FIRST_AGE_S, LONGEST_S, REMEMBERED, SHORTEST_S, Durations


def _known(*seconds: float) -> Durations:
    durations = Durations()
    for number in seconds:
        durations.add(number)
    return durations


def test_before_anything_is_known_ages_grow() -> None:
    """The first look is soon, and each later one at an age that is half as large again."""
    durations, age, ages = Durations(), 0.0, []
    for _ in range(4):
        age = durations.next_age(age)
        ages.append(age)
    assert ages == [FIRST_AGE_S, FIRST_AGE_S * 1.5, FIRST_AGE_S * 2.25, FIRST_AGE_S * 3.375]


def test_the_first_look_comes_when_most_are_done() -> None:
    """With enough durations known the first look is at the age within which more than half were done."""
    durations = _known(*(float(second) for second in range(1, 101)))
    assert durations.next_age(0.0) == 61.0
    assert durations.next_age(61.0) == 86.0
    assert durations.next_age(86.0) == 96.0


def test_beyond_all_that_were_seen_ages_grow_slowly() -> None:
    """An operation that takes longer than the others is looked at after a tenth of its age more."""
    durations = _known(*([10.0] * ENOUGH))
    assert durations.next_age(100.0) == pytest.approx(110.0)
    assert durations.next_age(12.0) == pytest.approx(12.0 + max(1.2, SHORTEST_S))
    assert durations.next_age(100_000.0) == 100_000.0 + LONGEST_S


def test_only_the_last_ones_count() -> None:
    """Durations of long ago are forgotten, and memory is bounded."""
    durations = _known(*([1.0] * REMEMBERED), *([50.0] * REMEMBERED))
    assert (durations.known, durations.share(0.0)) == (REMEMBERED, 50.0)


@given(st.lists(st.floats(0.01, 1e5), max_size=60), st.floats(0, 3e5))
def test_the_next_look_is_always_later(seconds: list[float], age: float) -> None:
    """Whatever was seen, the next look lies ahead, and not beyond the longest interval where ages are known."""
    durations = _known(*seconds)
    assert durations.next_age(age) > age


@pytest.mark.parametrize("shape", ["even", "alike", "tail"])
def test_few_looks_are_needed(shape: str) -> None:
    """Of operations of any shape a done one is found with fewer than three looks on average, and soon."""
    draw, durations, looks, late = random.Random(5), Durations(), 0, [0.0, 0.0]
    takes = {
        "even": lambda: draw.uniform(20, 60),
        "alike": lambda: draw.gauss(30, 1),
        "tail": lambda: draw.lognormvariate(3, 1),
    }[shape]
    for number in range(3000):
        took, age = takes(), 0.0
        while age < took:
            age = durations.next_age(age)
            looks += number >= 500
        late = [late[0] + age - took, late[1] + took]
        durations.add(took)
    assert looks / 2500 < 3
    assert late[0] / late[1] < 0.6
