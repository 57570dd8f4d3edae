"""What requests were charged: exact in the journal, in both of its copies, and added up by outcome."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.journal import (
    ASYNC,
    SYNC,
    Intent,
    Journal,
    LimitSet,
    Outcome,
    Receipt,
    Result,
    Spent,
    Submitted,
    Write,
    tape_path,
)
from batch.journal.schema import as_charge, as_money, charge_columns, money_columns
from batch.journal.tape import lines
from batch.parsing import Money
from batch.records import NOTHING_CHARGED, Charge, Reply, Status, Usage

RUB = "RUB"
WORST = Charge(1000, 2001, Money(Decimal("0.6002"), RUB))
ACTUAL = Charge(26, 11, Money(Decimal("0.0074"), RUB))
ENTRIES: list[Write] = [
    Intent(1, "a", 1, 1.0, 1, "m", None, SYNC, WORST),
    Receipt(1, Reply(200, b"{}"), 2.0, 1.0),
    Outcome(1, "answered", None, ACTUAL),
    Result("a", 1, Status.OK, 1, Usage(26, 11, None, 37), None, None, 1.0, 2.0, ACTUAL.cost),
    Intent(2, "b", 1, 1.0, 1, "m", "f00d", SYNC, WORST),
    Outcome(2, "maybe_billed", "TIMEOUT", None),
    Intent(3, "b", 2, 1.0, 1, "m", "f00d", SYNC, WORST),
    Outcome(3, "not_billed", "RESOURCE_EXHAUSTED", NOTHING_CHARGED),
    Intent(4, "c", 1, 1.0, 1, "own", None, ASYNC, Charge(7, 8, None)),
    Submitted(4, "d7qi6shlbvo5", 1.5),
    Intent(5, "d", 1, 1.0, 1, "m", None),
    LimitSet(1, 3.5, "requests at once", 12),
]


def _amount(text: str) -> Money:
    return Money(Decimal(text), RUB)


SPENT = {
    Spent("m", SYNC, "answered", 1, 26, 11, _amount("0.0074")),
    Spent("m", SYNC, "maybe_billed", 1, 1000, 2001, _amount("0.6002")),
    Spent("m", SYNC, "not_billed", 1, 0, 0, _amount("0")),
    Spent("own", ASYNC, None, 1, 7, 8, None),
    Spent("m", SYNC, None, 1, 0, 0, None),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal.begin(tmp_path / "out.journal", "service")
    journal.begin_run(0.0, "1", "{}")
    journal.apply(ENTRIES)
    journal.close()
    return journal.path


def _facts(path: Path) -> tuple[set[Spent], Money | None, str | None, list[object]]:
    journal = Journal.begin(path, "service")
    try:
        answer = journal.results(["a"])["a"].result
        limits = sqlite3.connect(path).execute("SELECT run, at, name, value FROM limits").fetchall()
        operation = sqlite3.connect(path).execute(
            "SELECT operation_id, submitted_at FROM attempts WHERE attempt = 4"
        )
        return set(journal.spending()), answer.cost, str(operation.fetchone()), limits
    finally:
        journal.close()


EXPECTED = (SPENT, ACTUAL.cost, "('d7qi6shlbvo5', 1.5)", [(1, 3.5, "requests at once", 12)])


def test_what_attempts_were_charged_is_added_up(path: Path) -> None:
    """Charges are added up by model, mode and outcome; a reservation stands until an outcome replaces it."""
    assert _facts(path) == EXPECTED


def test_the_sqlite_file_made_from_the_tape(path: Path) -> None:
    """A journal whose SQLite file is gone knows every charge, operation and limit from its tape."""
    path.unlink()
    assert _facts(path) == EXPECTED


def test_the_tape_made_from_the_sqlite_file(path: Path) -> None:
    """A tape that is written again from SQLite holds the same: the SQLite file can be made from it again."""
    tape_path(path).unlink()
    Journal.begin(path, "service").close()
    path.unlink()
    assert _facts(path) == EXPECTED


@given(st.decimals(min_value=0, max_value=10**11, places=6, allow_nan=False))
def test_money_stands_exactly(amount: Decimal) -> None:
    """Every amount of up to six decimals comes back as it was."""
    cost = Money(amount, RUB)
    assert as_money(*money_columns(cost)) == cost
    charge = Charge(1, 2, cost)
    assert as_charge(*charge_columns(charge)) == charge


def test_finer_money_is_rounded_up() -> None:
    """What has more than six decimals is rounded up, so that a cap still holds."""
    assert money_columns(Money(Decimal("0.0000001"), RUB)) == (1, RUB)


def test_a_charge_takes_one_line_of_the_tape() -> None:
    """An entry with a charge is one line, as every other is."""
    assert lines(ENTRIES).count(b"\n") == len(ENTRIES)
