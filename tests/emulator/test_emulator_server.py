"""Serving: starting, stopping, refusing and accepting again, on the loopback interface only."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from batch.emulator import Config, Latency, Running, background, serve

COMPLETION = "/foundationModels/v1/completion"
Body = Callable[..., dict[str, object]]
Serving = Callable[..., tuple[Running, httpx.Client]]

PROGRAM = """
from batch.emulator import Config, serve
serve(Config(), port=0, announce=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


def test_background_starts_and_stops_quickly() -> None:
    """An emulator is there within a second, leaves no thread, and its port is free again."""
    threads = threading.active_count()
    begun = time.monotonic()
    with background() as running:
        assert httpx.get(f"{running.base_url}/emulator/totals", trust_env=False).json()["requests"] == 0
    assert time.monotonic() - begun < 2
    assert threading.active_count() == threads
    with pytest.raises(httpx.ConnectError):
        httpx.get(running.base_url, trust_env=False)
    port = int(running.base_url.rsplit(":", 1)[1])
    with background(port=port) as again:
        assert again.base_url == running.base_url


def test_stopping_does_not_wait_for_generations(body: Body) -> None:
    """A generation that would last for hours is abandoned, unbilled, when the block ends."""
    failures: list[Exception] = []

    def ask(url: str) -> None:
        try:
            httpx.post(url + COMPLETION, json=body(), headers={"authorization": "Api-Key x"}, trust_env=False)
        except httpx.HTTPError as error:
            failures.append(error)

    begun = time.monotonic()
    with background(Config(latency=Latency.parse("fixed:10000"))) as running:
        asking = threading.Thread(target=ask, args=(running.base_url,))
        asking.start()
        while running.emulator.totals()["max_concurrent"] == 0 and time.monotonic() - begun < 5:
            time.sleep(0.005)
    asking.join(5)
    assert time.monotonic() - begun < 5
    assert len(failures) == 1
    assert running.ledger.totals().requests == 0


def test_refusing_and_accepting_again(serving: Serving, body: Body) -> None:
    """Refusing breaks open connections and refuses new ones; accepting serves on the same port."""
    running, client = serving()
    assert client.post(COMPLETION, json=body()).status_code == 200
    running.refuse()
    with pytest.raises(httpx.TransportError):
        client.post(COMPLETION, json=body())
    with pytest.raises(httpx.ConnectError):
        client.post(COMPLETION, json=body())
    running.accept()
    assert client.post(COMPLETION, json=body()).status_code == 200
    assert running.ledger.totals().requests == 2


def test_speed_runs_the_clock_faster(serving: Serving, body: Body) -> None:
    """At speed 1,000 a generation of a minute takes a moment."""
    running, client = serving(Config(latency=Latency.parse("fixed:60"), speed=1_000))
    begun = time.monotonic()
    client.post(COMPLETION, json=body())
    client.post(COMPLETION, json=body())
    assert time.monotonic() - begun < 5
    first, second = running.ledger.entries()
    assert second.time - first.time >= 60


def test_connections_are_kept_alive(serving: Serving, body: Body) -> None:
    """Requests one after another use one connection, also after an error and a stream."""
    running, client = serving(Config(script=("ok", "503", "ok")))
    for options in ({}, {}, {"stream": True}, {}):
        client.post(COMPLETION, json=body(completionOptions=options))
    assert len(running.emulator.connections._links) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.com", "::"])
def test_only_the_loopback_interface_is_served(host: str) -> None:
    """Any other host is refused before anything listens."""
    with pytest.raises(ValueError, match="loopback"):
        serve(Config(), host=host, announce=[].append)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_quietly_on_a_signal(body: Body, number: signal.Signals) -> None:
    """A served emulator announces its address when it listens, and ends with a signal without noise."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            headers = {"authorization": "Api-Key x"}
            answer = httpx.post(url + COMPLETION, json=body(), headers=headers, trust_env=False)
            assert answer.status_code == 200
            process.send_signal(number)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "ended\n", "")
