"""Every fault over a real socket, and the plan that says when they strike."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import httpx
import pytest

from batch.emulator import FAULTS, Config, Emulator, Fault, Latency, Running
from batch.emulator.connections import Dropped
from batch.emulator.faults import FaultPlan

COMPLETION = "/foundationModels/v1/completion"
Body = Callable[..., dict[str, object]]
Serving = Callable[..., tuple[Running, httpx.Client]]


class Sleeping(Protocol):
    async def sleep(self, seconds: float) -> None: ...


STATUSES = {
    "429": 429,
    "429-rate": 429,
    "429-retry-after": 429,
    "503": 503,
    "500": 500,
    "504": 504,
    "502": 502,
    "empty": 503,
    "400": 400,
    "401": 401,
    "403": 403,
    "truncated": 200,
    "wrong-types": 200,
}
BROKEN = {
    "drop-before": httpx.ReadError,
    "drop-after": httpx.ReadError,
    "stall": httpx.ReadError,
    "cut": httpx.RemoteProtocolError,
}


def test_every_fault_is_tested() -> None:
    """The two tables of this file name all faults, and an outcome is in one of them only."""
    assert sorted([*STATUSES, *BROKEN]) == sorted(FAULTS)


@pytest.mark.parametrize("kind", STATUSES)
def test_a_fault_with_an_answer(serving: Serving, body: Body, kind: str) -> None:
    """Each fault gives its status once, bills what the table says, and the next request is answered."""
    running, client = serving(Config(script=(kind, "ok")))
    assert client.post(COMPLETION, json=body()).status_code == STATUSES[kind]
    assert running.ledger.totals().requests == FAULTS[kind].billed
    assert client.post(COMPLETION, json=body()).json()["result"]
    assert [entry.delivered for entry in running.ledger.entries()] == [False] * FAULTS[kind].billed + [True]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_fault_that_breaks_the_connection(serving: Serving, body: Body, kind: str) -> None:
    """The client sees a broken connection; whether it was billed stands in the ledger only."""
    running, client = serving(Config(script=(kind, "ok"), stall_seconds=0.05))
    with pytest.raises(BROKEN[kind]):
        client.post(COMPLETION, json=body())
    assert running.ledger.totals().requests == FAULTS[kind].billed
    assert client.post(COMPLETION, json=body()).status_code == 200
    assert running.ledger.totals().undelivered == FAULTS[kind].billed


def test_the_bodies_of_the_faults(serving: Serving, body: Body) -> None:
    """Each answer has the shape that its fault is for."""
    kinds = ("429", "429-rate", "429-retry-after", "503", "502", "empty", "truncated", "wrong-types")
    _, client = serving(Config(script=kinds))
    answers = {kind: client.post(COMPLETION, json=body()) for kind in kinds}
    assert answers["429"].json()["error"]["grpcCode"] == 8
    assert "retry-after" not in answers["429"].headers
    assert "RequestsPerHour.rate rate quota limit exceed" in answers["429-rate"].json()["error"]["message"]
    assert answers["429-retry-after"].headers["retry-after"] == "1"
    assert answers["503"].json()["code"] == 14
    assert answers["502"].text.startswith("<html>")
    assert answers["empty"].content == b""
    assert answers["truncated"].content.startswith(b'{"result"')
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answers["truncated"].json()
    assert answers["wrong-types"].json()["result"]["usage"]["inputTextTokens"] == {"value": "many"}


def test_a_cut_answer_arrives_in_half(serving: Serving, body: Body) -> None:
    """A cut answer announces its whole length, and half of it arrives."""
    _, client = serving(Config(script=("cut",)))
    received = bytearray()

    def read_all() -> None:
        with client.stream("POST", COMPLETION, json=body()) as response:
            received.extend(response.headers["content-length"].encode() + b" ")
            for chunk in response.iter_raw():
                received.extend(chunk)

    with pytest.raises(httpx.RemoteProtocolError):
        read_all()
    announced, _, arrived = bytes(received).partition(b" ")
    assert len(arrived) == int(announced) // 2


def test_a_stalled_client_may_hang_up(serving: Serving, body: Body) -> None:
    """A client whose patience ends before the stall gets its timeout, and the bill stands."""
    running, client = serving(Config(script=("stall",), stall_seconds=600))
    with pytest.raises(httpx.ReadTimeout):
        client.post(COMPLETION, json=body(), timeout=0.1)
    assert running.ledger.totals().undelivered == 1
    assert client.post(COMPLETION, json=body()).status_code == 200


def test_a_client_that_left_is_billed_and_not_delivered(serving: Serving, body: Body) -> None:
    """A generation goes on without its client, and the ledger says that nobody got it."""
    running, client = serving(Config(latency=Latency.parse("fixed:0.2")))
    with pytest.raises(httpx.ReadTimeout):
        client.post(COMPLETION, json=body(), timeout=0.05)
    deadline = time.monotonic() + 5
    while running.ledger.totals().requests == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.ledger.totals().undelivered == 1


def test_an_outage_strikes_every_request(serving: Serving, body: Body) -> None:
    """While an outage lasts every method fails and nothing is billed; afterwards all is well."""
    running, client = serving()
    running.emulator.outage = "503"
    assert client.post(COMPLETION, json=body()).status_code == 503
    tokenize = client.post("/foundationModels/v1/tokenize", json={"modelUri": "gpt://f/m", "text": "a"})
    assert tokenize.status_code == 503
    running.emulator.outage = None
    assert client.post(COMPLETION, json=body()).status_code == 200
    assert running.ledger.totals().requests == 1
    with pytest.raises(ValueError, match="bills nothing"):
        running.emulator.outage = "drop-after"


def test_faults_can_be_set_while_running(serving: Serving, body: Body) -> None:
    """New probabilities hold from the next request on."""
    running, client = serving()
    running.emulator.faults = (Fault("500", 1.0),)
    assert client.post(COMPLETION, json=body()).status_code == 500
    running.emulator.faults = ()
    assert client.post(COMPLETION, json=body()).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("kind", BROKEN)
async def test_in_process_a_broken_connection_is_an_exception(
    body: Body, client_of: Callable[[Emulator], httpx.AsyncClient], clock: Sleeping, kind: str
) -> None:
    """Without a socket, breaking the connection raises the emulator's own `Dropped`."""
    emulator = Emulator(Config(script=(kind,)), sleep=clock.sleep)
    async with client_of(emulator) as client:
        with pytest.raises(Dropped):
            await client.post(COMPLETION, json=body())
    assert emulator.ledger.totals().requests == FAULTS[kind].billed


def test_a_script_comes_before_the_dice() -> None:
    """A script is followed entry by entry, and the probabilities begin after it."""
    plan = FaultPlan([Fault("500", 1.0)], ["ok", "cut"], random.Random(0))
    drawn = [plan.next() for _ in range(4)]
    assert [kind and kind.name for kind in drawn] == [None, "cut", "500", "500"]


def test_probabilities_are_kept_and_repeat() -> None:
    """Faults strike as often as they should, and the same seed strikes the same requests."""
    faults = [Fault("429", 0.2), Fault("cut", 0.1)]

    def drawn(seed: int) -> list[str]:
        plan = FaultPlan(faults, (), random.Random(seed))
        return [kind.name if (kind := plan.next()) else "ok" for _ in range(10_000)]

    counted = Counter(drawn(1))
    assert counted["429"] == pytest.approx(2_000, rel=0.1)
    assert counted["cut"] == pytest.approx(1_000, rel=0.1)
    assert drawn(1) == drawn(1) != drawn(2)
