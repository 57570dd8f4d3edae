"""Signing with a service account's key; the one home of PyJWT and cryptography, which are an extra.

Both are imported when a key is used, so that everybody else needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batch.errors import CredentialsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# The service accepts no other (its documentation): RSASSA-PSS with SHA-256.
ALGORITHM = "PS256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key that signs JWTs."""

    _key: RSAPrivateKey = field(repr=False)

    @classmethod
    def of(cls, pem: str, path: Path) -> SigningKey:
        """Ready the key of a file; raises `CredentialsError` where it is none, or the extra is missing."""
        try:
            import jwt  # noqa: F401 - both are needed, and both are said to be missing now and not at night
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ImportError:
            raise CredentialsError(
                f"The key file {path} cannot be used: what signs with it is not installed.",
                hint="Install it with: pip install 'chatbatch[service-account]'.",
            ) from None
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # their texts may quote the key
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise CredentialsError(
                f"The field 'private_key' of the key file {path} is not a readable RSA key.",
                hint="Make another one with: yc iam key create --service-account-name NAME -o key.json.",
            )
        return cls(key)

    def signed(self, claims: Mapping[str, str | int], key_id: str) -> str:
        """Return a JWT with these claims, and the key's id in its header."""
        import jwt

        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": "JWT"})
