"""The stratified sample: drawn evenly, in bounded memory, and its interval holds the truth as often as it says."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from batch.plan.estimation.sampling import (
    Measured,
    Reservoirs,
    Running,
    ratio_estimate,
    stratum_of,
    t_value,
)


def test_a_ratio_by_hand() -> None:
    """Two strata of 10 and 2 rows: means 2 and 10 expected, 3 and 10 found, so 50 found of 40 expected."""
    found = ratio_estimate([Measured(10, [(2, 2), (2, 4)]), Measured(2, [(10, 10), (10, 10)])])
    assert found.ratio == pytest.approx(50 / 40)
    # The second stratum was measured whole; residuals of the first are -0.5 and 1.5, variance 2.
    assert found.error == pytest.approx((10**2 * (1 - 2 / 10) * 2 / 2) ** 0.5 / 40)
    assert (found.pairs, found.freedom) == (4, 1)


def test_a_sample_of_everything_has_no_error() -> None:
    """Where every row was measured the total is exact."""
    found = ratio_estimate([Measured(2, [(10, 11), (20, 25)])])
    assert (found.ratio, found.half_width) == (pytest.approx(1.2), 0.0)


def test_one_pair_alone_claims_nothing() -> None:
    """A single measured row of many leaves the total open rather than certain."""
    assert ratio_estimate([Measured(100, [(10.0, 11.0)])]).half_width > 1


def test_nothing_measured_is_refused() -> None:
    """Without a pair there is no ratio."""
    with pytest.raises(ValueError, match="nothing"):
        ratio_estimate([Measured(5, [])])


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.706), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)])
def test_students_t(freedom: int, value: float) -> None:
    """The factors are those of the tables, to a hundredth."""
    assert t_value(freedom) == pytest.approx(value, abs=0.01)


def _population(seed: int, rows: int) -> list[tuple[int, float, float]]:
    """Return (length, expected, truth) of rows in two languages that the estimate is off by differently."""
    draw = random.Random(seed)
    made = []
    for _ in range(rows):
        length = int(draw.lognormvariate(6, 1)) + 20
        expected = length / 4
        made.append((length, expected, expected * draw.choice((0.9, 1.25)) * draw.uniform(0.9, 1.1)))
    return made


@pytest.mark.parametrize(("rows", "size"), [(3000, 40), (3000, 200), (300, 100)])
def test_the_interval_covers_the_truth(rows: int, size: int) -> None:
    """Over 400 inputs the 95 % interval of the total holds the true total at least 93 times of a hundred."""
    held = 0
    for seed in range(400):
        population = _population(seed, rows)
        sample: Reservoirs[tuple[float, float]] = Reservoirs(size, seed)
        for length, expected, truth in population:
            sample.add(("m", stratum_of(length)), (expected, truth), length)
        found = ratio_estimate([Measured(s.rows, s.items) for s in sample.drawn(2).values()])
        total = sum(expected for _, expected, _ in population)
        off = abs(sum(truth for *_, truth in population) - found.ratio * total)
        held += off <= found.half_width * total
    assert held >= 0.93 * 400


def test_every_row_of_a_stratum_is_as_likely() -> None:
    """Over many draws each row of a stratum is drawn equally often, whether reservoirs were thinned or not."""
    times = [0] * 200
    for seed in range(1500):
        sample: Reservoirs[int] = Reservoirs(10, seed)
        for row in range(200):
            sample.add(("m", row % 20), row, 1.0)
        for stratum in sample.drawn(0).values():
            for row in stratum.items:
                times[row] += 1
    assert sum(times) == 1500 * 10
    assert fmean(times) == 75
    first, last = sum(times[:100]), sum(times[100:])
    assert abs(first - last) < 4 * (1500 * 10) ** 0.5


def test_memory_is_bounded() -> None:
    """However many rows and strata come, some times the sample is held."""
    sample: Reservoirs[int] = Reservoirs(100)
    for row in range(50_000):
        sample.add(("m", row % 40), row, float(row % 40 + 1))
    held = sum(len(stratum.items) for stratum in sample._strata.values())
    assert held <= 4 * 100 + 2 * 40 + 1


def test_how_many_are_drawn() -> None:
    """A pilot draws what was asked; a count takes two of each stratum at least, so it may be a few more."""
    sample: Reservoirs[int] = Reservoirs(10)
    for row in range(6000):
        sample.add(("m", row % 6), row, 1.0 if row % 6 else 1000.0)
    assert sum(len(stratum.items) for stratum in sample.drawn(0).values()) == 10
    assert sorted(len(stratum.items) for stratum in sample.drawn(2).values())[:5] == [2] * 5


def test_few_rows_are_all_drawn() -> None:
    """Where there are fewer rows than asked, all are drawn once."""
    sample: Reservoirs[int] = Reservoirs(50)
    for row in range(7):
        sample.add(("m", row % 2), row, 1.0)
    assert sorted(row for stratum in sample.drawn(2).values() for row in stratum.items) == list(range(7))


def test_a_running_mean() -> None:
    """The mean of 1, 2, 3, 4 is 2.5 with a standard error of 0.645, so 2.05 with Student's t of 3.182."""
    known = Running()
    for value in (1, 2, 3, 4):
        known.add(value)
    assert (known.mean, known.half_width) == (2.5, pytest.approx(2.054, abs=0.001))
