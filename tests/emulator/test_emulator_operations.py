"""The asynchronous mode: submissions, readings, cancellations, expiry, and what is billed when."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

import httpx
import pytest

from batch.emulator import Config, Emulator, Latency, Quotas, Running
from batch.emulator.ledger import TAIL

API = "/foundationModels/v1"
ASYNC = f"{API}/completionAsync"
DAY = 86_400.0
Body = Callable[..., dict[str, object]]
ClientOf = Callable[[Emulator], httpx.AsyncClient]
Serving = Callable[..., tuple[Running, httpx.Client]]
FOUR = Latency.parse("fixed:4")


class Clock(Protocol):
    now: float

    def time(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


def emulated(clock: Clock, config: Config | None = None) -> Emulator:
    """An emulator whose clock a test moves; it begins at 1970-01-01T00:16:40Z, like the clock."""
    config = config or Config(operation_latency=FOUR)
    return Emulator(config, time=clock.time, sleep=clock.sleep, wall=clock.time)


async def submitted(client: httpx.AsyncClient, body: dict[str, object], name: str = "r1") -> str:
    """The identifier of an operation that is accepted now."""
    response = await client.post(ASYNC, json=body, headers={"x-client-request-id": name})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


@pytest.mark.anyio
async def test_an_operation_has_the_recorded_form(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """A submission answers at once with what was recorded, and the operation is done four seconds later."""
    async with client_of(emulated(clock)) as client:
        accepted = (await client.post(ASYNC, json=body())).json()
        path = f"/operations/{accepted['id']}"
        clock.now += 3.99
        waiting = (await client.get(path)).json()
        clock.now += 0.01
        done = (await client.get(path)).json()
        again = (await client.get(path)).json()
        completion = (await client.post(f"{API}/completion", json=body())).json()
    assert re.fullmatch(r"d7q[0-9a-v]{17}", accepted.pop("id"))
    assert re.fullmatch(r"aje[0-9a-z]{17}", accepted.pop("createdBy"))
    assert accepted == {
        "description": "Async GPT Completion",
        "createdAt": "1970-01-01T00:16:40Z",
        "modifiedAt": "1970-01-01T00:16:40Z",
        "done": False,
        "metadata": None,
    }
    assert (waiting["done"], "response" in waiting, "error" in waiting) == (False, False, False)
    assert (done["done"], done["modifiedAt"], "error" in done) == (True, "1970-01-01T00:16:44Z", False)
    answer = done["response"]
    assert answer.pop("@type") == "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.CompletionResponse"
    assert answer == completion["result"]
    assert again["response"]["alternatives"] == answer["alternatives"]


@pytest.mark.anyio
async def test_an_operation_is_billed_when_it_is_done(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Asked for or not, a generation stands in the ledger from the moment when it ended, and once only."""
    emulator = emulated(clock)
    async with client_of(emulator) as client:
        mine = await submitted(client, body())
        assert (emulator.ledger.totals().requests, emulator.ledger.activity().submissions) == (0, 1)
        clock.now += 100
        (entry,) = emulator.ledger.entries()
        assert (entry.mode, entry.operation_id, entry.client_request_id) == ("async", mine, "r1")
        assert (entry.time, entry.delivered) == (1_004.0, True)
        usage = (await client.get(f"/operations/{mine}")).json()["response"]["usage"]
        await client.post(f"{API}/completion", json=body())
        totals = (await client.get("/emulator/totals")).json()
    assert (entry.input_tokens, entry.total_tokens) == (int(usage["inputTextTokens"]), int(usage["totalTokens"]))
    both, ours = emulator.ledger.totals(), emulator.ledger.totals("async")
    assert (both.requests, ours.requests, emulator.ledger.totals("sync").requests) == (2, 1, 1)
    assert emulator.ledger.totals("sync").total_tokens + ours.total_tokens == both.total_tokens
    assert [entry.mode for entry in emulator.ledger.entries()] == ["async", "sync"]
    assert (totals["requests"], totals["billed_requests"], totals["async_billed_requests"]) == (1, 2, 1)
    assert totals["by_route"] == {
        "completion": {"200": 1},
        "completionAsync": {"200": 1},
        "operations": {"200": 1},
    }


