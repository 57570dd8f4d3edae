"""Who may ask: the `Authorization` header against what the configuration accepts.

Knows nothing of how tokens are obtained.
"""

from __future__ import annotations

from collections.abc import Callable

from batch.emulator.rejections import UNAUTHENTICATED, Rejected, cloud_error, model_error


def authorise(
    header: str | None,
    *,
    api_key: str | None,
    iam_token: str | None,
    request_id: str,
    strict: bool = False,
    issued: Callable[[str], bool] | None = None,
) -> None:
    """Let a request pass that carries accepted credentials.

    Once `api_key` or `iam_token` is set, or `strict` is, nothing is accepted but those and the
    tokens that were `issued` and have not expired; else any credentials that are not empty are.

    Raises:
        Rejected: 401 in shape 1 for an API key (the service repeats the key, as recorded)
            or no credentials at all, in shape 3 for an IAM token.
    """
    scheme, _, credentials = (header or "").partition(" ")
    credentials = credentials.strip()
    anything = not strict and api_key is None and iam_token is None and bool(credentials)
    if scheme.lower() == "api-key":
        if not (anything or (credentials and credentials == api_key)):
            raise model_error(UNAUTHENTICATED, f"Unknown api key '{credentials}'")
    elif scheme.lower() == "bearer":
        known = credentials == iam_token or (issued is not None and issued(credentials))
        if not (anything or (credentials and known)):
            raise _invalid_token(request_id)
    else:
        raise model_error(UNAUTHENTICATED, "The request has no credentials")


def _invalid_token(request_id: str) -> Rejected:
    return cloud_error(UNAUTHENTICATED, "Token is invalid or has expired.", request_id=request_id)
