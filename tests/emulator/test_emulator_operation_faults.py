"""What goes wrong with operations: on submitting, on reading, and inside them."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from batch.emulator import FAULTS, OPERATION_FAULTS, ROUTES, Config, Fault, Latency, Running, background
from batch.emulator.clocks import SpedUp

API = "/foundationModels/v1"
COMPLETION, ASYNC = f"{API}/completion", f"{API}/completionAsync"
Body = Callable[..., dict[str, object]]
Serving = Callable[..., tuple[Running, httpx.Client]]
BROKEN = ("drop-before", "drop-after", "cut", "stall")
AT_ONCE = Latency.parse("0")


def answered(client: httpx.Client, body: dict[str, object], path: str = ASYNC) -> httpx.Response | None:
    """The answer to a submission; None where the connection broke."""
    try:
        return client.post(path, json=body)
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return None


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_strikes_before_or_after_acceptance(serving: Serving, body: Body, kind: str) -> None:
    """A fault that bills accepts the operation, which then runs and is billed though nobody knows of it."""
    config = Config(scripts={"completionAsync": (kind, "ok")}, operation_latency=AT_ONCE, stall_seconds=0.05)
    running, client = serving(config)
    assert (answered(client, body()) is None) == (kind in BROKEN)
    assert running.ledger.activity().submissions == FAULTS[kind].billed
    mine = client.post(ASYNC, json=body()).json()["id"]
    assert client.get(f"/operations/{mine}").json()["done"]
    assert [entry.delivered for entry in running.ledger.entries()] == [False] * FAULTS[kind].billed + [True]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_strikes_a_reading(serving: Serving, body: Body, kind: str) -> None:
    """A reading that goes wrong, in whichever way, leaves the operation as it is for the next one."""
    config = Config(scripts={"operations": (kind,)}, operation_latency=AT_ONCE, stall_seconds=0.05)
    running, client = serving(config)
    mine = client.post(ASYNC, json=body()).json()["id"]
    if kind in BROKEN:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            client.get(f"/operations/{mine}")
    else:
        assert client.get(f"/operations/{mine}").content != client.get(f"/operations/{mine}").content
    assert client.get(f"/operations/{mine}").json()["response"]
    assert running.ledger.totals().requests == 1


NO_ERROR = -1
OUTCOMES = {
    "operation-failed": (13, False, 0),
    "operation-exhausted": (8, False, 0),
    "operation-invalid": (3, False, 0),
    "operation-failed-response": (13, True, 0),
    "operation-ok-error": (0, True, 1),
    "operation-empty": (NO_ERROR, False, 1),
    "operation-expired": (None, False, 1),
}


def test_every_outcome_is_tested() -> None:
    """The table of this file names all outcomes of operations."""
    assert sorted(OUTCOMES) == sorted(OPERATION_FAULTS)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_operation_ends_as_its_fault_says(serving: Serving, body: Body, kind: str) -> None:
    """It is accepted as if nothing were wrong, and shows its error, its response, or nothing when it is done."""
    code, response, billed = OUTCOMES[kind]
    config = Config(scripts={"completionAsync": (kind,)}, operation_delays=(50.0,), speed=1000)
    running, client = serving(config)
    accepted = client.post(ASYNC, json=body())
    assert (accepted.status_code, accepted.json()["done"]) == (200, False)
    path = f"/operations/{accepted.json()['id']}"
    while (answer := client.get(path)).status_code == 200 and not answer.json()["done"]:
        pass
    if code is None:
        assert (answer.status_code, answer.json()["code"]) == (404, 5)
        assert [entry.delivered for entry in running.ledger.entries()] == [False]
    else:
        error = answer.json().get("error", {"code": NO_ERROR, "details": []})
        assert (error["code"], error["details"]) == (code, [])
        assert ("response" in answer.json()) is response
    assert running.ledger.totals().requests == billed


def test_a_fault_names_its_routes(serving: Serving, body: Body) -> None:
    """A fault strikes the routes that it names and no other; without a name, completions."""
    faults = (Fault("500", 1.0), Fault.parse("503=1@completionAsync,operations"))
    _, client = serving(Config(faults=faults))
    assert client.post(COMPLETION, json=body()).status_code == 500
    assert client.post(ASYNC, json=body()).status_code == 503
    assert client.get("/operations/any").status_code == 503
    assert client.get("/operations/any:cancel").status_code == 404
    tokenized = client.post(f"{API}/tokenizeCompletion", json=body())
    assert tokenized.status_code == 200


def test_operation_faults_are_read_and_strike_by_chance(serving: Serving, body: Body) -> None:
    """The outcomes of operations need no route, and may be set while the emulator runs."""
    running, client = serving(Config(operation_latency=AT_ONCE))
    running.emulator.faults = (Fault.parse("operation-failed=1"),)
    mine = client.post(ASYNC, json=body()).json()["id"]
    assert client.get(f"/operations/{mine}").json()["error"]["code"] == 13
    assert client.post(COMPLETION, json=body()).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("503=0.1@nowhere", "no route 'nowhere'; there are: completion, completionAsync"),
        ("503=0.1@", "no route ''"),
        ("operation-failed=0.1@operations", "strikes completionAsync only"),
        ("503=@completion", "KIND=PROBABILITY@ROUTE"),
    ],
)
def test_a_wrong_route_is_told(text: str, words: str) -> None:
    """The error says which routes there are, or which one a fault can strike."""
    with pytest.raises(ValueError, match=words):
        Fault.parse(text)


def test_a_script_for_a_wrong_route_is_refused() -> None:
    """Scripts are checked when they are written down, like faults; each route has probabilities of its own."""
    with pytest.raises(ValueError, match="no route 'poll'"):
        Config(scripts={"poll": ()})
    with pytest.raises(ValueError, match="strikes completionAsync only"):
        Config(script=("operation-failed",))
    with pytest.raises(ValueError, match="operation_queue_share"):
        Config(operation_queue_share=1.5)
    with pytest.raises(ValueError, match="keep_operations_s"):
        Config(keep_operations_s=0)
    with pytest.raises(ValueError, match="operation_delays"):
        Config(operation_delays=(-1.0,))


def test_a_refusal_names_the_quota_of_its_route(serving: Serving, body: Body) -> None:
    """A 429 that strikes by chance has the words of the quota that guards its route."""
    faults = tuple(Fault("429", 1.0, (route,)) for route in ROUTES)
    _, client = serving(Config(faults=faults))
    assert "CompletionSessionsCount" in client.post(COMPLETION, json=body()).text
    assert "AsyncCompletionRequestsPerSecond" in client.post(ASYNC, json=body()).text
    assert "AsyncCompletionOperationRequests" in client.get("/operations/any").text
    assert "TokenizeRequestsPerSecond" in client.post(f"{API}/tokenizeCompletion", json=body()).text


def test_an_outage_strikes_operations_too(serving: Serving, body: Body) -> None:
    """During an outage nothing is accepted and nothing read; what was accepted goes on."""
    running, client = serving(Config(operation_latency=AT_ONCE))
    mine = client.post(ASYNC, json=body()).json()["id"]
    running.emulator.outage = "503"
    assert client.post(ASYNC, json=body()).status_code == 503
    assert client.get(f"/operations/{mine}").status_code == 503
    running.emulator.outage = None
    assert client.get(f"/operations/{mine}").json()["done"]
    assert running.ledger.activity().submissions == 1


def test_everything_follows_the_clock_that_is_given(body: Body) -> None:
    """A clock of the client's own may be the emulator's: the hours of both are the same."""

    class Stepped(SpedUp):
        later = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.later

    clock = Stepped()
    with background(Config(), clock=clock) as running:
        headers = {"authorization": "Api-Key x"}
        with httpx.Client(base_url=running.base_url, headers=headers, trust_env=False) as client:
            mine = client.post(ASYNC, json=body()).json()["id"]
            assert not client.get(f"/operations/{mine}").json()["done"]
            clock.later = 5.0
            assert client.get(f"/operations/{mine}").json()["done"]
            clock.later = 4 * 86_400.0
            assert client.get(f"/operations/{mine}").status_code == 404
