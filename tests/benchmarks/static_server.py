"""A local server that answers every POST with the same completion, as cheaply as Python can.

Run as `python tests/benchmarks/static_server.py`: prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

_BODY = (
    b'{"result":{"alternatives":[{"message":{"role":"assistant","text":"'
    + "Ваш заказ уже в пути и будет доставлен завтра. ".encode() * 4
    + b'"},"status":"ALTERNATIVE_STATUS_FINAL"}],"usage":{"inputTextTokens":"64","completionTokens":"48",'
    b'"totalTokens":"112","completionTokensDetails":{"reasoningTokens":"0"}},"modelVersion":"09.02.2025"}}'
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: benchmark\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


class StaticAnswer(asyncio.Protocol):
    """Reads requests by their Content-Length and answers each."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(_ANSWER)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(StaticAnswer, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
