"""Serves an emulator on the loopback interface: in the background of a test, or in front.

The only module that knows uvicorn. Its protocol enters every connection in the emulator's
`Connections`, so that faults can break them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import struct
from collections.abc import Callable, Iterator

import anyio
import anyio.lowlevel
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from uvicorn.protocols.http.h11_impl import H11Protocol

from batch.emulator.app import Emulator
from batch.emulator.clocks import Clock, SpedUp
from batch.emulator.config import Config
from batch.emulator.connections import Connections
from batch.emulator.ledger import Ledger

LOOPBACK = "127.0.0.1"
BACKLOG = 4_096


class Running:
    """An emulator that is being served in a thread of its own.

    Attributes:
        base_url: for example "http://127.0.0.1:40123".
        emulator: the application; see its attributes for what may be set while it runs.
    """

    def __init__(self, emulator: Emulator, server: Server, portal: BlockingPortal, port: int) -> None:
        """Keep what is served, and the way into its thread."""
        self.base_url = f"http://{LOOPBACK}:{port}"
        self.emulator = emulator
        self._server = server
        self._portal = portal
        self._port = port

    @property
    def ledger(self) -> Ledger:
        """What was billed."""
        return self.emulator.ledger

    def refuse(self) -> None:
        """Refuse new connections and reset the open ones, as if the service had gone."""
        self._portal.call(self._server.refuse)

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._portal.call(self._server.listen, _bound(LOOPBACK, self._port))


class Server(uvicorn.Server):
    """uvicorn without signals, ticks and graceful waits: opened and shut by its owner."""

    def __init__(self, emulator: Emulator) -> None:
        """Configure uvicorn for an emulator."""
        self._connections = emulator.connections
        emulator.connections.serving = True
        super().__init__(
            uvicorn.Config(
                emulator,
                loop="asyncio",
                http=_protocol(emulator.connections),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=max(1, round(emulator.config.keep_alive_seconds)),
            )
        )
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)

    async def listen(self, bound: socket.socket) -> None:
        """Accept connections on a bound socket, which the server closes in the end."""
        await self.startup(sockets=[bound])

    async def refuse(self) -> None:
        """Close what listens and reset every connection."""
        for listener in self.servers:
            listener.close()
        self._connections.reset_all()
        await anyio.lowlevel.checkpoint()

    async def stop(self) -> None:
        """Refuse, and end the requests that are still being answered."""
        await self.refuse()
        for task in list(self.server_state.tasks):
            task.cancel()
        with anyio.move_on_after(5):
            while self.server_state.tasks or self.server_state.connections:
                await anyio.sleep(0)


@contextlib.contextmanager
def background(config: Config | None = None, *, port: int = 0, clock: Clock | None = None) -> Iterator[Running]:
    """Serve an emulator on 127.0.0.1 from a daemon thread, for as long as the block lasts.

    At its end connections are reset, generations and operations in progress are abandoned; the
    ledger stays readable.

    Args:
        config: its behaviour.
        port: 0 takes a free one.
        clock: what delays, quotas, operations and tokens follow, which may be the very clock of its
            client; without, the machine's, `config.speed` times as fast.
    """
    # Bound but never listening, it keeps the port ours while the emulator refuses connections.
    with _bound(LOOPBACK, port) as reserved:
        number = reserved.getsockname()[1]
        emulator = _emulator(config or Config(), clock)
        server = Server(emulator)
        with start_blocking_portal(name="emulator") as portal:
            portal.call(server.listen, _bound(LOOPBACK, number))
            try:
                yield Running(emulator, server, portal, number)
            finally:
                portal.call(server.stop)
                emulator.close()


def serve(
    config: Config | None = None,
    host: str = LOOPBACK,
    port: int = 8080,
    *,
    announce: Callable[[str], None],
) -> None:
    """Serve an emulator until SIGINT or SIGTERM; for the main thread of a program.

    Args:
        config: its behaviour.
        host: an address of the loopback interface.
        port: 0 takes a free one.
        announce: is called with the base URL once connections are accepted.

    Raises:
        ValueError: the host is not on the loopback interface.
        OSError: the port is taken, or the ledger's file cannot be written.
    """
    address = _loopback(host)
    emulator = _emulator(config or Config())
    bound = _bound(address, port)
    number = bound.getsockname()[1]
    server = Server(emulator)

    async def until_told() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await server.listen(bound)
            announce(f"http://[{address}]:{number}" if ":" in address else f"http://{address}:{number}")
            async for _ in signals:
                break
            await server.stop()

    try:
        anyio.run(until_told)
    finally:
        emulator.close()


class _Transport:
    """A connection of asyncio's, as a `Link`."""

    def __init__(self, protocol: H11Protocol) -> None:
        self._transport = protocol.transport

    def reset(self) -> None:
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            # Lingering for no time makes the kernel send a reset instead of an orderly end.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def closing(self) -> bool:
        return self._transport.is_closing()


def _protocol(connections: Connections) -> type[H11Protocol]:
    """The HTTP protocol of one emulator's server."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: object) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            if self.client is not None:
                connections.attach(self.client, _Transport(self))

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                connections.detach(self.client)
            super().connection_lost(exc)

    return Protocol


def _emulator(config: Config, clock: Clock | None = None) -> Emulator:
    """An emulator of a clock, or of one that runs `config.speed` times as fast as a real one."""
    clock = clock or SpedUp(config.speed)
    return Emulator(config, time=clock.monotonic, sleep=clock.sleep, wall=clock.time)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named since asyncio switches Nagle's delay off only for sockets that name it.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _loopback(host: str) -> str:
    """The address to bind; names other than localhost are not looked up."""
    if host == "localhost":
        return LOOPBACK
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"the emulator serves the loopback interface only, and {host!r} is not on it")
    return host
