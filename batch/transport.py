"""The wire beneath `httpx.AsyncClient`: aiohttp's connections, and what each way of failing may have cost.

httpx's own pool is 25 times slower at 64 connections. The ready-made bridge (`httpx-aiohttp` 0.2) raises
`httpx.ConnectTimeout` alike for a refused connection and for one that was dropped after the request had
arrived; the first is surely not billed, the second may be. So the bridge is ours, a short one, and so is the
translation: by aiohttp's class, in this one place.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx

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
    (httpx.DecodingError, "PROTOCOL_ERROR", "the answer cannot be decompressed", _MAYBE),
    (TimeoutError, "READ_TIMEOUT", "the answer took too long", _MAYBE),
    (OSError, "CONNECTION_LOST", "the connection broke before the answer", _MAYBE),
)
_WRONG_ADDRESS = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, UnicodeError)  # the last: a host's name


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
            refused = isinstance(getattr(error, "os_error", None), ConnectionRefusedError)
            if refused and code == "CONNECT_FAILED":
                code, sentence = "CONNECTION_REFUSED", "the service refuses connections"
            return AttemptFailed(sentence, code=code, retryable=True, billed=billed)
    return None


class Transport(httpx.AsyncBaseTransport):
    """Carries httpx's requests over one aiohttp session, and raises `AttemptFailed` where that fails.

    Answers are read whole: nobody here streams them. Connections are not bounded: how many requests run at
    once is the limits' business. Made and used inside one event loop.
    """

    def __init__(self, context: ssl.SSLContext, proxy: str | None) -> None:
        self._context = context
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body."""
        timeout = request.extensions.get("timeout", {})
        bounds = aiohttp.ClientTimeout(
            total=timeout.get("total"), sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
        )
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        try:
            async with self._opened().request(
                request.method,
                str(request.url),
                headers=headers,
                data=request.content,
                allow_redirects=False,
                timeout=bounds,
                proxy=self._proxy,
            ) as response:
                body = await response.read()
            return httpx.Response(response.status, headers=_kept(response), content=body, request=request)
        except Exception as error:
            ours = translate(error)
            if ours is None:
                raise
            # A ClientResponseError carries the request's headers, and the credential in them.
            raise ours from (None if isinstance(error, aiohttp.ClientResponseError) else error)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # trust_env stays off: aiohttp would read the environment and ~/.netrc again for every request.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._context, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # httpx does it
            )
        return self._session


def _kept(response: aiohttp.ClientResponse) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers; of a redirect without its address: httpx would parse it, though it follows none."""
    if not 300 <= response.status < 400:
        return response.raw_headers
    return [(name, value) for name, value in response.raw_headers if name.lower() != b"location"]


class _NoCookies(httpx.Cookies):
    """Cookies of a completion API mean nothing, and parsing them is a twentieth of a row's work."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep nothing."""


class ServiceClient(httpx.AsyncClient):
    """`httpx.AsyncClient` without a memory: no cookies are kept or sent."""

    _nothing = _NoCookies()

    @property  # type: ignore[misc]  # nobody sets them
    def cookies(self) -> httpx.Cookies:
        """Return no cookies."""
        return self._nothing


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment (HTTPS_PROXY, NO_PROXY, …) names for an address, if any."""
    parts = urlsplit(url)
    address = getproxies().get(parts.scheme)
    if not address or address.startswith("socks") or proxy_bypass(parts.netloc):
        return None
    return address if "://" in address else f"http://{address}"


def open_client(url: str, timeout_s: float, auth: httpx.Auth, *, use_proxies: bool = True) -> httpx.AsyncClient:
    """Return the client over which a whole run is sent to `url`; its SSL context is built once (24 to 49 ms).

    `timeout_s` bounds the wait for the answer's next byte; connecting has a bound of its own.
    """
    context = httpx.create_ssl_context()
    return ServiceClient(
        transport=Transport(context, environment_proxy(url) if use_proxies else None),
        timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
        auth=auth,
        follow_redirects=False,
    )
