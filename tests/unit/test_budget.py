"""The budget: nothing leaves that may not fit, those that wait are served in turn, and the end is orderly."""

from __future__ import annotations

import random
from decimal import Decimal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.budget import Budget, Caps, Sum, exceeds, plain
from batch.errors import ExitCode
from batch.parsing import Money
from batch.records import NOTHING_CHARGED, Charge
from batch.stopping import Stop, Stopped

pytestmark = pytest.mark.anyio


def _charge(tokens: int, amount: str | None = None) -> Charge:
    return Charge(tokens, 0, Money(Decimal(amount), "RUB") if amount else None)


def _caps(amount: str) -> Caps:
    return Caps(cost=Money(Decimal(amount), "RUB"))


async def test_what_fits_is_let_through_at_once() -> None:
    """A worst case that fits exactly is reserved."""
    budget = Budget(_caps("1"), Stop())
    (await budget.reserve(_charge(1, "0.6"))).settle(_charge(1, "0.6"))
    reservation = await budget.reserve(_charge(1, "0.4"))
    assert reservation.worst == _charge(1, "0.4")


async def test_what_never_fits_ends_the_run() -> None:
    """Where nothing is in flight and the next row does not fit, the run is asked to end with exit code 8."""
    stop = Stop()
    budget = Budget(_caps("1"), stop, Sum(0, Decimal("0.5")))
    with pytest.raises(Stopped):
        await budget.reserve(_charge(1, "0.6"))
    assert stop.exit_code is ExitCode.BUDGET
    assert "0.5 RUB are left" in stop.reason
    assert "may cost 0.6 RUB" in stop.reason


async def test_tokens_are_capped_too() -> None:
    """A cap on tokens counts those in and out, and says how many are left."""
    stop = Stop()
    budget = Budget(Caps(tokens=100), stop, Sum(tokens=60))
    with pytest.raises(Stopped):
        await budget.reserve(Charge(20, 21, None))
    assert "40 tokens are left" in stop.reason


async def test_a_row_waits_for_those_in_flight() -> None:
    """What does not fit yet is let through when a request in flight needed less than was set aside."""
    budget = Budget(_caps("1"), Stop())
    first = await budget.reserve(_charge(1, "0.9"))
    passed = anyio.Event()

    async def second() -> None:
        await budget.reserve(_charge(1, "0.9"))
        passed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        assert not passed.is_set()
        first.settle(_charge(1, "0.1"))
    assert passed.is_set()


async def test_an_unknown_end_keeps_its_reservation() -> None:
    """What left, and whose end is not known, counts with its worst case; what never left does not count."""
    budget = Budget(_caps("1"), Stop())
    left, stayed = await budget.reserve(_charge(1, "0.3")), await budget.reserve(_charge(1, "0.3"))
    left.leave()
    left.release()
    stayed.release()
    assert budget.spent.cost == Decimal("0.3")


async def test_settling_counts_once() -> None:
    """A reservation that was settled is not counted again when its block is left."""
    budget = Budget(_caps("1"), Stop())
    reservation = await budget.reserve(_charge(1, "0.3"))
    reservation.leave()
    reservation.settle(_charge(1, "0.2"))
    reservation.release()
    assert budget.spent == Sum(1, Decimal("0.2"))


async def test_first_come_first_served() -> None:
    """A small row does not overtake a large one that waits: else the large one might wait for ever."""
    budget, order = Budget(_caps("10"), Stop()), []
    holding = await budget.reserve(_charge(1, "9"))

    async def ask(amount: str) -> None:
        (await budget.reserve(_charge(1, amount))).release()
        order.append(amount)

    async with anyio.create_task_group() as group:
        for amount in ("5", "1", "0.5"):
            group.start_soon(ask, amount)
            await anyio.wait_all_tasks_blocked()
        holding.release()
    assert order == ["5", "1", "0.5"]


async def test_a_run_that_stops_frees_those_that_wait() -> None:
    """A row that waits for room gives up when the run is asked to end."""
    stop = Stop()
    budget = Budget(_caps("1"), stop)
    await budget.reserve(_charge(1, "1"))
    gave_up: list[bool] = []

    async def ask() -> None:
        try:
            await budget.reserve(_charge(1, "1"))
        except Stopped:
            gave_up.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        stop.request("enough", ExitCode.INTERRUPTED)
    assert gave_up == [True]


async def test_more_than_the_bound_is_told() -> None:
    """Where the service bills more than was set aside, somebody is told, and it counts."""
    told: list[tuple[Charge, Charge]] = []
    budget = Budget(_caps("9"), Stop(), overcharged=lambda charged, bound: told.append((charged, bound)))
    (await budget.reserve(_charge(10, "1"))).settle(_charge(11, "2"))
    assert told == [(_charge(11, "2"), _charge(10, "1"))]
    assert budget.spent.cost == 2
    assert exceeds(_charge(1, "2"), _charge(1, "1"))
    assert not exceeds(_charge(1), _charge(1, "1"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 12))
async def test_the_cap_holds_whatever_happens(seed: int, rows: int, workers: int) -> None:
    """With random rows, ends and orders spending never exceeds the cap, and less than a worst case is left."""
    draw = random.Random(seed)
    cap = Decimal(draw.randint(1, 400)) / 100
    stop = Stop()
    budget, billed, largest = Budget(_caps(str(cap)), stop), Decimal(0), Decimal(0)
    left = [Decimal(draw.randint(1, 100)) / 100 for _ in range(rows)]

    async def work() -> None:
        nonlocal billed, largest
        while left:
            worst = left.pop()
            largest = max(largest, worst)
            try:
                reservation = await budget.reserve(_charge(1, str(worst)))
            except Stopped:
                return
            try:
                for _ in range(draw.randint(0, 3)):
                    await anyio.lowlevel.checkpoint()
                reservation.leave()
                end = draw.choice(["answered", "lost", "refused"])
                actual = worst * draw.randint(0, 100) / 100
                billed += actual if end != "refused" else 0
                if end == "answered":
                    reservation.settle(_charge(1, str(actual)))
                elif end == "refused":
                    reservation.settle(NOTHING_CHARGED)
            finally:
                reservation.release()

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work)
    assert billed <= budget.spent.cost <= cap
    if stop.requested:
        assert cap - budget.spent.cost < largest


@pytest.mark.parametrize(
    ("amount", "text"), [("12.500000", "12.5"), ("100", "100"), ("0.0002", "0.0002"), ("1E+3", "1000")]
)
def test_amounts_are_written_plainly(amount: str, text: str) -> None:
    """Amounts have no needless zeros, and no powers of ten."""
    assert plain(Decimal(amount)) == text
