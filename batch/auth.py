"""Credentials: where they come from, how a request carries them, and how they stay out of sight.

The only module that holds a secret. Everything else asks it for an `httpx.Auth`, and for texts from which the
secrets have been removed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import httpx

from batch.errors import CredentialsError

# The official SDK's variables come first, in its order; then those of the service's guide.
_API_KEYS = ("YC_API_KEY", "API_KEY")
_IAM_TOKENS = ("YC_IAM_TOKEN", "IAM_TOKEN")
_ORDER = ("YC_API_KEY", "YC_IAM_TOKEN", "API_KEY", "IAM_TOKEN")
_FOLDERS = ("YC_FOLDER_ID", "FOLDER_ID")
REMOVED = "[secret removed]"
# A header takes no white space. The others are spelt otherwise in JSON and HTML: an echo of a key that was
# pasted with its quotes could not be recognised, and would be shown.
_NEVER_INSIDE = frozenset(" \"'\\<>&")


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


@dataclass(frozen=True, slots=True)
class Credentials:
    """A credential in force: `kind` and `origin` may be shown, the secret never is (not even by `repr`)."""

    kind: str
    origin: str
    _secret: str = field(repr=False)

    def auth(self, folder: str | None) -> httpx.Auth:
        """Return what puts this credential on a request."""
        return ServiceAuth("Api-Key" if self.kind == "API key" else "Bearer", self._secret, folder)

    def redact(self, text: bytes) -> bytes:
        """Return a text in which the secret no longer stands; the service is known to echo keys in errors."""
        return text.replace(self._secret.encode(), REMOVED.encode())


def from_environment(environment: Mapping[str, str]) -> Credentials:
    """Return the first credential that the environment holds, stripped of white space.

    Raises `CredentialsError` that names the variables where there is none, or where one cannot be a header.
    """
    for variable in _ORDER:
        secret = environment.get(variable, "").strip()
        if not secret:
            continue
        if not secret.isascii() or not secret.isprintable() or _NEVER_INSIDE & set(secret):
            raise CredentialsError(
                f"{variable} holds something that is no credential (white space, quotes, non-ASCII).",
                hint="Copy the key or the token again, without quotes and line breaks.",
            )
        return Credentials("API key" if variable in _API_KEYS else "IAM token", variable, secret)
    raise CredentialsError(
        "There are no credentials: set API_KEY to the secret of a service account's API key, "
        "or IAM_TOKEN to what `yc iam create-token` prints (YC_API_KEY and YC_IAM_TOKEN are read first).",
        hint="The account needs the role ai.languageModels.user. To try without an account, add --emulate.",
    )


def for_emulator() -> Credentials:
    """Return the credential with which the local emulator is asked; it is no secret."""
    return Credentials("API key", "emulator", "emulated-key")


def folder_from_environment(environment: Mapping[str, str]) -> str | None:
    """Return the folder that the environment names, the SDK's variable first."""
    found = (environment.get(variable, "").strip() for variable in _FOLDERS)
    return next((folder for folder in found if folder), None)
