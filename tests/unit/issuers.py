"""Who issues tokens in tests: a key pair with its file, and servers in the place of IAM and the metadata."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

KEY_ID, ACCOUNT_ID = "ajekey00000000000001", "ajeaccount0000000001"
WARNING_LINE = "PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <ajekey00000000000001>\n"
NOBODY = "127.0.0.1:9"  # the discard port: nobody listens there

# What a server is told of a request (method, path, headers in lower case, body), and its status and content.
Asked = tuple[str, str, Mapping[str, str], bytes]
Answering = Callable[[Asked], tuple[int, object]]


def pair(number: int = 0) -> tuple[str, str]:
    """Return the private and the public key of a pair in PEM; another one for each number."""
    return _made(number)


@cache
def _made(number: int) -> tuple[str, str]:
    del number
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def key_fields(number: int = 0) -> dict[str, object]:
    """Return the fields of a key file as `yc iam key create` writes them; of another key for each number."""
    private, public = pair(number)
    return {
        "id": KEY_ID if not number else f"ajenew{number:014}",
        "service_account_id": ACCOUNT_ID,
        "created_at": "2026-01-01T00:00:00.123456789Z",
        "key_algorithm": "RSA_2048",
        "public_key": public,
        "private_key": WARNING_LINE + private,
    }


def write_key(path: Path, fields: Mapping[str, object] | None = None, mode: int = 0o600) -> Path:
    """Write a key file."""
    path.write_text(json.dumps(key_fields() if fields is None else fields, indent=3))
    path.chmod(mode)
    return path


class Server:
    """A server that is running; `asked` holds what it was asked."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.asked: list[Asked] = []


@contextmanager
def issuing(answer: Answering) -> Iterator[Server]:
    """Serve on the loopback interface; a content that is bytes is sent as it is, anything else as JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = (self.command, self.path, headers, body)
            server.asked.append(asked)
            status, content = answer(asked)
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST  # noqa: N815 - the standard library's name

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(http.server_address[1])
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def jwt_of(asked: Asked) -> str:
    """Return the JWT that a request to IAM holds."""
    return str(json.loads(asked[3])["jwt"])


def write_yc(folder: Path, script: str) -> str:
    """Write a program `yc` and return the PATH that holds it."""
    folder.mkdir(exist_ok=True)
    program = folder / "yc"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"
