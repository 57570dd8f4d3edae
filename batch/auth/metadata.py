"""Tokens of the service account that a virtual machine runs as, from the machine's metadata service."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from batch.auth.exchange import ask, usable
from batch.auth.keeper import Token
from batch.clock import Clock
from batch.errors import CredentialsError, ServiceUnavailable

ADDRESS = "169.254.169.254"
ADDRESS_VARIABLE = "YC_METADATA_ADDR"
PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
# Outside a virtual machine nobody answers at this address, and whoever has no credentials waits for that.
_PROBE = httpx.Timeout(1.0, connect=0.5)
_RENEWAL = httpx.Timeout(10.0)
_FOREIGN = "ya29."  # Google's metadata service has the same address and path, and such tokens


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata service at `address`, a host with or without port."""

    address: str
    clock: Clock

    def probe(self) -> Token:
        """Obtain a token where there may be nobody to ask; raises as `obtain` does, within a second or so."""
        return self._obtain(_PROBE)

    def obtain(self) -> Token:
        """Obtain a token; raises `CredentialsError` or `ServiceUnavailable`."""
        return self._obtain(_RENEWAL)

    def _obtain(self, timeout: httpx.Timeout) -> Token:
        host = self.address if "://" in self.address else f"http://{self.address}"
        who = f"The metadata service at {self.address}"
        try:
            request = httpx.Request("GET", host.rstrip("/") + PATH, headers={"Metadata-Flavor": "Google"})
        except (httpx.InvalidURL, UnicodeError):
            raise CredentialsError(f"{self.address} in {ADDRESS_VARIABLE} is no address.") from None
        answer = ask(who, request, timeout, use_proxies=False)
        value = answer.text("access_token")
        if value.startswith(_FOREIGN):
            raise CredentialsError(f"{who} is another cloud's.")
        if not usable(value):
            raise ServiceUnavailable(f"{who} gave an answer without a token.")
        return Token(value, self._expiry(answer.content.get("expires_in")))

    def _expiry(self, seconds: object) -> float | None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            return None
        return self.clock.time() + seconds
