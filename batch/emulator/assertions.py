"""The signed assertion (JWT) that a service account exchanges for an IAM token, checked.

PyJWT and cryptography are imported when the first assertion arrives, for nothing else needs
them. Knows nothing of HTTP and of what is issued in exchange.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batch.emulator.rejections import INVALID_ARGUMENT, UNAUTHENTICATED, cloud_error

#: From the service's documentation, as are the next two.
AUDIENCE: Final = "https://iam.api.cloud.yandex.net/iam/v1/tokens"
ALGORITHM: Final = "PS256"
LIFETIME_S: Final = 3_600
#: How far clocks may differ; the documentation does not say.
SKEW_S: Final = 60

CLAIMS: Final = ("iss", "aud", "iat", "exp")


def service_account(assertion: str, keys: Mapping[str, tuple[str, str]], *, now: float, request_id: str) -> str:
    """The id of the service account whose assertion it is.

    Args:
        assertion: the JWT.
        keys: key id → (service account id, public key in PEM).
        now: seconds since 1970.
        request_id: for the refusal.

    Raises:
        Rejected: 400 for what is no such assertion at all (form, algorithm, a claim that is missing
            or lasts too long), 401 for one that is not valid (key, signature, issuer, audience,
            time). The service's own words are not known; clients decide by the code.
    """
    import jwt

    try:
        header = jwt.get_unverified_header(assertion)
    except jwt.InvalidTokenError:
        raise cloud_error(INVALID_ARGUMENT, "JWT is malformed", request_id=request_id) from None
    kid, why, code = header.get("kid"), "", INVALID_ARGUMENT
    if header.get("alg") != ALGORITHM:
        why = f"JWT must be signed with {ALGORITHM}"
    elif not isinstance(kid, str):
        why = "JWT header has no kid"
    elif kid not in keys:
        why, code = f"The key '{kid}' is not known", UNAUTHENTICATED
    if why:
        raise cloud_error(code, why, request_id=request_id)
    owner, public_key = keys[str(kid)]
    _check(_claims(assertion, public_key, request_id), owner, now, request_id)
    return owner


def _claims(assertion: str, public_key: str, request_id: str) -> dict[str, object]:
    """The claims of an assertion that the key has signed."""
    import jwt

    try:
        # Time is the emulator's, so PyJWT must not look at its own.
        claims: dict[str, object] = jwt.decode(
            assertion,
            public_key,
            algorithms=[ALGORITHM],
            options={
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": False,
                "require": list(CLAIMS),
            },
        )
    except jwt.MissingRequiredClaimError as error:
        why = f"JWT has no claim '{error.claim}'"
        raise cloud_error(INVALID_ARGUMENT, why, request_id=request_id) from None
    except jwt.InvalidTokenError:
        raise cloud_error(UNAUTHENTICATED, "JWT signature is invalid", request_id=request_id) from None
    return claims


def _check(claims: Mapping[str, object], owner: str, now: float, request_id: str) -> None:
    audience, issued, expires = claims["aud"], claims["iat"], claims["exp"]
    if not (_is_time(issued) and _is_time(expires)):
        raise cloud_error(INVALID_ARGUMENT, "JWT claims 'iat' and 'exp' must be numbers", request_id=request_id)
    iat, exp = float(str(issued)), float(str(expires))
    why, code = "", UNAUTHENTICATED
    if exp > iat + LIFETIME_S:
        why, code = f"JWT must expire within {LIFETIME_S} seconds of its issue", INVALID_ARGUMENT
    elif claims["iss"] != owner:
        why = "JWT issuer does not own the key"
    elif AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        why = "JWT audience is wrong"
    elif iat > now + SKEW_S:
        why = "JWT is issued in the future"
    elif exp <= now:
        why = "JWT has expired"
    if why:
        raise cloud_error(code, why, request_id=request_id)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
