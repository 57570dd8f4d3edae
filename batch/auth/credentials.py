"""A credential in force: how a request carries it, and how it is removed from texts."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field

import httpx

from batch.auth.exchange import REMOVED
from batch.auth.keeper import Keeper, Token

_UNAUTHENTICATED = 401
# No credential that the service issues is shorter. One that is, such as the `any` of a trial with a server of
# one's own, may be a word: it is removed from errors where it stands alone, and no answer is harmed by it.
_NO_WORD = 16


class ServiceAuth(httpx.Auth):
    """Adds the credential to a request: `Api-Key` for a key, `Bearer` for an IAM token.

    A user account's IAM token has to name its folder in a header of its own; a service account's key has a
    folder already, and another one would be refused (the service's documentation).
    """

    def __init__(self, scheme: str, secret: str, folder: str | None) -> None:
        self._value = f"{scheme} {secret}"
        self._folder = folder if scheme == "Bearer" else None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Set the headers and send the request once."""
        request.headers["Authorization"] = self._value
        if self._folder:
            request.headers["x-folder-id"] = self._folder
        yield request


class RenewingAuth(httpx.Auth):
    """Adds a token that is renewed; a request that is refused with 401 is sent once more, with a newer one.

    A 401 was not billed, so sending again costs nothing. What is in flight keeps the token it left with:
    the old ones stay valid until they expire. Raises `AttemptFailed` where there is no token to be had.
    """

    def __init__(self, keeper: Keeper, folder: str | None) -> None:
        self._keeper = keeper
        self._folder = folder

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Set the headers and send the request, once more after a 401 where another token is to be had."""
        token = self._keeper.fresh() or await self._keeper.token()
        response = yield self._signed(request, token)
        if response.status_code != _UNAUTHENTICATED:
            return
        newer = await self._keeper.instead_of(token)
        if newer.value != token.value:
            yield self._signed(request, newer)

    def _signed(self, request: httpx.Request, token: Token) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token.value}"
        if self._folder:
            request.headers["x-folder-id"] = self._folder
        return request


@dataclass(frozen=True, slots=True)
class Credentials:
    """A credential in force: `kind` and `origin` may be shown, the secret never is (not even by `repr`).

    `warnings` are sentences for the user. Either there is a secret, or `keeper` obtains tokens; with
    `own_folder` these belong to a service account, which has a folder already.
    """

    kind: str
    origin: str
    _secret: str = field(default="", repr=False)
    warnings: tuple[str, ...] = ()
    keeper: Keeper | None = field(default=None, repr=False)
    own_folder: bool = field(default=False, repr=False)

    def auth(self, folder: str | None) -> httpx.Auth:
        """Return what puts this credential on a request."""
        if self.keeper is not None:
            return RenewingAuth(self.keeper, None if self.own_folder else folder)
        return ServiceAuth("Api-Key" if self.kind == "API key" else "Bearer", self._secret, folder)

    def redact(self, text: bytes, *, answer: bool = False) -> bytes:
        """Return a text in which no secret stands any more; the service is known to echo keys in errors.

        `answer`: the text is an answer and no error, and may hold any word.
        """
        for secret in self.keeper.secrets() if self.keeper else (self._secret,):
            if len(secret) >= _NO_WORD:
                text = text.replace(secret.encode(), REMOVED.encode())
            elif not answer:
                alone = rb"(?<![\w-])" + re.escape(secret.encode()) + rb"(?![\w-])"
                text = re.sub(alone, REMOVED.encode(), text)
        return text
