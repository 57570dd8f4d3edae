"""Every way in which a request can fail, provoked over a real socket."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import pytest
from raw_server import LOOPBACK, OK, SECRET, Connection, ask, channel, replying, serving

from batch import transport
from batch.errors import AttemptFailed, Billed

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\ngarbage"


async def _closes_at_once(connection: Connection) -> None:  # noqa: ARG001 - a behaviour of the server
    return


async def _resets_after_reading(connection: Connection) -> None:
    await connection.request()
    await connection.reset()


async def _resets_in_the_body(connection: Connection) -> None:
    await connection.request()
    await connection.send(HEAD + b"half of an answer")
    await anyio.sleep(0.02)
    await connection.reset()


async def _says_nothing(connection: Connection) -> None:
    await connection.request()
    await anyio.sleep_forever()


async def _stalls_in_the_body(connection: Connection) -> None:
    await connection.request()
    await connection.send(HEAD + b"half of an answer")
    await anyio.sleep_forever()


async def _trickles(connection: Connection) -> None:
    await connection.request()
    await connection.send(HEAD)
    for _ in range(100):
        await connection.send(b".")
        await anyio.sleep(0.02)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that a traceback would show."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _check(error: AttemptFailed, code: str, billed: Billed, address: str) -> None:
    assert (error.code, error.billed) == (code, billed)
    assert error.retryable
    assert not error.slow_down
    assert error.stops_run is None
    assert address not in f"{error} {error!r}"
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in " ".join(repr(link) for link in _chain(error))


@pytest.mark.parametrize(
    ("answering", "code"),
    [
        (_closes_at_once, "CONNECTION_LOST"),
        (replying(b""), "CONNECTION_LOST"),
        (_resets_after_reading, "CONNECTION_LOST"),
        (replying(b"HTTP/1.1 200 OK\r\nContent-Le"), "CONNECTION_LOST"),
        (replying(HEAD + b"half of an answer"), "ANSWER_CUT"),
        (replying(CHUNKED + b"20\r\nhalf of an answer"), "ANSWER_CUT"),
        (_resets_in_the_body, "ANSWER_CUT"),
        (replying(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), "PROTOCOL_ERROR"),
        (replying(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"), "PROTOCOL_ERROR"),
        (replying(CHUNKED + b"not a length\r\n{}"), "PROTOCOL_ERROR"),
        (replying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), "PROTOCOL_ERROR"),
        (replying(GZIP), "PROTOCOL_ERROR"),
        (_says_nothing, "READ_TIMEOUT"),
        (_stalls_in_the_body, "READ_TIMEOUT"),
    ],
    ids=[
        *("closed at once", "closed after the request", "reset after the request", "closed in the headers"),
        *(
            "closed in the body",
            "closed in a chunk",
            "reset in the body",
            "not HTTP",
            "no length",
            "no chunk",
        ),
        *("endless header", "not gzip", "silent", "silent in the body"),
    ],
)
async def test_what_fails_after_connecting_may_have_cost(answering: object, code: str) -> None:
    """Once a connection stands the service may have worked: no such failure says "not billed"."""
    async with serving(answering) as served:  # type: ignore[arg-type]
        with anyio.fail_after(5), pytest.raises(AttemptFailed) as failed:
            await ask(served.url, 0.2 if code == "READ_TIMEOUT" else 5.0)
        assert served.connections == 1
    _check(failed.value, code, Billed.MAYBE, served.address)


async def test_an_answer_that_trickles_is_given_up_with_its_connection() -> None:
    """Bytes that keep coming hold no row: the whole exchange is bounded, and its connection is closed."""
    async with serving(_trickles) as served, channel(served.url, bound_s=0.2) as opened:
        with anyio.fail_after(1), pytest.raises(AttemptFailed, match=r"^the answer took too long$") as failed:
            await opened.post(b"{}", {})
        with anyio.fail_after(1):
            while served.open:
                await anyio.sleep(0.01)
    _check(failed.value, "READ_TIMEOUT", Billed.MAYBE, served.address)


async def test_a_refused_connection_cost_nothing() -> None:
    """Where nobody listens, the code says so and nothing can have been billed."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        address = f"{LOOPBACK}:{bound.getsockname()[1]}"
        with pytest.raises(AttemptFailed) as failed:
            await ask(f"http://{address}/completion")
    _check(failed.value, "CONNECTION_REFUSED", Billed.NO, address)


async def test_an_unknown_host_cost_nothing() -> None:
    """A name that cannot be resolved (RFC 6761 reserves `.invalid`) has a code of its own."""
    with pytest.raises(AttemptFailed) as failed:
        await ask("http://nowhere.invalid/completion")
    _check(failed.value, "UNKNOWN_HOST", Billed.NO, "nowhere.invalid")


async def test_a_connection_that_does_not_come_about_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting has a bound of its own, and its end is not taken for a slow answer."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.1)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)  # and nobody accepts: when the queue is full, the kernel answers no more
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        address = f"{LOOPBACK}:{listener.getsockname()[1]}"
        with anyio.fail_after(5), pytest.raises(AttemptFailed) as failed:
            await ask(f"http://{address}/completion")
    _check(failed.value, "CONNECT_TIMEOUT", Billed.NO, address)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://127.1/x", f"http://{'a' * 64}.invalid/x"])
async def test_an_address_that_cannot_be_used_stops_the_run(url: str) -> None:
    """An address that is none fails before anything is sent, and asking another row is of no use."""
    with pytest.raises(AttemptFailed) as failed:
        await ask(url)
    assert (failed.value.code, failed.value.billed) == ("WRONG_ADDRESS", Billed.NO)
    assert failed.value.stops_run is not None
    assert url not in f"{failed.value} {failed.value!r}"


async def test_a_failure_leaves_the_client_usable() -> None:
    """After a broken connection the next request takes a new one."""
    answers = iter([b"HTTP/1.1 200 OK\r\nContent-Le", OK])

    async def answer(connection: Connection) -> None:
        await connection.request()
        await connection.send(next(answers))

    async with serving(answer) as served, channel(served.url) as opened:
        with pytest.raises(AttemptFailed):
            await opened.post(b"{}", {})
        assert (await opened.post(b"{}", {})).body == b'"ok"'
        assert served.connections == 2
