"""Quotas of concurrency, second and hour, on a clock that needs no time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import anyio
import httpx
import pytest

from batch.emulator import Config, Emulator, Latency, Quotas
from batch.emulator.quotas import Admission
from batch.emulator.rejections import Rejected

COMPLETION = "/foundationModels/v1/completion"
Body = Callable[..., dict[str, object]]
ClientOf = Callable[[Emulator], httpx.AsyncClient]


class Clock(Protocol):
    now: float

    def time(self) -> float: ...


def admitted(admission: Admission, attempts: int) -> int:
    """How many of some attempts at one moment are let in; each ends at once."""
    passed = 0
    for _ in range(attempts):
        with suppress(Rejected):
            admission.enter()
            admission.leave()
            passed += 1
    return passed


def test_no_more_run_at_once_than_allowed(clock: Clock) -> None:
    """The eleventh simultaneous generation is refused in the recorded words, and fits in after one ended."""
    admission = Admission(Quotas(), clock.time)
    for _ in range(10):
        admission.enter()
    with pytest.raises(Rejected) as caught:
        admission.enter()
    assert caught.value.message == (
        "ai.textGenerationCompletionSessionsCount.count gauge quota limit exceed: allowed 10 requests"
    )
    admission.leave()
    admission.enter()
    assert (admission.running, admission.peak) == (10, 10)


def test_the_second_is_a_sliding_window(clock: Clock) -> None:
    """At most N requests are let in within any trailing second, wherever the second begins."""
    admission = Admission(Quotas(per_second=5), clock.time)
    assert admitted(admission, 3) == 3
    clock.now += 0.6
    assert admitted(admission, 5) == 2
    clock.now += 0.4
    assert admitted(admission, 5) == 3
    clock.now += 0.5
    assert admitted(admission, 5) == 0


def test_a_burst_makes_it_a_bucket(clock: Clock) -> None:
    """A bucket lets its capacity in at once, and then refills at the rate."""
    admission = Admission(Quotas(per_second=2, burst=6), clock.time)
    assert admitted(admission, 10) == 6
    clock.now += 1
    assert admitted(admission, 10) == 2
    clock.now += 60
    assert admitted(admission, 10) == 6


def test_the_hour_is_counted_to_the_second(clock: Clock) -> None:
    """The hourly quota is exact over any 3,600 seconds, refused requests not counted."""
    admission = Admission(Quotas(per_hour=100), clock.time)
    assert admitted(admission, 60) == 60
    clock.now += 1800
    assert admitted(admission, 60) == 40
    with pytest.raises(Rejected, match=r"RequestsPerHour\.rate rate quota limit exceed: allowed 100 requests"):
        admission.enter()
    clock.now += 1799
    assert admitted(admission, 10) == 0
    clock.now += 1
    assert admitted(admission, 100) == 60


def test_a_refused_request_uses_up_nothing(clock: Clock) -> None:
    """A request that the hour refuses takes nothing from the second."""
    admission = Admission(Quotas(per_second=5, per_hour=5), clock.time)
    assert admitted(admission, 50) == 5
    clock.now += 3600
    assert admitted(admission, 50) == 5


def test_without_limits_everything_is_let_in(clock: Clock) -> None:
    """None is without limit."""
    admission = Admission(Quotas(concurrent=None), clock.time)
    for _ in range(10_000):
        admission.enter()
    assert admission.running == 10_000


def test_new_quotas_keep_what_is_running(clock: Clock) -> None:
    """Replacing the quotas begins rates anew and goes on counting what runs."""
    admission = Admission(Quotas(concurrent=2), clock.time)
    admission.enter()
    admission.quotas = Quotas(concurrent=1)
    with pytest.raises(Rejected, match="allowed 1 requests"):
        admission.enter()


@pytest.mark.anyio
async def test_a_generation_holds_its_place_until_it_ends(body: Body, client_of: ClientOf) -> None:
    """While two generations last, a third is refused and not billed; afterwards it is answered."""
    go_on = anyio.Event()

    async def sleep(_seconds: float) -> None:
        await go_on.wait()

    config = Config(quotas=Quotas(concurrent=2), latency=Latency.parse("fixed:5"))
    emulator = Emulator(config, sleep=sleep)
    statuses: list[int] = []
    async with client_of(emulator) as client:

        async def ask() -> None:
            statuses.append((await client.post(COMPLETION, json=body())).status_code)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                assert (await client.post(COMPLETION, json=body())).status_code == 429
                go_on.set()
        assert (await client.post(COMPLETION, json=body())).status_code == 200
    assert statuses == [200, 200]
    totals = emulator.totals()
    assert (totals["requests"], totals["billed_requests"], totals["too_many_requests"]) == (4, 3, 1)
    assert totals["max_concurrent"] == 2


@pytest.mark.anyio
async def test_the_tokenizer_has_a_quota_of_its_own(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Tokenizer calls beyond their own rate are refused; completions go on."""
    emulator = Emulator(Config(quotas=Quotas(tokenizer_per_second=2)), time=clock.time)
    async with client_of(emulator) as client:
        calls = [await client.post(COMPLETION.replace("completion", "tokenizeCompletion"), json=body())]
        text = {"modelUri": "gpt://folder/m", "text": "a"}
        calls += [await client.post(COMPLETION.replace("completion", "tokenize"), json=text) for _ in "ab"]
        assert [call.status_code for call in calls] == [200, 200, 429]
        assert (await client.post(COMPLETION, json=body())).status_code == 200
