"""Limits that share a quota through its file: in one process, with one clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from clocks import FakeClock

from batch.limits import Concurrency, Limits
from batch.parsing import RateLimit
from batch.plan.sharing import Partner
from batch.sharing import Quota
from batch.stopping import Stop

pytestmark = pytest.mark.anyio


class Runs:
    """Partners on one file; real time stands still unless it is moved."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.real = FakeClock(), 0.0
        self.path = folder / "quota.json"
        self.notices: list[str] = []
        self.partners: list[Partner] = []

    def add(self, low: int, high: int, *rates: RateLimit, share: float | None = None, file: bool = True) -> Limits:
        limits = Limits(Concurrency(low, high, granted=10), rates, clock=self.clock, stop=Stop())
        time: Callable[[], float] = lambda: self.real  # noqa: E731
        quota = Quota(self.path, time) if file else None
        job = f"job {len(self.partners)}"
        self.partners.append(Partner(limits, self.clock, quota, job, share, 10, self.notices.append, time))
        self.look()
        return limits

    def look(self, times: int = 4) -> None:
        for _ in range(times):
            for partner in self.partners:
                partner.look()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """No runs yet."""
    return Runs(tmp_path)


async def test_alone_nothing_changes(runs: Runs) -> None:
    """A run alone has all slots and windows, also those that it learns between two looks."""
    limits = runs.add(1, 256, RateLimit(100, 1))
    limits.trust()
    for _ in range(9):
        async with AsyncExitStack() as stack:
            for _ in range(limits.concurrency):
                await stack.enter_async_context(limits.slot())
            limits.trust()
    assert limits.concurrency == 10
    runs.look()
    assert limits.concurrency == 10


async def test_two_of_ten_have_five_each_and_the_whole_comes_back(runs: Runs) -> None:
    """Ten of each are ten together; when one ends, the other has them all."""
    first, second = runs.add(10, 10), runs.add(10, 10)
    first.trust()
    second.trust()
    async with AsyncExitStack() as stack:
        for _ in range(4):
            for limits in (first, second):
                if limits.running < limits.concurrency:
                    await stack.enter_async_context(limits.slot())
            runs.look()
        assert first.concurrency + second.concurrency == 10
    runs.partners.pop().leave()
    runs.look()
    assert first.concurrency == 10


async def test_a_refusal_of_one_cuts_both(runs: Runs) -> None:
    """Where the service refuses one run, both keep to what it stated, and both pause."""
    first, second = runs.add(10, 20), runs.add(10, 20)
    first.trust()
    second.trust()
    runs.look()
    async with AsyncExitStack() as stack:
        for limits in (first, second):
            for _ in range(limits.concurrency):
                await stack.enter_async_context(limits.slot())
        runs.look()
        first.refused(None, None)
        before = second.paused_s
        runs.look()
        assert second.paused_s > before
    runs.look()
    assert first.known().limit == second.known().limit == 10


async def _settle(runs: Runs, hungry: Limits, modest: Limits, stack: AsyncExitStack, times: int) -> None:
    """Let one run fill whatever it gets, and the other have one request that lasts for four looks of five."""
    for _ in range(times):
        async with AsyncExitStack() as own:
            for look in range(5):
                while hungry.running < hungry.concurrency:
                    await stack.enter_async_context(hungry.slot())
                if look == 0 and modest._free_at(runs.clock.now) <= runs.clock.now:
                    await own.enter_async_context(modest.slot())
                if look == 4:
                    await own.aclose()
                runs.clock.now += 0.11
                runs.look(1)


async def test_a_refusal_counts_a_slot_that_another_may_just_have_begun_to_use(runs: Runs) -> None:
    """Where the other ran nothing at the last look, the ten that the service states are kept, and not eight."""
    hungry, modest = runs.add(1, 256), runs.add(1, 256, RateLimit(2, 1))
    modest.trust()
    async with AsyncExitStack() as stack:
        for _ in range(200):
            hungry.trust()
            await _settle(runs, hungry, modest, stack, 1)
            if hungry.running == 10:
                break
        runs.look(1)
        assert (hungry.running, modest.running, hungry.known().limit) == (10, 0, 11)
        hungry.refused(10, None)
    assert hungry.known().limit == 10


