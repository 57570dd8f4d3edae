"""Certificates: what is not trusted is not asked, and costs nothing."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from raw_server import OK, Connection, ask, replying, serving

from batch import transport
from batch.errors import AttemptFailed, Billed

pytestmark = pytest.mark.anyio
Certificate = Callable[[str], tuple[Path, ssl.SSLContext]]


@pytest.mark.parametrize(
    ("names", "trusted"),
    [("IP:127.0.0.1", False), ("DNS:somebody.else.invalid", True)],
    ids=["signed by nobody", "for another name"],
)
async def test_a_certificate_that_is_not_trusted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, names: str, trusted: bool
) -> None:
    """A certificate of nobody's, or of another host's, ends the attempt before the request is sent."""
    file, context = certificate(names)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with serving(replying(OK), context) as served:
        with pytest.raises(AttemptFailed) as failed:
            await ask(served.url)
        assert served.requests == []
    assert (failed.value.code, failed.value.billed) == ("TLS_FAILURE", Billed.NO)
    assert failed.value.retryable
    assert served.address not in f"{failed.value} {failed.value!r}"


async def test_a_certificate_that_the_environment_trusts(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE adds a company's certificate, and over TLS the answer arrives whole."""
    file, context = certificate("IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with serving(replying(OK), context) as served:
        assert (await ask(served.url)).body == b'"ok"'


async def test_a_server_without_tls() -> None:
    """https to a port that speaks something else is a failure of TLS and costs nothing."""

    async def answer(connection: Connection) -> None:
        await connection.some()
        await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with serving(answer) as served:
        with pytest.raises(AttemptFailed) as failed:
            await ask(served.url.replace("http:", "https:"))
    assert (failed.value.code, failed.value.billed) == ("TLS_FAILURE", Billed.NO)


async def test_a_handshake_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and then keeps silent through the handshake is a connection that timed out."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.1)

    async def answer(connection: Connection) -> None:
        await connection.some()
        await anyio.sleep_forever()

    async with serving(answer) as served:
        with anyio.fail_after(5), pytest.raises(AttemptFailed) as failed:
            await ask(served.url.replace("http:", "https:"))
    assert (failed.value.code, failed.value.billed) == ("CONNECT_TIMEOUT", Billed.NO)
