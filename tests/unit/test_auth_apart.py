"""Issuers that hang, or send a byte now and then, hold nobody: not the run, not its end, not the search."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from clocks import FakeClock
from unit.issuers import issuing

from batch.auth import Look, Wanted, find, finding
from batch.auth.apart import apart
from batch.auth.metadata import Metadata
from batch.errors import CredentialsError, ServiceUnavailable

pytestmark = pytest.mark.anyio


@contextmanager
def _dripping(pause: float = 0.05) -> Iterator[str]:
    """A server whose answer has a header more every so often, and never ends."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not ended.wait(pause):
                connection.sendall(b"X-More: to come\r\n")
        except OSError:
            return  # they gave up
        finally:
            connection.close()

    def serve(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=drip, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        threads = [threading.Thread(target=serve, args=(listener,))]
        threads[0].start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            for thread in threads:
                thread.join()


async def test_what_the_work_returns_or_raises_is_passed_on() -> None:
    """A result is returned, an error raised, from a thread that the process does not wait for."""
    assert await apart(lambda: 7, 5.0, "It") == 7
    with pytest.raises(CredentialsError, match="no"):
        await apart(_refuse, 5.0, "It")
    assert await apart(lambda: threading.current_thread().daemon, 5.0, "It")


def _refuse() -> int:
    raise CredentialsError("no")


async def test_somebody_who_drips_is_given_up() -> None:
    """An issuer whose answer never ends keeps within the bounds of each step, and not within that of the whole."""
    with _dripping() as address:
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable, match=r"^IAM took too long to answer\.$"):
            await apart(Metadata(address, FakeClock()).obtain, 0.3, "IAM")
        assert time.monotonic() - began < 2


async def test_whoever_is_cancelled_waits_for_nobody() -> None:
    """The caller of work that hangs is free as soon as it is cancelled, and what the work brings later is lost."""
    go = threading.Event()
    began = time.monotonic()
    with anyio.move_on_after(0.05) as scope:
        await apart(lambda: go.wait(5), 60.0, "IAM")
    assert scope.cancelled_caught
    assert time.monotonic() - began < 2
    go.set()


def test_the_search_does_not_wait_for_one_who_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something at the metadata's address that never comes to an end is no metadata service."""
    monkeypatch.setattr(finding, "LONGEST_PROBE_S", 0.3)
    looks: list[Look] = []
    with _dripping() as address, pytest.raises(CredentialsError, match="There are no credentials"):
        find(Wanted(), {"YC_METADATA_ADDR": address, "PATH": ""}, FakeClock(), looks)
    assert looks[6].why == f"The metadata service at {address} took too long to answer."


def test_an_answer_without_an_end_is_not_read_to_it() -> None:
    """An answer of more than a mebibyte is no token's, and is not held in memory."""
    with (
        issuing(lambda _: (200, b" " * (3 << 20))) as server,
        pytest.raises(ServiceUnavailable, match="too long"),
    ):
        Metadata(server.address, FakeClock()).obtain()
