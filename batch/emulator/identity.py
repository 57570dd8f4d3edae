"""IAM tokens: exchanged for an assertion or handed out by the metadata service, and expiring.

The methods take a `Call` and give a response, as those of `asynchronous` do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from batch.emulator.assertions import service_account
from batch.emulator.calls import Call
from batch.emulator.clocks import rfc3339
from batch.emulator.config import Config
from batch.emulator.fields import Fields, load
from batch.emulator.ledger import Ledger
from batch.emulator.rejections import INVALID_ARGUMENT, UNAUTHENTICATED, cloud_error


@dataclass(frozen=True, slots=True)
class IamToken:
    """A token, when it was issued, and when it expires, in seconds of the emulator's clock."""

    text: str
    issued_at: float
    expires_at: float


class Identity:
    """Issues tokens, and says which are valid.

    Args:
        config: the emulator's behaviour.
        ledger: counts what is issued.
        time: seconds of the emulator's clock.
        epoch: is to be added to them to make seconds since 1970.
    """

    def __init__(self, config: Config, ledger: Ledger, time: Callable[[], float], epoch: float) -> None:
        """Begin with nothing issued."""
        self._config = config
        self._ledger = ledger
        self._time = time
        self._epoch = epoch
        self._issued: dict[str, IamToken] = {}
        self._latest: dict[str, IamToken] = {}
        self._exchanges = 0

    async def exchange(self, call: Call) -> Response:
        """`iam/v1/tokens`: a token for a service account's signed assertion."""
        fields = Fields(load(call.body), "request", frozenset({"jwt", "yandexPassportOauthToken"}))
        if fields.has("yandexPassportOauthToken"):
            message = "OAuth token is invalid or has expired"
            raise cloud_error(INVALID_ARGUMENT, message, request_id=call.request_id)
        assertion = fields.string("jwt")
        if not assertion:
            raise cloud_error(INVALID_ARGUMENT, "Identity is not set", request_id=call.request_id)
        keys = self._config.service_account_keys
        if not keys:
            raise cloud_error(UNAUTHENTICATED, "The key is not known", request_id=call.request_id)
        now = self._time() + self._epoch
        token = self._token(service_account(assertion, keys, now=now, request_id=call.request_id))
        self._exchanges += 1
        # With nine digits every other time: both forms are RFC 3339, and a client must read both.
        expires = rfc3339(token.expires_at + self._epoch, nanoseconds=self._exchanges % 2 == 1)
        return _json(call, {"iamToken": token.text, "expiresAt": expires})

    async def metadata(self, call: Call) -> Response:
        """The metadata service of a virtual machine: a token of the account that is bound to it."""
        if call.sent.get("metadata-flavor") != "Google":
            return Response("Missing required header: Metadata-Flavor: Google\n", 403, media_type="text/plain")
        if not self._config.metadata:
            return Response("Not Found\n", 404, media_type="text/plain")
        token = self._token("metadata")
        remaining = int(token.expires_at - self._time())
        shown = {"access_token": token.text, "expires_in": remaining, "token_type": "Bearer"}
        return _json(call, shown)

    def accepts(self, token: str) -> bool:
        """Whether a token was issued here and has not expired."""
        found = self._issued.get(token)
        return found is not None and self._time() < found.expires_at

    def revoke(self) -> None:
        """Make every token that was issued so far one that is not known; may be called from any thread."""
        self._issued, self._latest = {}, {}

    def _token(self, account: str) -> IamToken:
        """A new token of an account, or its latest one where that is young enough to be reused."""
        now, latest = self._time(), self._latest.get(account)
        self._ledger.note_iam_token()
        if latest is not None and now < min(latest.issued_at + self._config.iam_token_reuse_s, latest.expires_at):
            return latest
        # What has expired is refused in the same words as what never was, so it need not be kept.
        self._issued = {text: token for text, token in self._issued.items() if now < token.expires_at}
        text = f"t1.{secrets.token_urlsafe(48)}.{secrets.token_urlsafe(64)}"
        token = IamToken(text, now, now + self._config.iam_token_lifetime_s)
        self._issued[text] = self._latest[account] = token
        return token


def _json(call: Call, value: dict[str, object]) -> Response:
    return Response(orjson.dumps(value), headers=call.headers, media_type="application/json")
