"""The tests' own clock behaves like a clock, only faster."""

from __future__ import annotations

import anyio
import pytest
from clocks import FakeClock

pytestmark = pytest.mark.anyio


async def test_sleepers_wake_in_order_and_on_time() -> None:
    """Those who sleep side by side wake in the order of their deadlines, at exactly those."""
    clock, woken = FakeClock(), list[tuple[str, float]]()
    began, since = clock.monotonic(), clock.time()

    async def sleep(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic() - began))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep, "long", 3600.0)
        tasks.start_soon(sleep, "naps", 1.0, 1.0, 5000.0)
        tasks.start_soon(sleep, "short", 1.5)
    assert woken == [("naps", 1.0), ("short", 1.5), ("naps", 2.0), ("long", 3600.0), ("naps", 5002.0)]
    assert clock.time() - since == 5002.0


async def test_a_sleeper_that_is_cancelled_takes_no_time() -> None:
    """Time does not pass for a sleep that was given up, and the others still wake."""
    clock = FakeClock()
    began = clock.monotonic()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(clock.sleep, 10.0)
            scope.cancel()
            await clock.sleep(5.0)
    assert scope.cancelled_caught
    assert clock.monotonic() - began == 10.0


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_at_all(seconds: float) -> None:
    """Sleeping for nothing gives way and takes no time."""
    clock = FakeClock()
    began = clock.monotonic()
    await clock.sleep(seconds)
    assert clock.monotonic() == began
