"""What one run bought, out of a journal that several runs wrote."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from batch.journal import ASYNC, SYNC, Intent, Journal, Outcome, Receipt, Result, Submitted, Write
from batch.parsing import Money
from batch.plan.scheduled.bought import Bought, Place
from batch.records import Charge, Reply, Status, Usage

RUB = "RUB"
WORST, ACTUAL = Charge(50, 100, Money(Decimal(3), RUB)), Charge(10, 20, Money(Decimal("0.5"), RUB))
REPLY = Reply(200, b"{}")


def _sent(attempt: int, key: str, at: float, run: int, mode: str = SYNC, number: int = 1) -> Intent:
    return Intent(attempt, key, number, at, run, "m", None, mode, WORST)


def _answered(attempt: int, key: str, at: float) -> list[Write]:
    usage = Usage(10, 20, None, 30)
    return [
        Receipt(attempt, REPLY, at, 1.0),
        Outcome(attempt, "answered", None, ACTUAL),
        Result(key, attempt, Status.OK, 1, usage, None, None, 1.0, at, ACTUAL.cost),
    ]


def _failed(attempt: int, key: str, at: float) -> Result:
    return Result(key, attempt, Status.FAILED, 1, Usage(), "CODE", "why", None, at)


def _bought(journal: Path) -> list[Bought]:
    place = Place.latest(journal)
    found = [Bought.by(Place(journal, place.identity, run)) for run in range(1, place.run + 1)]
    return [bought for bought in found if bought is not None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.journal"


def test_a_request_is_of_the_run_that_sent_it_and_an_operation_of_the_run_that_saw_its_end(path: Path) -> None:
    """A killed run keeps what it left in doubt or unjudged; the next has what it sent and collected itself."""
    journal = Journal.begin(path, "service")
    journal.begin_run(100.0, "1", "{}")
    operations = [(4, "op"), (5, "gone"), (6, "again"), (7, "open")]
    journal.apply([_sent(1, "row", 110.0, 1), *_answered(1, "row", 111.0), _sent(2, "doubt", 110.0, 1)])
    journal.apply([_sent(3, "late", 110.0, 1), Receipt(3, REPLY, 112.0, 1.0)])
    journal.apply([item for number, key in operations for item in (
        _sent(number, key, 110.0, 1, ASYNC), Submitted(number, f"id-{number}", 110.0))])  # fmt: skip
    killed = _bought(path)
    journal.begin_run(200.0, "1", "{}")
    journal.apply([Outcome(2, "unknown", None), *_answered(3, "late", 112.0)[1:], *_answered(4, "op", 205.0)])
    journal.apply([Outcome(5, "expired", "EXPIRED"), _failed(5, "gone", 206.0)])
    journal.apply([Outcome(6, "expired", "EXPIRED"), _sent(8, "again", 207.0, 2, number=2)])
    journal.apply(_answered(8, "again", 208.0))
    journal.begin_run(300.0, "1", "{}")
    journal.close()
    half = {RUB: Decimal("0.5")}
    assert killed == [Bought(1, 10, 20, half, 1, {RUB: Decimal(3)}, 7, 1, 110.0)]
    first, second, third = _bought(path)
    assert first == Bought(2, 20, 40, {RUB: Decimal(1)}, 1, {RUB: Decimal(3)}, 7, 0, 110.0)
    assert second == Bought(2, 20, 40, {RUB: Decimal(1)}, 2, {RUB: Decimal(6)}, 1, 0, 207.0)
    assert third == Bought()


def test_another_journal_of_the_same_name_says_nothing_of_a_run(path: Path) -> None:
    """Where the journal was begun anew, or is gone, nobody knows what the run bought."""
    for _ in range(2):
        journal = Journal.begin(path, "service")
        journal.begin_run(1.0, "1", "{}")
        journal.close()
        place = Place.latest(path)
        assert Bought.by(place) == Bought()
        for file in path.parent.iterdir():
            file.unlink()
        assert Bought.by(place) is None
        assert place.rows(3) == {}
    other = Journal.begin(path, "service")
    other.begin_run(1.0, "1", "{}")
    other.close()
    assert Bought.by(place) is None


def test_how_rows_stand_by_the_journal_alone(path: Path) -> None:
    """Results are counted, and what the input has beyond them is pending."""
    journal = Journal.begin(path, "service")
    journal.begin_run(1.0, "1", "{}")
    journal.apply([_sent(1, "row", 2.0, 1), *_answered(1, "row", 3.0), _failed(0, "bad", 4.0)])
    journal.close()
    assert Place.latest(path).rows(5) == {"ok": 1, "failed": 1, "pending": 3}
