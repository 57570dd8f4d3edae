"""From a service account's authorized key to IAM tokens: the key signs a JWT, IAM exchanges it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from batch.auth.exchange import ask, usable
from batch.auth.keeper import Token
from batch.auth.keyfile import KeyFile
from batch.auth.signing import SigningKey
from batch.clock import Clock
from batch.errors import ServiceUnavailable
from batch.jsontext import encode

HOST = "https://iam.api.cloud.yandex.net"
PATH = "/iam/v1/tokens"
# The JWT's audience is the service's name for itself, whatever address it is asked at.
AUDIENCE = HOST + PATH
# The longest that the service accepts (its documentation); it is used at once.
JWT_LIFE_S = 3600
# So much before now it is issued: by a clock that is a little ahead of IAM's it would be of the future.
JWT_BACKDATED_S = 60
TIMEOUT = httpx.Timeout(10.0)
# Days and times of RFC 3339; a fraction beyond microseconds is cut.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*([Zz]|[+-]\d\d:\d\d)")
# Lines of a key that are long enough to be recognised, and that no other text holds by chance.
_TELLING = 40


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account by its key: whose tokens these are, and how one is obtained."""

    file: KeyFile
    key: SigningKey
    url: str
    clock: Clock

    @classmethod
    def of(cls, path: Path, host: str, clock: Clock) -> ServiceAccount:
        """Read a key file and ready it; sends nothing, raises `CredentialsError`."""
        return cls.by(KeyFile.read(path), path, host, clock)

    @classmethod
    def by(cls, file: KeyFile, path: Path, host: str, clock: Clock) -> ServiceAccount:
        """Ready the key of a file that was read from `path`; raises `CredentialsError`."""
        return cls(file, SigningKey.of(file.private_key, path), host.rstrip("/") + PATH, clock)

    def jwt(self) -> str:
        """Return a JWT of this moment, signed with the key."""
        issued = int(self.clock.time()) - JWT_BACKDATED_S
        claims: dict[str, str | int] = {
            "iss": self.file.service_account_id, "aud": AUDIENCE, "iat": issued, "exp": issued + JWT_LIFE_S,
        }  # fmt: skip
        return self.key.signed(claims, self.file.id)

    def obtain(self) -> Token:
        """Exchange a JWT for a token; raises `CredentialsError` or `ServiceUnavailable`."""
        jwt = self.jwt()
        headers = {"Content-Type": "application/json"}
        request = httpx.Request("POST", self.url, content=encode({"jwt": jwt}), headers=headers)
        answer = ask("IAM", request, TIMEOUT, use_proxies=True, secret=jwt)
        value = answer.text("iamToken")
        if not usable(value):
            raise ServiceUnavailable("IAM gave an answer without a token.")
        return Token(value, moment(answer.text("expiresAt")))

    def material(self) -> Iterator[str]:
        """Return what of the key may never be shown: the key, and any whole line of it."""
        pem = self.file.private_key
        yield pem
        yield pem.replace("\n", "\\n")
        yield from (line for line in pem.split("\n") if len(line) >= _TELLING)


def moment(text: str) -> float | None:
    """Return a time of RFC 3339 in seconds since 1970; None for anything else."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    micros = f"{fraction or '.0':0<7}"
    try:
        return datetime.fromisoformat(f"{day}T{time}{micros}{zone.upper()}").astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