async def test_a_run_with_a_low_rate_of_its_own_leaves_the_slots_to_the_other(runs: Runs) -> None:
    """Of ten slots nine are the other's nearly always, where one is enough for two requests a second."""
    hungry, modest = runs.add(10, 10), runs.add(10, 10, RateLimit(2, 1))
    hungry.trust()
    modest.trust()
    async with AsyncExitStack() as stack:
        await _settle(runs, hungry, modest, stack, 20)
        seen = []
        for _ in range(30):
            await _settle(runs, hungry, modest, stack, 1)
            seen.append((hungry.concurrency, modest.concurrency))
    assert seen.count((9, 1)) == len(seen)


async def test_a_learned_rate_is_told_to_the_other(runs: Runs) -> None:
    """A rate that the service stated to one run is divided by both."""
    first, second = runs.add(10, 10), runs.add(10, 10)
    first.learn(RateLimit(40, 1))
    runs.look()
    rates = [partner.limits.demand().rates for partner in runs.partners]
    assert [found[1][0] for found in rates] == [40, 40]
    assert second.demand().rates[1] == (40, 0)


async def test_windows_are_kept_together(runs: Runs) -> None:
    """Of 100 an hour two runs send 100 in an hour, and not one more."""
    both = [runs.add(10, 10, RateLimit(100, 3600)) for _ in range(2)]
    for limits in both:
        limits.trust()
    sent = [0, 0]
    for _ in range(300):
        for number, limits in enumerate(both):
            if limits.capacity(runs.clock.monotonic()) >= 1 and limits._free_at(runs.clock.now) <= runs.clock.now:
                async with limits.slot():
                    sent[number] += 1
        runs.look(1)
    assert sum(sent) == 100
    assert min(sent) >= 40


async def test_what_an_ended_run_sent_still_counts(runs: Runs) -> None:
    """After one run has used 60 of 100 an hour and ended, another job gets 40."""
    first = runs.add(10, 10, RateLimit(100, 3600))
    first.trust()
    for _ in range(60):
        async with first.slot():
            pass
    runs.look()
    runs.partners.pop().leave()
    runs.partners.append(Partner(first, runs.clock, None, "", None, 10, runs.notices.append))  # another job's name
    second = runs.add(10, 10, RateLimit(100, 3600))
    assert second.capacity(runs.clock.monotonic()) == 40


@pytest.mark.parametrize("file", [True, False])
async def test_a_share_is_kept_to_alone_too(file: bool, runs: Runs) -> None:
    """With 30 % of ten slots and of 100 an hour a run has three and thirty, whether it shares or not."""
    limits = runs.add(10, 10, RateLimit(100, 3600), share=0.3, file=file)
    limits.trust()
    assert limits.concurrency == 3
    assert limits.capacity(runs.clock.monotonic()) == 30


async def test_a_hung_run_gives_its_share_back(runs: Runs) -> None:
    """What a run holds that has not been seen for seconds goes to the other."""
    first, _ = runs.add(10, 10), runs.add(10, 10)
    first.trust()
    runs.partners.pop()
    runs.real = 6.0
    runs.look()
    assert first.concurrency == 10


async def test_a_file_that_fails_is_said_once_and_the_run_goes_on(runs: Runs) -> None:
    """Without the file a run has its limits for itself again, and says so once."""
    first, second = runs.add(10, 10), runs.add(10, 10)
    first.trust()
    second.trust()
    runs.path.unlink()
    runs.path.mkdir()
    runs.look()
    assert [first.concurrency, second.concurrency] == [10, 10]
    assert len(runs.notices) == 2, "one of each run"
    assert "not shared" in runs.notices[0]
