"""Telling an outage from a bad row."""

from __future__ import annotations

from batch.breaker import FIRST_PROBE_S, LONGEST_PROBE_S, ROWS_THAT_OPEN, Breaker


def _opened() -> Breaker:
    breaker = Breaker()
    for number in range(ROWS_THAT_OPEN):
        breaker.failed(f"row-{number}", 0.0, 1.0)
    assert breaker.is_open
    return breaker


def test_different_rows_open_it() -> None:
    """The fifth different row that fails with no answer between opens the breaker, and no one before it."""
    breaker = Breaker()
    pauses = [breaker.failed(f"row-{number}", 0.0, float(number)) for number in range(ROWS_THAT_OPEN)]
    assert pauses == [None] * (ROWS_THAT_OPEN - 1) + [FIRST_PROBE_S]
    assert (breaker.is_open, breaker.failing_since) == (True, 0.0)


def test_one_row_does_not_open_it() -> None:
    """A single row may fail as often as it likes."""
    breaker = Breaker()
    assert {breaker.failed("poison", float(now), now + 1.0) for now in range(50)} == {None}


def test_an_answer_between_keeps_it_closed() -> None:
    """Rows that fail while others are answered are not an outage."""
    breaker = Breaker()
    for number in range(50):
        assert breaker.failed(f"row-{number}", 0.0, 1.0) is None
        assert not breaker.answered()


def test_what_was_in_flight_together_counts_once() -> None:
    """Requests that left before the pause began do not prolong it."""
    breaker = _opened()
    assert [breaker.failed(f"late-{number}", 0.5, 1.5) for number in range(20)] == [0.0] * 20


def test_pauses_between_probes_grow() -> None:
    """Each probe that fails doubles the pause, up to a minute."""
    breaker, now, pauses = _opened(), 1.0, list[float]()
    for number in range(9):
        now += 100.0
        pauses.append(breaker.failed(f"probe-{number}", now - 1, now) or 0.0)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, *[LONGEST_PROBE_S] * 4]


def test_an_answer_from_before_does_not_end_it() -> None:
    """What was being worked on when the outage came may still be answered, and says nothing of the service."""
    breaker = _opened()
    assert not breaker.answered(sent_at=0.5)
    assert breaker.is_open
    assert breaker.answered(sent_at=2.0)


def test_one_answer_ends_it() -> None:
    """A single answer ends the outage, and the next one begins from the first pause again."""
    breaker = _opened()
    breaker.failed("probe", 2.0, 3.0)
    assert breaker.answered()
    assert (breaker.is_open, breaker.failing_since) == (False, None)
    pauses = [breaker.failed(f"row-{number}", 5.0, 6.0) for number in range(ROWS_THAT_OPEN)]
    assert pauses[-1] == FIRST_PROBE_S
