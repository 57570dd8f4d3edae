"""The report's time axis: few slices whatever the length, and no room for hours in which nothing ran."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from batch.report.scale import GAP, MOST_PERIODS, MOST_SLICES, Scale

_HOUR = 3600.0


@pytest.mark.parametrize("length", [0.0, 0.2, 7.0, 8 * _HOUR, 40 * 24 * _HOUR, 3 * 365 * 24 * _HOUR])
def test_few_slices(length: float) -> None:
    """A blink and three years alike come to a number of slices that can be drawn, and to a tick at least."""
    scale = Scale.of([(1.7e9, 1.7e9 + length)])
    assert 1 <= len(scale.slices()) <= MOST_SLICES + 2
    assert 1 <= len(scale.ticks(None)) <= 12


def test_gaps_are_cut_out() -> None:
    """A week between two nights takes three slices' room; slices outside are drawn at the nearest end."""
    week = 7 * 24 * _HOUR
    scale = Scale.of([(1.7e9 + week, 1.7e9 + week + 4 * _HOUR), (1.7e9, 1.7e9 + 4 * _HOUR)])
    assert len(scale.periods) == 2
    assert scale.breaks == [pytest.approx(scale.start_of(1) - GAP / 2)]
    (first, last), (second, _) = scale.periods
    assert scale.position(first) == 0
    assert scale.position(second) == last - first + 1 + GAP
    assert scale.position(last + 5) == last - first
    assert scale.position(second - 5) == scale.position(second)


def test_many_runs() -> None:
    """Of a thousand short runs the longest gaps are cut out, and the others closed."""
    scale = Scale.of(
        [(1.7e9 + n * 1000 + (n > 500) * 1e6, 1.7e9 + n * 1000 + 10 + (n > 500) * 1e6) for n in range(1000)]
    )
    assert 2 <= len(scale.periods) <= MOST_PERIODS
    assert len(scale.slices()) <= MOST_SLICES + MOST_PERIODS


def test_ticks_are_round_in_their_zone() -> None:
    """Hours are full ones where the reader is, and the date stands where a day begins."""
    zone = timezone(timedelta(hours=5, minutes=45))
    ticks = Scale.of([(1_795_384_800.0, 1_795_384_800.0 + 8 * _HOUR)]).ticks(zone)
    assert all(tick.label.endswith(":00") for tick in ticks)
    assert ticks[0].date == "23 Nov"
    assert [tick.date for tick in ticks[1:]] == [""] * (len(ticks) - 1)
