"""The credentials that a run uses: how the settings lead to them, and the token that they bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio

from batch import auth
from batch.auth import Credentials, Look, Wanted
from batch.clock import Clock, SystemClock
from batch.settings import Settings


@dataclass(frozen=True, slots=True)
class Standing:
    """A credential that was found; `obtained` says whether a token was asked for, seconds as in `Clock.time`."""

    kind: str
    origin: str
    folder: str | None
    warnings: Sequence[str]
    obtained: bool
    expires_at: float | None
    left_s: float | None


def find_credentials(
    settings: Settings, environment: Mapping[str, str], clock: Clock, looks: list[Look] | None = None
) -> Credentials:
    """Return the first credential that there is, and fill `looks`; raises `CredentialsError`.

    `clock` is the one by which tokens are renewed. A host that replaces the service's is asked for tokens too.
    """
    host = settings.iam_url or settings.base_url or auth.IAM_HOST
    return auth.find(Wanted(settings.service_account_key, host), environment, clock, looks)


def examine(
    settings: Settings, environment: Mapping[str, str], looks: list[Look], clock: Clock | None = None
) -> Standing:
    """Find the credentials as a run would, obtain a token where there is one to obtain, and fill `looks`.

    Raises `CredentialsError` where there are none or they are refused, `ServiceUnavailable` where nobody can
    be asked.
    """
    clock = clock or SystemClock()
    found = find_credentials(settings, environment, clock, looks)
    token = anyio.run(found.keeper.obtain) if found.keeper else None
    expires_at = token.expires_at if token else None
    return Standing(
        found.kind,
        found.origin,
        settings.folder or auth.folder_from_environment(environment),
        found.warnings,
        token is not None,
        expires_at,
        None if expires_at is None else expires_at - clock.time(),
    )