@pytest.mark.anyio
async def test_what_is_done_is_billed_in_order(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Operations are billed in the order in which they end, with delays from a script and then the dice."""
    config = Config(operation_delays=(9.0, 1.0), operation_latency=Latency.parse("uniform:2-5"))
    emulator = emulated(clock, config)
    async with client_of(emulator) as client:
        for name in "abc":
            await submitted(client, body(), name)
    clock.now += 20
    entries = list(emulator.ledger.entries())
    assert [entry.client_request_id for entry in entries] == ["b", "c", "a"]
    assert [entries[0].time, entries[2].time] == [1_001.0, 1_009.0]
    assert 1_002.0 <= entries[1].time <= 1_005.0


@pytest.mark.anyio
async def test_submissions_are_checked_like_completions(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Streaming, a wrong role and too long a conversation are refused, and no operation comes of them."""
    emulator = emulated(clock, Config(context_tokens=40, folder="folder"))
    async with client_of(emulator) as client:
        wrong = [
            body(completionOptions={"stream": True}),
            body(messages=[{"role": "boss", "text": "x"}]),
            body(messages=[{"role": "user", "text": "word " * 50}]),
            body(modelUri="gpt://another/m"),
        ]
        answers = [await client.post(ASYNC, json=item) for item in wrong]
        none = await client.post(ASYNC, json=body(), headers={"authorization": ""})
    assert [answer.status_code for answer in answers] == [400] * 4
    assert "stream" in answers[0].json()["error"]["message"]
    assert none.status_code == 401
    clock.now += 60
    assert (emulator.ledger.activity().submissions, emulator.ledger.totals().requests) == (0, 0)


@pytest.mark.anyio
async def test_submissions_have_quotas_of_their_own(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Ten per second and so many per hour are accepted, in words like the recorded; completions go on."""
    emulator = emulated(clock, Config(quotas=Quotas(async_per_hour=12)))
    async with client_of(emulator) as client:
        first = [await client.post(ASYNC, json=body()) for _ in range(11)]
        clock.now += 1
        second = [await client.post(ASYNC, json=body()) for _ in range(3)]
        assert (await client.post(f"{API}/completion", json=body())).status_code == 200
        clock.now += 3_599
        assert (await client.post(ASYNC, json=body())).status_code == 200
    assert [answer.status_code for answer in first] == [200] * 10 + [429]
    assert [answer.status_code for answer in second] == [200] * 2 + [429]
    assert first[-1].json()["error"] == {
        "grpcCode": 8,
        "httpCode": 429,
        "message": "ai.textGenerationAsyncCompletionRequestsPerSecond.rate rate quota limit exceed: "
        "allowed 10 requests",
        "httpStatus": "Too Many Requests",
        "details": [],
    }
    assert "AsyncCompletionRequestsPerHour.rate rate quota limit exceed: allowed 12" in second[-1].text
    assert emulator.ledger.activity().submissions == 13


@pytest.mark.anyio
async def test_reading_has_a_quota_of_its_own(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Fifty readings per second are answered, the next one is a 429, and refused ones are no polls."""
    emulator = emulated(clock)
    async with client_of(emulator) as client:
        mine = await submitted(client, body())
        answers = [(await client.get(f"/operations/{mine}")).status_code for _ in range(52)]
        clock.now += 1
        assert (await client.get(f"/operations/{mine}")).status_code == 200
    assert answers == [200] * 50 + [429] * 2
    assert emulator.ledger.polls() == {mine: 51}
    assert emulator.ledger.activity().polls == 51


@pytest.mark.anyio
async def test_results_are_kept_for_three_days(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Until three days after its end an operation can be read; then it is as unknown as any other."""
    emulator = emulated(clock)
    async with client_of(emulator) as client:
        mine = await submitted(client, body())
        clock.now += 4 + 3 * DAY - 1
        assert (await client.get(f"/operations/{mine}")).json()["done"]
        clock.now += 1
        gone = await client.get(f"/operations/{mine}", headers={"x-client-request-id": "poll"})
        unknown = await client.get("/operations/d7q00000000000000000:cancel")
        assert (await client.get("/emulator/totals")).json()["operations"] == 0
    assert (gone.status_code, unknown.status_code) == (404, 404)
    assert gone.headers["x-client-request-id"] == "poll"
    request_id = gone.headers["x-request-id"]
    info = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": request_id}
    assert gone.json() == {"code": 5, "message": f"Operation {mine} not found", "details": [info]}
    assert emulator.ledger.totals().requests == 1


@pytest.mark.anyio
@pytest.mark.parametrize(("after", "billed"), [(0.5, 0), (2.0, 1)], ids=["waiting", "generating"])
async def test_cancelling_ends_an_operation(
    body: Body, client_of: ClientOf, clock: Clock, after: float, billed: int
) -> None:
    """It is done with code 1 at once; it costs nothing while it waits, and its whole price once it generates."""
    emulator = emulated(clock)
    async with client_of(emulator) as client:
        mine = await submitted(client, body())
        clock.now += after
        cancelled = (await client.get(f"/operations/{mine}:cancel")).json()
        clock.now += 60
        later = (await client.get(f"/operations/{mine}")).json()
    assert (cancelled["done"], cancelled["error"]["code"], cancelled["error"]["details"]) == (True, 1, [])
    assert "response" not in cancelled
    assert later == cancelled
    entries = list(emulator.ledger.entries())
    assert [(entry.delivered, entry.time) for entry in entries] == [(False, 1_000 + after)] * billed
    assert emulator.ledger.activity().cancels == 1


@pytest.mark.anyio
async def test_cancelling_what_is_done_changes_nothing(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """An operation that succeeded stays as it is, and is billed once."""
    emulator = emulated(clock)
    async with client_of(emulator) as client:
        mine = await submitted(client, body())
        clock.now += 4
        done = (await client.get(f"/operations/{mine}")).json()
        cancelled = (await client.get(f"/operations/{mine}:cancel")).json()
        assert (await client.get(f"/operations/{mine}")).json() == done == cancelled
    assert "error" not in done
    assert [entry.delivered for entry in emulator.ledger.entries()] == [True]


@pytest.mark.anyio
async def test_what_was_submitted_twice_shows(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Submissions count by client request id and by conversation, before anything is billed."""
    emulator = emulated(clock)
    async with client_of(emulator) as client:
        identifiers = [await submitted(client, body(), name) for name in ("a", "a", "b")]
        await submitted(client, body(messages=[{"role": "user", "text": "Another."}]), "c")
    assert len(set(identifiers)) == 3
    assert emulator.ledger.submissions() == {"a": 2, "b": 1, "c": 1}
    assert sorted(emulator.ledger.conversations().values()) == [1, 3]
    assert emulator.ledger.totals().requests == 0


@pytest.mark.anyio
async def test_a_bounded_ledger_keeps_sums_of_operations(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """Without `keep_entries` nothing is counted by identifier, and every sum is exact."""
    config = Config(quotas=Quotas(async_per_second=None, async_per_hour=None), keep_entries=False)
    emulator = emulated(clock, config)
    async with client_of(emulator) as client:
        for number in range(TAIL + 10):
            mine = await submitted(client, body(), f"r{number}")
        clock.now += 10
        await client.get(f"/operations/{mine}")
    assert emulator.ledger.totals("async").requests == TAIL + 10
    assert len(list(emulator.ledger.entries())) == TAIL
    activity = emulator.ledger.activity()
    assert (activity.submissions, activity.polls) == (TAIL + 10, 1)
    counted = (emulator.ledger.submissions(), emulator.ledger.polls(), emulator.ledger.conversations())
    assert counted == ({}, {}, {})


def test_an_operation_over_sockets(serving: Serving, body: Body) -> None:
    """At speed 100 an operation of four seconds is done in a moment, and the ledger ends with the emulator."""
    config = Config(operation_latency=FOUR, operation_delays=(4.0, 1e6), speed=100)
    running, client = serving(config)
    mine = client.post(ASYNC, json=body()).json()["id"]
    client.post(ASYNC, json=body())
    deadline = time.monotonic() + 5
    while not (shown := client.get(f"/operations/{mine}").json())["done"] and time.monotonic() < deadline:
        time.sleep(0.005)
    assert shown["response"]["alternatives"]
    assert running.ledger.totals().requests == 1
    assert running.ledger.activity().submissions == 2


@pytest.mark.anyio
async def test_a_closed_emulator_bills_no_more(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """What is done when it closes is billed then; what would be done later is abandoned."""
    emulator = emulated(clock, Config(operation_delays=(4.0, 5.0)))
    async with client_of(emulator) as client:
        for name in "ab":
            await submitted(client, body(), name)
    clock.now += 4
    for _ in range(2):
        emulator.close()
        clock.now += 60
    assert [entry.client_request_id for entry in emulator.ledger.entries()] == ["a"]
