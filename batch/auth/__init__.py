"""Credentials: where they come from, how a request carries them, and how they stay out of sight.

The only place that holds a secret. Everything else asks it for an `httpx.Auth`, and for texts from which the
secrets have been removed.
"""

from __future__ import annotations

from batch.auth.credentials import Credentials, RenewingAuth, ServiceAuth
from batch.auth.exchange import REMOVED
from batch.auth.finding import (
    Look,
    Wanted,
    find,
    folder_from_environment,
    for_emulator,
    from_environment,
)
from batch.auth.iam import HOST as IAM_HOST
from batch.auth.keeper import Keeper, Token

__all__ = [
    "IAM_HOST",
    "REMOVED",
    "Credentials",
    "Keeper",
    "Look",
    "RenewingAuth",
    "ServiceAuth",
    "Token",
    "Wanted",
    "find",
    "folder_from_environment",
    "for_emulator",
    "from_environment",
]
