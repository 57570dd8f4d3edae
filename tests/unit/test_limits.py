"""Slots and windows together: who may leave when, and who is woken when the run ends."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint
from clocks import FakeClock

from batch.errors import ExitCode
from batch.limits import Concurrency, Limits
from batch.parsing import RateLimit
from batch.stopping import Stop, Stopped

pytestmark = pytest.mark.anyio


def _limits(*rates: RateLimit, concurrency: int = 100, trusted: bool = True) -> tuple[Limits, FakeClock, Stop]:
    clock, stop = FakeClock(), Stop()
    fixed = Concurrency(concurrency, concurrency, granted=concurrency)
    limits = Limits(fixed, rates, clock=clock, stop=stop)
    if trusted:
        limits.trust()
    return limits, clock, stop


async def _give_way() -> None:
    for _ in range(10):
        await checkpoint()


async def _left_at(limits: Limits, clock: FakeClock, requests: int, lasting: float = 0.0) -> list[float]:
    """Return when each of so many simultaneous requests left, in seconds from now."""
    began, left = clock.monotonic(), list[float]()

    async def request() -> None:
        async with limits.slot():
            left.append(clock.monotonic() - began)
            await clock.sleep(lasting)

    async with anyio.create_task_group() as tasks:
        for _ in range(requests):
            tasks.start_soon(request)
    return left


async def test_no_limits_wait_for_nothing() -> None:
    """Without windows and with enough slots everything leaves at once."""
    limits, clock, _ = _limits()
    assert await _left_at(limits, clock, 50) == [0.0] * 50


async def test_slots_bound_what_runs_at_once() -> None:
    """No more requests are under way than there are slots, and each slot is used again at once."""
    limits, clock, _ = _limits(concurrency=3)
    assert await _left_at(limits, clock, 7, lasting=2.0) == [0.0] * 3 + [2.0] * 3 + [4.0]


async def test_all_windows_have_to_agree() -> None:
    """With a limit per second and one per minute neither is exceeded, and the stricter one decides."""
    limits, clock, _ = _limits(RateLimit(2, 1), RateLimit(5, 60))
    left = await _left_at(limits, clock, 11)
    assert all(later - first >= 1 for first, later in zip(left, left[2:], strict=False))
    assert all(later - first >= 60 for first, later in zip(left, left[5:], strict=False))
    assert left[4] < 3
    assert 60 <= left[5] < 62
    assert 120 <= left[10] < 124


async def test_an_hours_quota_and_a_pace() -> None:
    """A quota of an hour beside a pace of ten a second is used up at that pace, then waited for."""
    limits, clock, _ = _limits(RateLimit(10, 1), RateLimit(200, 3600))
    left = await _left_at(limits, clock, 205)
    assert 19 < left[199] < 21
    assert left[200] >= 3600
    assert sum(1 for first, later in pairwise(left) if later < first) == 0


async def test_a_request_that_waits_for_its_window_leaves_in_its_turn() -> None:
    """Whoever asked first leaves first."""
    limits, _, _ = _limits(RateLimit(1, 1))
    order: list[int] = []

    async def request(number: int) -> None:
        async with limits.slot():
            order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(request, number)
            await _give_way()
    assert order == list(range(6))


async def test_one_slot_until_the_first_good_answer() -> None:
    """One request finds out whether the service takes us; trust opens the rest, doubt closes them again."""
    limits, clock, _ = _limits(concurrency=4, trusted=False)
    assert limits.concurrency == 1
    assert await _left_at(limits, clock, 3, lasting=1.0) == [0.0, 1.0, 2.0]
    limits.trust()
    assert limits.concurrency == 4
    assert await _left_at(limits, clock, 4, lasting=1.0) == [0.0] * 4
    limits.doubt()
    assert limits.concurrency == 1
    assert await _left_at(limits, clock, 3, lasting=1.0) == [0.0, 1.0, 2.0]


async def test_doubt_leaves_those_under_way_alone() -> None:
    """When doubt comes, requests under way finish, and the next one waits for all of them."""
    limits, clock, _ = _limits(concurrency=3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_left_at, limits, clock, 3, 10.0)
        await _give_way()
        limits.doubt()
        assert await _left_at(limits, clock, 1) == [10.0]


@pytest.mark.parametrize("waiting_for", ["slot", "window"])
async def test_stopping_wakes_whoever_waits(waiting_for: str) -> None:
    """When the run stops, waiting for a slot or a window ends at once with `Stopped`."""
    rates = [RateLimit(1, 86400)] if waiting_for == "window" else []
    limits, clock, stop = _limits(*rates, concurrency=1 if waiting_for == "slot" else 10)
    began, stopped = clock.monotonic(), list[int]()
    under_way = anyio.Event()

    async def request(number: int) -> None:
        try:
            async with limits.slot():
                under_way.set()
                await _give_way()
                stop.request("enough", ExitCode.INTERRUPTED)
        except Stopped:
            stopped.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(request, number)
    assert under_way.is_set()
    assert sorted(stopped) == [1, 2, 3, 4]
    assert clock.monotonic() == began


async def test_after_the_stop_nobody_leaves() -> None:
    """Once the run is asked to end, no slot is given, not even a free one."""
    limits, _, stop = _limits()
    stop.request("enough", ExitCode.INTERRUPTED)
    with pytest.raises(Stopped):
        async with limits.slot():
            pytest.fail("a request left after the stop")


async def test_a_failed_request_gives_its_slot_back() -> None:
    """A slot is free again however its block ended, and so is one whose wait for a window was given up."""
    limits, clock, stop = _limits(RateLimit(2, 86400), concurrency=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with limits.slot():
                raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with limits.slot():
            pytest.fail("a request left although it was cancelled")
    assert limits._slots.borrowed_tokens == 0
    assert not limits._turn.locked()
    assert clock.monotonic() == 1_000.0
    assert not stop.requested


async def test_a_stop_tells_once() -> None:
    """The first reason to stop counts, and is told once; later ones change nothing."""
    told: list[tuple[str, ExitCode]] = []
    stop = Stop(lambda reason, code: told.append((reason, code)))
    assert not stop.requested
    assert stop.request("first", ExitCode.BUDGET)
    assert not stop.request("second", ExitCode.QUOTA)
    await stop.wait()
    assert (stop.reason, stop.exit_code, told) == ("first", ExitCode.BUDGET, [("first", ExitCode.BUDGET)])
