"""The gate: pauses that all share, rates learned on the way, and windows across a restart."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from clocks import FakeClock

from batch.errors import ExitCode
from batch.limits import Concurrency, LimitChange, Limits
from batch.limits.gate import PAUSE_S, UNITS
from batch.limits.windows import CATCH_UP
from batch.parsing import RateLimit
from batch.stopping import Stop, Stopped

pytestmark = pytest.mark.anyio


class _Gate:
    """Limits with what they work on, trusted and grown to `slots`."""

    def __init__(
        self,
        *rates: RateLimit,
        slots: int = 50,
        fixed: bool = False,
        deadline: float | None = None,
        prompt: bool = False,
    ) -> None:
        self.clock, self.stop, self.told = FakeClock(), Stop(), list[LimitChange]()
        self.limits = Limits(
            Concurrency(slots if fixed else 1, slots, granted=slots),
            rates,
            clock=self.clock,
            stop=self.stop,
            told=self.told.append,
            deadline=deadline,
            prompt=prompt,
        )
        self.limits._concurrency.limit = slots
        self.limits.trust()

    async def left_at(self, requests: int, lasting: float = 0.0) -> list[float]:
        """Return when each of so many simultaneous requests left, in seconds from now."""
        began, left = self.clock.now, list[float]()

        async def request() -> None:
            try:
                async with self.limits.slot():
                    left.append(self.clock.now - began)
                    await self.clock.sleep(lasting)
            except Stopped:
                pass

        async with anyio.create_task_group() as tasks:
            for _ in range(requests):
                tasks.start_soon(request)
        return left


def _values(told: Sequence[LimitChange], limit: str) -> list[int]:
    return [change.value for change in told if change.limit == limit]


async def test_fifty_refusals_make_one_pause_and_one_cut() -> None:
    """All refusals of an episode together cut the limit once and pause once."""
    gate = _Gate()
    for _ in range(50):
        gate.limits.refused(None, None)
    assert _values(gate.told, "requests at once") == [40]
    assert gate.limits.paused_s == pytest.approx(PAUSE_S)
    assert await gate.left_at(3) == [PAUSE_S] * 3


async def test_a_late_refusal_belongs_to_its_episode() -> None:
    """A refusal that comes after the pause, of a request from before the cut, does not cut again."""
    gate = _Gate()
    sent_at = gate.clock.now
    gate.clock.now += 1
    gate.limits.refused(None, None, sent_at)
    gate.clock.now += 10
    gate.limits.refused(None, None, sent_at)
    assert _values(gate.told, "requests at once") == [40]
    gate.clock.now += 10
    gate.limits.refused(None, None, gate.clock.now - 1)
    assert _values(gate.told, "requests at once") == [40, 32]


async def test_retry_after_extends_the_pause() -> None:
    """The longest Retry-After of an episode is waited for by everybody."""
    gate = _Gate()
    for seconds in (None, 7.0, 3.0):
        gate.limits.refused(None, seconds)
    assert await gate.left_at(2) == [7.0] * 2


async def test_retry_after_extends_the_pause_of_a_rate() -> None:
    """A Retry-After that comes with a stated rate is waited for, too, where it is longer than our own pause."""
    gate = _Gate()
    assert not gate.limits.learn(RateLimit(10, 3600), 90.0)
    assert await gate.left_at(1) == [90.0]


async def test_a_stated_number_at_once_is_learned() -> None:
    """A refusal that states ten at once makes it ten at once."""
    gate = _Gate()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.left_at, 20, 5.0)
        await gate.clock.sleep(1.0)
        gate.limits.refused(10, None)
    assert gate.limits.concurrency == 10
    assert await gate.left_at(20, lasting=2.0) == [0.0] * 10 + [2.0] * 10


@pytest.mark.parametrize("unit", UNITS)
async def test_a_stated_rate_is_learned(unit: str) -> None:
    """A stated rate per second, minute, hour or day is kept from then on, and counts what was sent before."""
    gate, seconds = _Gate(), UNITS[unit]
    assert await gate.left_at(4) == [0.0] * 4
    assert gate.limits.learn(RateLimit(4, seconds))
    assert _values(gate.told, f"requests per {unit}") == [4]
    left = await gate.left_at(8)
    assert all(at >= seconds for at in left)
    assert all(later - first >= seconds for first, later in zip(left, left[4:], strict=False))
    assert left[7] <= 2.1 * seconds


async def test_a_lower_rate_of_the_user_stays() -> None:
    """A rate that the service states does not raise the one that the user chose."""
    gate = _Gate(RateLimit(2, 60))
    gate.limits.learn(RateLimit(100, 60))
    assert not gate.told
    left = await gate.left_at(3)
    assert left[2] >= 60


async def test_failures_of_the_service_change_no_limit() -> None:
    """A 5xx neither shrinks the limit nor pauses anybody."""
    gate = _Gate()
    for _ in range(100):
        gate.limits.stumbled()
    assert (gate.limits.concurrency, gate.told, gate.limits.paused_s) == (50, [], 0.0)


async def test_a_fixed_number_stays_fixed() -> None:
    """With a fixed number refusals pause, and the number stays."""
    gate = _Gate(slots=8, fixed=True)
    gate.limits.refused(3, None)
    assert gate.limits.concurrency == 8
    assert await gate.left_at(8, lasting=1.0) == [PAUSE_S] * 8


async def test_windows_count_across_a_restart() -> None:
    """What earlier runs sent in this hour counts, and no less than its age."""
    gate = _Gate(RateLimit(10, 3600))
    gate.limits.restore([(7200.0, 50), (1800.0, 6), (600.0, 2)])
    left = await gate.left_at(10)
    assert left[:2] == [0.0, 0.0]
    assert all(1800 <= at <= 1850 for at in left[2:8])
    assert all(3000 <= at <= 3050 for at in left[8:])


async def test_a_window_beyond_the_deadline_stops_the_run() -> None:
    """Where the hour is used up until after the deadline, the run stops with exit 7, without waiting."""
    gate = _Gate(RateLimit(5, 3600), deadline=1_000.0 + 600)
    assert await gate.left_at(9) == [0.0] * 5
    assert (gate.stop.exit_code, gate.clock.now) == (ExitCode.QUOTA, 1_000.0)


async def test_a_pause_beyond_the_deadline_is_no_quota() -> None:
    """A pause that ends after the deadline is not called a quota that does not clear."""
    gate = _Gate(deadline=1_000.0 + 10)
    gate.limits.pause(30.0)
    assert await gate.left_at(1) == [30.0]
    assert not gate.stop.requested


async def test_those_who_waited_with_a_slot_give_it_back() -> None:
    """When doubt comes while ten wait for a pause slot in hand, one leaves after it, and not ten."""
    gate = _Gate(slots=10, fixed=True)
    gate.limits.pause(5.0)
    left: list[float] = []
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            left.extend(await gate.left_at(10, lasting=2.0))

        tasks.start_soon(wait)
        await gate.clock.sleep(1.0)
        gate.limits.doubt()
    assert left == [5.0 + 2.0 * number for number in range(10)]


async def test_what_was_held_up_is_spaced_out() -> None:
    """Requests that a slow disk held up together leave as the rate per second allows, and not in one heap."""
    gate, left = _Gate(RateLimit(100, 1)), list[float]()

    async def held_up() -> None:
        async with gate.limits.on_the_way():
            left.append(gate.clock.now - 1_000.0)

    async with anyio.create_task_group() as tasks:
        for _ in range(CATCH_UP + 11):
            tasks.start_soon(held_up)
    assert left[: CATCH_UP + 1] == pytest.approx([0.0] * (CATCH_UP + 1), abs=0.001)
    assert left[CATCH_UP + 1 :] == pytest.approx([number / 100 for number in range(1, 11)], abs=0.001)


async def test_without_a_rate_nothing_is_spaced_out() -> None:
    """Where no rate per second is known nobody waits to be spaced out."""
    gate = _Gate()
    for _ in range(1000):
        async with gate.limits.on_the_way():
            pass
    assert gate.clock.now == 1_000.0


async def test_an_answer_that_is_late_holds_its_place_for_a_second_more() -> None:
    """Where a stall keeps a second's answers back, the next requests leave a second after these at best."""
    gate, left = _Gate(RateLimit(3, 1), prompt=True), list[float]()

    async def request(lasting: float) -> None:
        async with gate.limits.slot(), gate.limits.on_the_way():
            left.append(gate.clock.now - 1_000.0)
            await gate.clock.sleep(lasting)

    async with anyio.create_task_group() as tasks:
        for lasting in (2.0, 2.0, 2.0, 0.01, 0.01, 0.01):
            tasks.start_soon(request, lasting)
    assert max(left[:3]) < 1.0
    assert min(left[3:]) >= 2.0 + 1.0
    assert max(left[3:]) <= 2.0 + max(left[:3]) + 1.1


async def test_who_has_had_its_turn_is_sent_though_the_run_ends() -> None:
    """A request that waits for others' answers leaves after them, also where the run is asked to end meanwhile."""
    gate, sent = _Gate(RateLimit(1, 1), prompt=True), list[float]()

    async def request() -> None:
        async with gate.limits.on_the_way():
            sent.append(gate.clock.now - 1_000.0)
            await gate.clock.sleep(50.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        tasks.start_soon(request)
        await gate.clock.sleep(5.0)
        gate.stop.request("enough", ExitCode.BUDGET)
    assert sent == pytest.approx([0.0, 51.0], abs=0.2)
