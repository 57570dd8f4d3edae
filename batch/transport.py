"""The wire beneath `httpx.AsyncClient`: aiohttp's connections, and what each way of failing may have cost.

`httpx-aiohttp` carries the requests (httpx's own pool is 25 times slower at 64 connections), but it raises
`httpx.ConnectTimeout` alike for a refused connection and for one that was dropped after the request had
arrived. The first is surely not billed, the second may be. So the translation is ours: by aiohttp's class, in
this one place.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from batch.errors import AttemptFailed, Billed, ExitCode

CONNECT_TIMEOUT_S = 10.0
# Shorter than the 30 to 75 s after which servers and balancers close idle connections: a request that meets
# a closing connection is lost without anybody knowing whether it was read.
KEEP_ALIVE_S = 15.0

# By aiohttp's class, the most special first: our code, a sentence, and what it may have cost.
_NOT_BILLED, _MAYBE = Billed.NO, Billed.MAYBE
TRANSLATIONS: tuple[tuple[type[BaseException], str, str, Billed], ...] = (
    (aiohttp.ClientConnectorDNSError, "UNKNOWN_HOST", "the host's name cannot be resolved", _NOT_BILLED),
    (aiohttp.ClientConnectorCertificateError, "TLS_FAILURE", "the certificate is not valid", _NOT_BILLED),
    (aiohttp.ClientSSLError, "TLS_FAILURE", "no secure connection can be made", _NOT_BILLED),
    (aiohttp.ServerFingerprintMismatch, "TLS_FAILURE", "the certificate is another one", _NOT_BILLED),
    (aiohttp.ClientProxyConnectionError, "PROXY_FAILURE", "the proxy cannot be reached", _NOT_BILLED),
    (aiohttp.ClientHttpProxyError, "PROXY_FAILURE", "the proxy refused the connection", _NOT_BILLED),
    (aiohttp.ClientConnectorError, "CONNECT_FAILED", "the service cannot be reached", _NOT_BILLED),
    (aiohttp.ConnectionTimeoutError, "CONNECT_TIMEOUT", "the connection took too long", _NOT_BILLED),
    (aiohttp.ServerTimeoutError, "READ_TIMEOUT", "the answer took too long", _MAYBE),
    (aiohttp.ClientPayloadError, "ANSWER_CUT", "the connection broke in the middle of the answer", _MAYBE),
    (aiohttp.ClientConnectionError, "CONNECTION_LOST", "the connection broke before the answer", _MAYBE),
    (aiohttp.ClientResponseError, "PROTOCOL_ERROR", "the answer is not HTTP", _MAYBE),
    (aiohttp.ClientError, "PROTOCOL_ERROR", "the exchange failed", _MAYBE),
    (TimeoutError, "READ_TIMEOUT", "the answer took too long", _MAYBE),
    (OSError, "CONNECTION_LOST", "the connection broke before the answer", _MAYBE),
)
_WRONG_ADDRESS = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


def translate(error: BaseException) -> AttemptFailed | None:
    """Return what an exception of the wire means for the attempt; None for one that is no failure of it.

    The sentence carries no text of the exception: it may hold the address, and whatever stands in that.
    """
    if isinstance(error, _WRONG_ADDRESS):
        return AttemptFailed(
            "the service's address cannot be used",
            code="WRONG_ADDRESS",
            retryable=True,
            stops_run=ExitCode.USAGE,
        )
    for kind, code, sentence, billed in TRANSLATIONS:
        if isinstance(error, kind):
            if isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
                code, sentence = "CONNECTION_REFUSED", "the service refuses connections"
            return AttemptFailed(sentence, code=code, retryable=True, billed=billed)
    return None


def _raise_ours(error: Exception) -> None:
    """Raise the translation of an exception, which httpx's wrapper may hide as its cause."""
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) else None
    ours = translate(cause or error)
    if ours is not None:
        raise ours from error


class Transport(AiohttpTransport):
    """`httpx-aiohttp`'s transport over one session of ours, raising `AttemptFailed`.

    Connections are not bounded here: how many requests run at once is the limits' business.
    """

    def __init__(self, context: ssl.SSLContext, *, use_proxies: bool) -> None:
        super().__init__(verify=context, client=lambda: _session(context, use_proxies=use_proxies))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body still to be read."""
        try:
            response = await super().handle_async_request(request)
        except Exception as error:
            _raise_ours(error)
            raise
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _Body(response.stream)
        return response


class _Body(httpx.AsyncByteStream):
    """A response's body whose failures are translated too."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for block in self._body:
                yield block
        except Exception as error:
            _raise_ours(error)
            raise

    async def aclose(self) -> None:
        await self._body.aclose()


def _session(context: ssl.SSLContext, *, use_proxies: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=use_proxies
    )


def open_client(timeout_s: float, auth: httpx.Auth, *, use_proxies: bool = True) -> httpx.AsyncClient:
    """Return the client over which a whole run is sent; its SSL context is built once (24 to 49 ms).

    `timeout_s` bounds the wait for the answer's next byte; connecting has a bound of its own.
    """
    context = httpx.create_ssl_context()
    return httpx.AsyncClient(
        transport=Transport(context, use_proxies=use_proxies),
        timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
        auth=auth,
        follow_redirects=False,
    )
