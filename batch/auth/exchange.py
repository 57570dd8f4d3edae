"""One plain exchange with whoever issues tokens, and what may be shown of its answers.

Tokens are asked for about once an hour, in a worker thread: these requests need none of the speed of the
run's own transport. No exception of httpx leaves this module: it would carry the request, and the key in it.
"""

from __future__ import annotations

import re
import ssl
from contextlib import closing
from dataclasses import dataclass
from functools import cache

import httpx

from batch.errors import CredentialsError, ServiceUnavailable
from batch.jsontext import JsonObject, NotJson, parse
from batch.plaintext import printable

MESSAGE_LENGTH = 300
REMOVED = "[secret removed]"
# IAM tokens, API keys and OAuth tokens, as the service's documentation shows them, and JWTs.
_SECRETS = re.compile(
    r"\b(?:t1\.[\w.-]{12,}|AQVN[\w-]{12,}|y[0-3]_[\w-]{12,}|eyJ[\w-]{8,}\.[\w.-]{12,})", re.ASCII
)
_LONGEST_ANSWER = 1 << 20
# A header takes no white space. The others are spelt otherwise in JSON and HTML: an echo of a key that was
# pasted with its quotes could not be recognised, and would be shown.
_NEVER_INSIDE = frozenset(" \"'\\<>&")
# Refusals that pass: a time-out, too early, too many requests.
_PASSING = (408, 425, 429)


def usable(secret: str) -> bool:
    """Return whether a text can be a credential: one that a header takes, and that an echo spells alike."""
    return bool(secret) and secret.isascii() and secret.isprintable() and not _NEVER_INSIDE & set(secret)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an issuer answered with status 200; it holds a token, so it is not shown."""

    content: JsonObject

    def __repr__(self) -> str:
        return "Answer(…)"

    def text(self, name: str) -> str:
        """Return a field that is a text, else nothing."""
        value = self.content.get(name)
        return value.strip() if isinstance(value, str) else ""


def ask(
    who: str, request: httpx.Request, timeout: httpx.Timeout, *, use_proxies: bool, secret: str = ""
) -> Answer:
    """Send a request to an issuer of tokens, `who` in sentences, and return its answer.

    Raises `CredentialsError` with its message where it refuses, `ServiceUnavailable` where asking again may
    help. `secret` is what the request holds: it is removed from the message.
    """
    try:
        with (
            _client(timeout, use_proxies=use_proxies) as client,
            closing(client.send(request, stream=True)) as response,
        ):
            body = _body(who, response)
    except httpx.TimeoutException:
        raise ServiceUnavailable(f"{who} took too long to answer.") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        raise ServiceUnavailable(f"{who} cannot be reached.") from None
    status = response.status_code
    if status == httpx.codes.OK:
        content = _json(body)
        if content is None:
            raise ServiceUnavailable(f"{who} gave an answer that is not JSON.")
        return Answer(content)
    told = f"{who} answered {status}{_message(body, secret)}"
    if 400 <= status < 500 and status not in _PASSING:
        raise CredentialsError(told)
    raise ServiceUnavailable(told)


def _body(who: str, response: httpx.Response) -> bytes:
    """Return an answer's body; raises `ServiceUnavailable` for one that no issuer of tokens gives."""
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > _LONGEST_ANSWER:
            raise ServiceUnavailable(f"{who} gave an answer that is too long.")
    return bytes(body)


@cache
def _context() -> ssl.SSLContext:
    """Return what servers' certificates are checked with: made once, since that takes as long as an exchange."""
    return httpx.create_ssl_context()


def _client(timeout: httpx.Timeout, *, use_proxies: bool) -> httpx.Client:
    try:
        return httpx.Client(timeout=timeout, trust_env=use_proxies, verify=_context(), follow_redirects=False)
    except (ImportError, ValueError):  # a SOCKS proxy is passed over here as by the transport
        return httpx.Client(timeout=timeout, trust_env=False, verify=_context(), follow_redirects=False)


def _message(body: bytes, secret: str) -> str:
    """Return `: <message>` of an error body in any of the service's shapes; nothing where it states none."""
    content = _json(body) or {}
    error = content.get("error")
    inner = error if isinstance(error, dict) else content
    message = inner.get("message") or error
    return f": {shown(message, secret)}" if isinstance(message, str) and message.strip() else "."


def shown(message: str, secret: str = "") -> str:
    """Return a message of others on one line, without secrets, control characters and overlength.

    `secret` is one that is known; others are told by their form, since a program may print one that we never had.
    """
    text = _SECRETS.sub(REMOVED, message.replace(secret, REMOVED) if secret else message)
    line = " ".join(printable(" ".join(text.split())).split())
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


def _json(body: bytes) -> JsonObject | None:
    try:
        value = parse(body)
    except NotJson:
        return None
    return value if isinstance(value, dict) else None
