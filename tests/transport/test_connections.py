"""Connections between requests: kept while they last, without cookies, and through a proxy only if asked."""

from __future__ import annotations

import gzip
import socket
import traceback
from base64 import b64encode
from pathlib import Path

import anyio
import pytest
from raw_server import LOOPBACK, OK, SECRET, Answering, Connection, ask, channel, replying, serving

from batch.errors import AttemptFailed, Billed
from batch.transport import environment_proxy

pytestmark = pytest.mark.anyio
PASSWORD = "a-password-of-the-proxy"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n"


async def test_a_connection_is_used_again() -> None:
    """Requests that follow each other share one connection."""
    async with serving(replying(OK, OK, OK)) as served, channel(served.url) as opened:
        for _ in range(3):
            assert (await opened.post(b"{}", {})).body == b'"ok"'
        assert served.connections == 1


async def test_an_idle_connection_that_was_closed_is_not_used() -> None:
    """A connection that the server closed while it was idle is replaced, and nothing is lost."""
    async with serving(replying(OK)) as served, channel(served.url) as opened:
        await opened.post(b"{}", {})
        with anyio.fail_after(1):
            while served.open:
                await anyio.sleep(0.01)
        await anyio.sleep(0.02)
        assert (await opened.post(b"{}", {})).body == b'"ok"'
        assert (served.connections, len(served.requests)) == (2, 2)


async def _closes_on_the_second(connection: Connection) -> None:
    await connection.request()
    await connection.send(OK)
    await connection.request()


async def _resets_on_the_second(connection: Connection) -> None:
    await connection.request()
    await connection.send(OK)
    await connection.some()
    await connection.reset()


@pytest.mark.parametrize("answering", [_closes_on_the_second, _resets_on_the_second])
async def test_a_kept_connection_that_closes_on_the_next_request(answering: Answering) -> None:
    """A request on which a kept connection closes is lost, perhaps billed, and never sent twice unasked."""
    async with serving(answering) as served, channel(served.url) as opened:
        await opened.post(b"{}", {})
        with pytest.raises(AttemptFailed) as failed:
            await opened.post(b"{}", {})
        assert served.connections == 1
    assert (failed.value.code, failed.value.billed) == ("CONNECTION_LOST", Billed.MAYBE)
    assert failed.value.retryable


async def test_a_close_that_crosses_a_request_is_never_called_free() -> None:
    """Where the server's close and the next request cross, it is answered, or lost and doubtful."""
    outcomes = set()
    async with serving(replying(OK)) as served:
        for _ in range(30):
            async with channel(served.url) as opened:
                await opened.post(b"{}", {})
                try:
                    outcomes.add((await opened.post(b"{}", {})).http_status)
                except AttemptFailed as error:
                    outcomes.add((error.code, error.billed))
    assert outcomes
    assert outcomes <= {200, ("CONNECTION_LOST", Billed.MAYBE)}


async def test_cookies_are_not_sent_back() -> None:
    """A cookie of an answer is forgotten: rows are independent of each other."""
    cookie = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: session=1; Path=/\r\n\r\n")
    async with serving(replying(cookie, OK)) as served, channel(served.url) as opened:
        await opened.post(b"{}", {})
        await opened.post(b"{}", {})
        assert len(served.requests) == 2
        assert not any(b"cookie" in request.lower() for request in served.requests)


async def test_a_compressed_answer_is_read() -> None:
    """gzip is asked for and undone."""
    packed = gzip.compress(b'{"text": "' + b"x" * 10_000 + b'"}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with serving(replying(head + packed)) as served:
        assert (await ask(served.url)).body == gzip.decompress(packed)
        assert b"accept-encoding: gzip" in served.requests[0].lower()


@pytest.mark.parametrize(
    "location", [b"http://127.0.0.1:9/", b"http://a\x01b/", b"http://xn--a/", b"http://[", b"ftp://x/"]
)
async def test_redirects_are_not_followed(location: bytes) -> None:
    """A redirect is a reply like another, wherever it leads: a key is not carried to another host."""
    async with serving(replying(REDIRECT % location)) as served:
        assert (await ask(served.url)).http_status == 302
        assert len(served.requests) == 1


async def test_a_netrc_file_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that ~/.netrc holds for the host neither replace our credential nor clash with it."""
    (tmp_path / "netrc").write_text(f"default login somebody password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serving(replying(OK)) as served:
        await ask(served.url, use_proxies=True)
        assert f"authorization: api-key {SECRET}".encode() in served.requests[0].lower()


async def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment carries the request, and is given its own password."""
    async with serving(replying(OK)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:{PASSWORD}@{proxy.address}")
        assert (await ask("http://service.invalid/completion", use_proxies=True)).http_status == 200
        (asked,) = proxy.requests
    assert asked.startswith(b"POST http://service.invalid/completion HTTP/1.1\r\n")
    password = b64encode(f"user:{PASSWORD}".encode())
    assert b"proxy-authorization: basic " + password.lower() in asked.lower()


@pytest.mark.parametrize("hint", ["use_proxies=False", "no_proxy"])
async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch, hint: str) -> None:
    """The local emulator and the hosts of NO_PROXY are asked directly."""
    async with serving(replying(OK)) as served, serving(replying(OK)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        if hint == "no_proxy":
            monkeypatch.setenv("no_proxy", LOOPBACK)
        assert (await ask(served.url, use_proxies=hint == "no_proxy")).http_status == 200
        assert (served.connections, proxy.connections) == (1, 0)


@pytest.mark.parametrize(
    ("variable", "value", "url", "proxy"),
    [
        ("https_proxy", "http://proxy:3128", "https://service/x", "http://proxy:3128"),
        ("HTTPS_PROXY", "http://proxy:3128", "https://service/x", "http://proxy:3128"),
        ("https_proxy", "proxy:3128", "https://service/x", "http://proxy:3128"),
        ("https_proxy", "", "https://service/x", None),
        ("https_proxy", "http://proxy:3128", "http://service/x", None),
        ("http_proxy", "http://proxy:3128", "http://service:80/x", "http://proxy:3128"),
    ],
)
def test_which_proxy_an_address_has(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, url: str, proxy: str | None
) -> None:
    """The variable of the address's own scheme decides; a proxy without a scheme is an HTTP one."""
    monkeypatch.setenv(variable, value)
    assert environment_proxy(url) == proxy


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_connections(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """A proxy that is not there is named as the proxy's failure, not the service's, and costs nothing."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        monkeypatch.setenv(f"{scheme}_proxy", f"http://user:{PASSWORD}@{LOOPBACK}:{bound.getsockname()[1]}")
        with pytest.raises(AttemptFailed) as failed:
            await ask(f"{scheme}://service.invalid/completion", use_proxies=True)
    _check_proxy_failure(failed.value)


async def test_a_proxy_that_refuses_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that wants another password has opened no way to the service: nothing was billed."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with serving(replying(refusal)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:{PASSWORD}@{proxy.address}")
        with pytest.raises(AttemptFailed) as failed:
            await ask("https://service.invalid/completion", use_proxies=True)
        assert proxy.requests[0].startswith(b"CONNECT service.invalid:443 ")
        assert SECRET.encode() not in proxy.requests[0]
    _check_proxy_failure(failed.value)


def _check_proxy_failure(error: AttemptFailed) -> None:
    assert (error.code, error.billed, error.retryable) == ("PROXY_FAILURE", Billed.NO, True)
    shown = f"{error!r} " + "".join(traceback.format_exception(error)) + repr(error.__cause__)
    assert PASSWORD not in shown
    assert SECRET not in shown
