"""A small HTTP server that remembers what it was told, for tests of notifications and of proxies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Told:
    """One request: method, target as it stood in the request line, body and the kind of it."""

    method: str
    target: str
    body: str
    kind: str

    def json(self) -> dict[str, object]:
        return json.loads(self.body)


@dataclass(slots=True)
class Listener:
    """Answers with `statuses` in turn, the last one for ever; `delay_s` goes before each, `drip` never ends."""

    statuses: Sequence[int] = (200,)
    delay_s: float = 0.0
    drip: bool = False
    location: str = ""
    told: list[Told] = field(default_factory=list)
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def targets(self) -> list[str]:
        return [item.target for item in self.told]


@contextmanager
def listening(**how: object) -> Iterator[Listener]:
    """Serve on loopback until the end."""
    listener = Listener(**how)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            number = len(listener.told)
            listener.told.append(Told(self.command, self.path, body, self.headers.get("Content-Type", "")))
            listener.closing.wait(listener.delay_s)
            try:
                self.send_response(listener.statuses[min(number, len(listener.statuses) - 1)])
                if listener.location:
                    self.send_header("Location", listener.location)
                if not listener.drip:
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"OK")
                while listener.drip and not listener.closing.wait(0.02):
                    self.wfile.write(b"X-Drip: 1\r\n")
            except OSError:
                pass  # the other side has gone

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listener.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def nobody() -> str:
    """Return an address at which nobody listens."""
    with listening() as listener:
        return listener.url
