"""The channel: what of a reply is passed on, and what is taken out of it."""

from __future__ import annotations

import pytest
from raw_server import BODY, SECRET, ask, channel, replying, serving

from batch.auth import REMOVED
from batch.providers.failures import failure

pytestmark = pytest.mark.anyio


def _reply(status: str, headers: str = "", body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("Retry-After: 2\r\n", 2.0),
        ("Retry-After: 0\r\n", 0.0),
        ("retry-after: 1.5\r\n", 1.5),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None),
        ("Retry-After: -1\r\n", None),
        ("Retry-After: soon\r\n", None),
        ("Retry-After: \r\n", None),
        ("Retry-After: inf\r\n", None),
        ("Retry-After: nan\r\n", None),
        ("Retry-After: 86399\r\n", 86399.0),
    ],
)
async def test_retry_after(header: str, seconds: float | None) -> None:
    """Seconds are passed on; a date, a nonsense and a negative number are as if nothing had been said."""
    async with serving(replying(_reply("429 Too Many Requests", header))) as served:
        reply = await ask(served.url)
    assert (reply.http_status, reply.retry_after) == (429, seconds)
    assert failure(reply).retry_after == seconds


@pytest.mark.parametrize(("header", "name"), [("X-Request-Id: 959ab37f\r\n", "959ab37f"), ("", None)])
async def test_the_servers_name_for_a_request(header: str, name: str | None) -> None:
    """The id under which support can find a request is kept where the server states one."""
    async with serving(replying(_reply("200 OK", header, b"{}"))) as served:
        assert (await ask(served.url)).server_request_id == name


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"grpcCode":16,"message":"Unknown api key \'%b\'"}}',
        b"<html>%b and %b</html>",
        b"%b",
    ],
)
@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Internal Server Error", "302 Found"])
async def test_an_echoed_secret_is_taken_out(body: bytes, status: str) -> None:
    """A secret that a refusal repeats is nowhere in the reply, and so in no journal, output or message."""
    echoed = body.replace(b"%b", SECRET.encode())
    async with serving(replying(_reply(status, body=echoed))) as served:
        reply = await ask(served.url)
    assert reply.body == body.replace(b"%b", REMOVED.encode())
    assert SECRET not in f"{failure(reply)} {failure(reply)!r} {reply!r}"


async def test_an_answer_is_kept_byte_for_byte() -> None:
    """An answer is journaled exactly as it came, also where it is not UTF-8."""
    body = b'\r\n {"text": "\xd0\xbf\xff"}\n'
    async with serving(replying(_reply("200 OK", body=body))) as server:
        reply = await ask(server.url)
    assert reply.body == body


async def test_a_secret_inside_an_answer_is_taken_out() -> None:
    """A key that the service echoes in a body of status 200 does not reach the journal either."""
    body = b'{"error": {"code": 16, "message": "Unknown api key ' + SECRET.encode() + b'"}}'
    async with serving(replying(_reply("200 OK", body=body))) as server:
        reply = await ask(server.url)
    assert SECRET.encode() not in reply.body


async def test_the_body_leaves_byte_for_byte() -> None:
    """What was encoded is what is sent, with the length that it has, by POST."""
    async with serving(replying(_reply("200 OK"))) as served, channel(served.url) as opened:
        await opened.post(BODY, {"x-mine": "1"})
        (sent,) = served.requests
    assert sent.startswith(b"POST /completion HTTP/1.1\r\n")
    assert sent.endswith(b"\r\n\r\n" + BODY)
    assert b"x-mine: 1" in sent.lower()
    assert b"transfer-encoding" not in sent.lower()
