"""The open connections by the client's address, and the responses that break them.

ASGI has no way to break a connection, so the server enters each one here and a response
finds its own by the address in its scope. Without a server (an application that is called
in process) breaking a connection raises `Dropped`. Knows nothing of uvicorn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: What the totals call a request that was answered with no status at all.
ABORTED_STATUS = 0


class Dropped(ConnectionError):
    """The emulator dropped a connection that has no socket: it was called in process."""


class Link(Protocol):
    """One connection, as its server sees it."""

    def reset(self) -> None:
        """Break it at once; the client sees a reset."""

    def close(self) -> None:
        """End it after what was written; the client sees an end of file."""

    def closing(self) -> bool:
        """Whether it is over, or nearly so."""


class Connections:
    """The links by the client's (host, port). Belongs to the server's event loop.

    `serving` says that a server enters its connections here.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.serving = False
        self._links: dict[tuple[str, int], Link] = {}

    def attach(self, address: tuple[str, int], link: Link) -> None:
        """Enter a connection that was made."""
        self._links[address] = link

    def detach(self, address: tuple[str, int]) -> None:
        """Forget a connection that was lost."""
        self._links.pop(address, None)

    def find(self, scope: Scope) -> Link | None:
        """The connection of a request; None where no server entered it."""
        client = scope.get("client")
        return None if client is None else self._links.get(tuple(client))

    def listens(self, scope: Scope) -> bool:
        """Whether the client is still there; a request in process is taken to be."""
        link = self.find(scope)
        return not self.serving or (link is not None and not link.closing())

    def reset_all(self) -> None:
        """Break every connection."""
        for link in list(self._links.values()):
            link.reset()


class Reset(Response):
    """Breaks the connection before any byte of an answer."""

    def __init__(self, connections: Connections) -> None:
        """Keep what finds the connection."""
        super().__init__()
        self.status_code = ABORTED_STATUS
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Answer with a reset."""
        link = self._connections.find(scope)
        if link is None:
            raise Dropped("the emulator dropped the connection before an answer")
        link.reset()
        await gone(receive)


class Stall(Reset):
    """Says nothing for some seconds, or until the client hangs up; then breaks the connection."""

    def __init__(
        self, connections: Connections, seconds: float, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Keep how long to be silent."""
        super().__init__(connections)
        self._seconds = seconds
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with silence."""
        async with anyio.create_task_group() as tasks:

            async def wait_for_the_client() -> None:
                await gone(receive)
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait_for_the_client)
            await self._sleep(self._seconds)
            tasks.cancel_scope.cancel()
        await super().__call__(scope, receive, send)


class Cut(Response):
    """Announces the whole length, sends half of the body and ends the connection."""

    def __init__(self, connections: Connections, content: bytes, headers: dict[str, str]) -> None:
        """Keep the body that will not arrive whole."""
        super().__init__(content, headers=headers, media_type="application/json")
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with half an answer."""
        body = bytes(self.body)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        link = self._connections.find(scope)
        if link is None:
            raise Dropped("the emulator dropped the connection in the middle of an answer")
        link.close()
        await gone(receive)


class Frames(Response):
    """Sends JSON line by line, with no length announced."""

    def __init__(self, frames: Iterable[bytes], headers: dict[str, str]) -> None:
        """Keep the lines, each with its line end."""
        super().__init__(headers=headers, media_type="application/json")
        del self.headers["content-length"]
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Answer with one chunk per frame."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for frame in self._frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def gone(receive: Receive) -> None:
    """Wait until the connection is lost; returning earlier would make the server answer for us."""
    while (await receive())["type"] != "http.disconnect":
        pass
