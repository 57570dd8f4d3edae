"""A server of raw sockets on the loopback interface, which can do what no proper server does."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.abc import AnyByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from batch.auth import Credentials
from batch.providers.base import Channel
from batch.records import Reply
from batch.transport import open_client

LOOPBACK = "127.0.0.1"
SECRET = "a-key-that-nobody-may-see"
CREDENTIALS = Credentials("API key", "test", SECRET)
BODY = b'{"question":"?"}'
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"ok"'
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Connection:
    """One connection as the server sees it; `number` counts the server's connections from 1."""

    def __init__(self, stream: AnyByteStream, number: int, seen: list[bytes]) -> None:
        self.number = number
        self._stream = stream
        self._seen = seen
        self._waiting = b""

    async def request(self) -> bytes:
        """Read one whole request and note it."""
        while b"\r\n\r\n" not in self._waiting:
            self._waiting += await self._stream.receive()
        head, _, body = self._waiting.partition(b"\r\n\r\n")
        while len(body) < _length(head):
            body += await self._stream.receive()
        self._waiting = body[_length(head) :]
        self._seen.append(head + b"\r\n\r\n" + body[: _length(head)])
        return self._seen[-1]

    async def some(self) -> bytes:
        """Read what arrives next, HTTP or not."""
        return await self._stream.receive()

    async def send(self, content: bytes) -> None:
        """Write bytes."""
        await self._stream.send(content)

    async def reset(self) -> None:
        """Break the connection: lingering for no time makes the kernel send a reset."""
        raw = self._stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(self._stream)


def _length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return next((int(value) for name, _, value in fields if name.lower() == b"content-length"), 0)


Answering = Callable[[Connection], Awaitable[None]]


class Served:
    """A server that is running: its address, what it has read, and how its connections went."""

    def __init__(self, port: int, scheme: str) -> None:
        self.address = f"{LOOPBACK}:{port}"
        self.url = f"{scheme}://{self.address}/completion"
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0


@asynccontextmanager
async def serving(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Serve in the test's own event loop; a connection is closed when `answering` returns."""
    listener = await anyio.create_tcp_listener(local_host=LOOPBACK)
    served = Served(listener.extra(SocketAttribute.local_port), "https" if tls else "http")

    async def answer(stream: AnyByteStream) -> None:
        served.connections += 1
        served.open += 1
        try:
            async with stream:
                with suppress(*_GONE):
                    await answering(Connection(stream, served.connections, served.requests))
        finally:
            served.open -= 1

    encrypted = TLSListener(listener, tls, standard_compatible=False) if tls else listener
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(encrypted.serve, answer)
        yield served
        tasks.cancel_scope.cancel()


def replying(*replies: bytes) -> Answering:
    """Answer the requests of each connection with these bytes, one after the other, then close."""

    async def answer(connection: Connection) -> None:
        for reply in replies:
            await connection.request()
            await connection.send(reply)

    return answer


@dataclass(frozen=True, slots=True)
class Posting:
    """A channel that posts to one address."""

    channel: Channel
    url: str

    async def post(self, body: bytes, headers: dict[str, str]) -> Reply:
        """Post a body there."""
        return await self.channel.post(self.url, body, headers)


@asynccontextmanager
async def channel(
    url: str, timeout_s: float = 5.0, *, bound_s: float = 5.0, use_proxies: bool = False
) -> AsyncIterator[Posting]:
    """Open a client, which waits `timeout_s` for each byte, and a channel, which waits `bound_s` in all."""
    auth = CREDENTIALS.auth(None)
    async with open_client(url, timeout_s, auth, use_proxies=use_proxies) as client:
        yield Posting(Channel(client, CREDENTIALS.redact, bound_s), url)


async def ask(url: str, timeout_s: float = 5.0, *, use_proxies: bool = False) -> Reply:
    """Post one body to an address."""
    async with channel(url, timeout_s, use_proxies=use_proxies) as opened:
        return await opened.post(BODY, {})
