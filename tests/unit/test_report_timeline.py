"""What a report asks of a journal: sums by slice, ranks, bins and kinds, checked against small nights by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from batch.journal import Intent, Journal, LimitSet, Outcome, Receipt, Result, Write
from batch.journal.timeline import (
    Bin,
    Charged,
    Finished,
    LimitSeen,
    Loss,
    Lost,
    RunEnd,
    Timeline,
    Underway,
    Waited,
)
from batch.parsing import Money
from batch.records import NOTHING_CHARGED, Charge, Reply, Status, Usage


def _rub(amount: str) -> Money:
    return Money(Decimal(amount), "RUB")


def _answer(attempt: int, key: str, sent_at: float, latency: float, number: int = 1) -> list[Write]:
    cost = _rub(f"{attempt}.5")
    return [
        Intent(attempt, key, number, sent_at, 1, "m", None, "sync", Charge(9, 9, _rub("99"))),
        Receipt(attempt, Reply(200, b"{}"), sent_at + latency, latency),
        Outcome(attempt, "answered", None, Charge(10, attempt, cost)),
        Result(
            key, attempt, Status.OK, number, Usage(10, attempt, 0, 10 + attempt), None, None, latency,
            sent_at + latency, cost,
        ),
    ]  # fmt: skip


@pytest.fixture
def timeline(tmp_path: Path) -> Iterator[Timeline]:
    """Slices of 10 s: row a answered in the first; b refused, asked again in the second; c given up; d unseen."""
    journal = Journal.begin(tmp_path / "j", "service")
    journal.begin_run(1000.0, "0", "{}")
    worst = Charge(5, 5, _rub("7"))
    writes: Sequence[Write] = [
        *_answer(1, "a", 1000.0, 4.0),
        Intent(2, "b", 1, 1001.0, 1, "m", None, "sync", worst),
        Receipt(2, Reply(429, b"{}"), 1002.0, 1.0),
        Outcome(2, "not_billed", "HTTP_429", NOTHING_CHARGED),
        *_answer(3, "b", 1008.0, 6.0, 2),
        Intent(4, "c", 1, 1015.0, 1, "m", None, "sync", worst),
        Outcome(4, "maybe_billed", "READ_TIMEOUT", None),
        Result("c", 4, Status.FAILED, 1, Usage(), "READ_TIMEOUT", "too slow", None, 1016.0),
        Intent(5, "d", 1, 1017.0, 1, "m", None, "sync", worst),
        Outcome(5, "unknown", None),
        LimitSet(1, 1001.0, "requests at once", 4),
        LimitSet(1, 1002.0, "requests at once", 2),
        LimitSet(1, 1003.0, "requests at once", 3),
        LimitSet(1, 1025.0, "requests at once", 5),
    ]
    journal.apply(writes)
    journal.close()
    opened = Timeline.open(tmp_path / "j")
    yield opened
    opened.close()


def test_rows_and_tokens(timeline: Timeline) -> None:
    """Rows and their tokens stand in the slice in which they came to their end."""
    assert timeline.finished(10.0) == [Finished(100, 1, 0, 10, 1), Finished(101, 1, 1, 10, 3)]
    assert timeline.requests() == (5, 1)
    assert timeline.answers_cost() == [_rub("5")]
    assert timeline.last_finished_between(1000.0, 1010.0) == 1004.0


def test_money(timeline: Timeline) -> None:
    """Money stands in the slice in which its request was sent, apart by what became of it, exactly."""
    assert timeline.charged(10.0) == [
        Charged(100, "answered", _rub("5")),
        Charged(101, "lost", _rub("7")),
        Charged(101, "unknown", _rub("7")),
    ]


def test_losses(timeline: Timeline) -> None:
    """Lost requests are counted by kind, with how often their row was asked again or given up."""
    assert timeline.lost(10.0) == [Lost(100, "HTTP_429", 1), Lost(101, "READ_TIMEOUT", 1), Lost(101, "unknown", 1)]
    assert timeline.losses() == [
        Loss("HTTP_429", "not_billed", 1, 1, 0),
        Loss("READ_TIMEOUT", "maybe_billed", 1, 0, 1),
        Loss("unknown", "unknown", 1, 0, 0),
    ]


def test_requests_in_flight(timeline: Timeline) -> None:
    """Exact for what was answered, refused or given up: 4, 1, 2 s of ten, then 4 and 1 s; unseen until the end."""
    assert timeline.underway(10.0, [RunEnd(1, 1020.0, 180.0)]) == [
        Underway(100, pytest.approx(0.7), 1),  # type: ignore[arg-type]
        Underway(101, pytest.approx(0.8), 1),  # type: ignore[arg-type]
        Underway(102, pytest.approx(0.0), 0),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("outcome", "code", "again", "seconds"),
    [
        ("maybe_billed", "READ_TIMEOUT", None, 30.0),  # as long as the run waits
        ("maybe_billed", "READ_TIMEOUT", 12.0, 12.0),  # and no longer than until the row is asked again
        ("maybe_billed", "CONNECTION_LOST", 20.0, 5.0),  # as long as answers took
        ("maybe_billed", "ANSWER_CUT", 3.0, 3.0),
        ("maybe_billed", "HTTP_500", 20.0, 0.0),  # stated at once
        ("not_billed", "HTTP_429", 20.0, 0.0),  # refused at once
        ("unknown", None, 50.0, 40.0),  # until the run was last heard of
        (None, None, None, 40.0),
    ],
)
def test_ends_that_the_journal_has_no_time_of(
    outcome: str | None, code: str | None, again: float | None, seconds: float, tmp_path: Path
) -> None:
    """A request without a reply is in flight for as long as can be known of it, by how it ended."""
    journal = Journal.begin(tmp_path / "j", "service")
    journal.begin_run(1000.0, "0", "{}")
    writes: list[Write] = [*_answer(1, "a", 1000.0, 5.0), Intent(2, "b", 1, 1010.0, 1, "m", None, "sync", None)]
    writes += [Outcome(2, outcome, code)] if outcome else []
    if again is not None:
        writes += _answer(3, "b", 1010.0 + again, 5.0, 2)
    journal.apply(writes)
    journal.close()
    opened = Timeline.open(tmp_path / "j")
    waits = 100.0 if outcome != "maybe_billed" else 30.0
    found = opened.underway(100.0, [RunEnd(1, 1050.0, waits)])
    opened.close()
    answers = 5.0 if again is None else 10.0
    assert sum(item.mean for item in found) == pytest.approx((answers + seconds) / 100)
    assert found[-1].after == 0


def test_limits(timeline: Timeline) -> None:
    """A limit has its lowest, highest and last value in each slice."""
    assert timeline.limits(10.0) == [
        LimitSeen(100, "requests at once", 2, 4, 3),
        LimitSeen(102, "requests at once", 5, 5, 5),
    ]


def test_ranks_and_bins(timeline: Timeline, tmp_path: Path) -> None:
    """Quantiles are values that occur, bins reach from zero, and what is beyond them is one bin."""
    assert timeline.quantiles("latency_s", (0.0, 0.5, 1.0)) == [4.0, 6.0, 6.0]
    assert timeline.histogram("latency_s", 2.5, 2) == [Bin(0, 2.5, 0), Bin(2.5, 5.0, 1), Bin(5.0, None, 1)]
    assert timeline.histogram("completion_tokens", 2.0, 2) == [Bin(0, 2.0, 1), Bin(2.0, 4.0, 1)]
    assert timeline.waited(10.0) == [Waited(100, 4.0, 4.0), Waited(101, 6.0, 6.0)]
    Journal.begin(tmp_path / "empty", "service").close()
    nothing = Timeline.open(tmp_path / "empty")
    assert nothing.quantiles("latency_s", (0.5,)) is None
    assert nothing.underway(10.0, []) == []
    assert nothing.underway(10.0, [RunEnd(1, 0.0, None)]) == []
    nothing.close()


def test_rows_that_stand_out(timeline: Timeline) -> None:
    """The dearest rows come first, and the failed ones with their reason."""
    assert [(row.row_key, row.cost) for row in timeline.expensive(5)] == [("b", _rub("3.5")), ("a", _rub("1.5"))]
    assert [row.row_key for row in timeline.expensive(1)] == ["b"]
    [failed] = timeline.failed(5)
    assert (failed.row_key, failed.error_code, failed.error_message) == ("c", "READ_TIMEOUT", "too slow")
