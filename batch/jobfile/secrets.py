"""Credentials have no place in a job file: it is copied, committed and shown."""

from __future__ import annotations

import re

# Names under which people keep credentials; asked only of keys that are no setting's (`max_tokens` is one).
_NAMES = re.compile(
    r"(?i)api[_-]?key|iam[_-]?token|token|password|passwd|secret|credential|authorization|private[_-]?key|oauth"
)
# What the service's API keys, IAM tokens and OAuth tokens begin with, and any key in PEM.
_VALUES = re.compile(r"(?:^|[\s=:/?&])(?:AQVN[\w-]{8,}|t1\.[\w-]{4,}|y[0-3]_[\w-]{16,})|-----BEGIN")
WHERE = (
    "Set API_KEY or IAM_TOKEN in the environment that starts the job, or name a service account's key file with "
    "service_account_key in [service]."
)


def is_credentials_name(key: str) -> bool:
    """Return whether a key that no setting has looks as if it were to hold a credential."""
    return _NAMES.search(key) is not None


def is_credential(text: str) -> bool:
    """Return whether a value looks like a key or a token of the service, or a private key."""
    return _VALUES.search(text.strip()) is not None
