"""The JWT against an independent verifier, the exchange with IAM, and what its refusals become."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from unit.issuers import ACCOUNT_ID, KEY_ID, Asked, issuing, jwt_of, pair, write_key

from batch.auth import REMOVED
from batch.auth.iam import ServiceAccount, moment
from batch.clock import SystemClock
from batch.errors import ChatbatchError, CredentialsError, ServiceUnavailable

AUDIENCE = "https://iam.api.cloud.yandex.net/iam/v1/tokens"
TOKEN = "t1.9euelZq-a-token-that-nobody_may-see"
Claims = dict[str, object]


def _account(tmp_path: Path, host: str = "https://iam.invalid") -> ServiceAccount:
    return ServiceAccount.of(write_key(tmp_path / "key.json"), host, SystemClock())


def _verify(text: str, public: str | None = None) -> Claims:
    """Verify a JWT as IAM has to: by the public key that it knows under the header's `kid`; raises if wrong."""
    known = {KEY_ID: (ACCOUNT_ID, public or pair()[1])}
    owner, key = known[str(jwt.get_unverified_header(text)["kid"])]
    claims: Claims = jwt.decode(
        text, key, algorithms=["PS256"], audience=AUDIENCE, issuer=owner, options={"require": ["iat", "exp"]}
    )
    life = int(str(claims["exp"])) - int(str(claims["iat"]))
    if not 0 < life <= 3600:
        raise jwt.InvalidTokenError("it lives too long")
    return claims


def test_the_jwt_is_accepted_by_an_independent_verifier(tmp_path: Path) -> None:
    """The JWT verifies with the public key, and holds exactly the claims and headers of the documentation."""
    made = _account(tmp_path, "https://another.example").jwt()
    claims = _verify(made)
    assert claims == {"iss": ACCOUNT_ID, "aud": AUDIENCE, "iat": claims["iat"], "exp": claims["exp"]}
    assert int(str(claims["exp"])) == int(str(claims["iat"])) + 3600
    # Backdated a minute: by a clock that is a little ahead of IAM's it would be issued in the future.
    assert abs(int(str(claims["iat"])) + 60 - time.time()) < 30
    assert jwt.get_unverified_header(made) == {"alg": "PS256", "kid": KEY_ID, "typ": "JWT"}


@pytest.mark.parametrize("ahead", [-3000.0, 0.0, 50.0])
def test_clocks_may_differ(ahead: float, tmp_path: Path) -> None:
    """By a clock that is a minute ahead of IAM's, or most of an hour behind it, the JWT holds all the same."""
    key = write_key(tmp_path / "key.json")
    _verify(ServiceAccount.of(key, "https://iam.invalid", _Off(ahead)).jwt())


class _Off(SystemClock):
    """A clock that is ahead of the machine's."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def time(self) -> float:
        return super().time() + self._ahead


def _changed(claims: Claims, headers: dict[str, str], key: str, algorithm: str = "PS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda claims, head, key: _changed({**claims, "aud": "https://iam.invalid/iam/v1/tokens"}, head, key),
        lambda claims, head, key: _changed({**claims, "iss": "ajesomebodyelse"}, head, key),
        lambda claims, head, key: _changed({**claims, "exp": int(time.time()) - 60}, head, key),
        lambda claims, head, key: _changed({**claims, "exp": claims["exp"] + 60}, head, key),
        lambda claims, head, key: _changed({**claims, "iat": int(time.time()) + 600}, head, key),
        lambda claims, _head, key: _changed(claims, {"kid": "ajeanotherkey"}, key),
        lambda claims, head, key: _changed(claims, head, key, "RS256"),
        lambda claims, head, _key: _changed(claims, head, pair(1)[0]),
        lambda claims, head, _key: _changed(claims, head, "x" * 64, "HS256"),
        lambda claims, head, key: _changed(claims, head, key)[:-8] + "AAAAAAAA",
    ],
    ids=["aud", "iss", "expired", "too long", "iat", "kid", "RS256", "another key", "HS256", "signature"],
)
def test_the_verifier_rejects_a_jwt_with_anything_wrong(
    spoil: Callable[[Claims, dict[str, str], str], str], tmp_path: Path
) -> None:
    """The same claims and key, with any one thing wrong, are rejected: so what we send is right in all."""
    made = _account(tmp_path).jwt()
    claims, head = _verify(made), {"kid": KEY_ID}
    _verify(_changed(claims, head, pair()[0]))
    with pytest.raises((jwt.PyJWTError, KeyError)):
        _verify(spoil(claims, head, pair()[0]))


def test_a_jwt_becomes_a_token(tmp_path: Path) -> None:
    """One POST of the JWT to IAM's path brings the token, and the second at which it expires."""

    def answer(asked: Asked) -> tuple[int, object]:
        _verify(jwt_of(asked))
        return 200, {"iamToken": TOKEN, "expiresAt": "2030-01-02T03:04:05.123456789Z"}

    with issuing(answer) as iam:
        token = _account(tmp_path, iam.url + "/").obtain()
        ((method, path, headers, body),) = iam.asked
    assert (method, path, headers["content-type"]) == ("POST", "/iam/v1/tokens", "application/json")
    assert list(json.loads(body)) == ["jwt"]
    assert (token.value, token.expires_at) == (TOKEN, 1893553445.123456)
    assert TOKEN not in f"{token} {token!r}"


@pytest.mark.parametrize(
    ("status", "content", "kind", "said"),
    [
        (401, {"code": 16, "message": "The token is invalid"}, CredentialsError, "IAM answered 401: The token"),
        (403, {"error": {"message": "Denied"}}, CredentialsError, "IAM answered 403: Denied"),
        (400, {"error": "no", "code": 3, "message": "Bad\x1b[31m jwt"}, CredentialsError, "400: Bad"),
        (404, b"<html>", CredentialsError, r"IAM answered 404\.$"),
        (429, {"message": "slow"}, ServiceUnavailable, "IAM answered 429: slow"),
        (500, b"", ServiceUnavailable, r"IAM answered 500\.$"),
        (503, {"code": 14, "message": "away"}, ServiceUnavailable, "IAM answered 503: away"),
        (302, b"", ServiceUnavailable, "IAM answered 302"),
        (200, b"<html>", ServiceUnavailable, "not JSON"),
        (200, {"iamToken": ""}, ServiceUnavailable, "without a token"),
        (200, {"iamToken": "two words"}, ServiceUnavailable, "without a token"),
        (200, {"iamToken": 7}, ServiceUnavailable, "without a token"),
    ],
)
def test_what_iam_refuses(
    status: int, content: object, kind: type[ChatbatchError], said: str, tmp_path: Path
) -> None:
    """A refusal is one of the credentials, an outage is none; the message is told without control characters."""
    with issuing(lambda _: (status, content)) as iam, pytest.raises(kind, match=said) as failed:
        _account(tmp_path, iam.url).obtain()
    assert "\x1b" not in str(failed.value)


def test_a_jwt_that_iam_echoes_is_not_seen(tmp_path: Path) -> None:
    """An error that repeats the JWT is told without it, and the traceback does not hold it either."""
    with (
        issuing(lambda asked: (401, {"code": 16, "message": f"JWT {jwt_of(asked)} is wrong"})) as iam,
        pytest.raises(CredentialsError) as failed,
    ):
        _account(tmp_path, iam.url).obtain()
    sent = jwt_of(iam.asked[0])
    assert f"JWT {REMOVED} is wrong" in str(failed.value)
    assert sent not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "http://no such host/", "http://host.invalid"])
def test_iam_that_cannot_be_reached(host: str, tmp_path: Path) -> None:
    """Nobody at the address is an outage; the sentence shows no text of the exception."""
    with pytest.raises(ServiceUnavailable, match=r"^IAM cannot be reached\.$"):
        _account(tmp_path, host).obtain()


def test_a_socks_proxy_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy in the environment, which cannot be used, ends no run: IAM is asked directly."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with issuing(lambda _: (200, {"iamToken": TOKEN})) as iam:
        assert _account(tmp_path, iam.url).obtain().value == TOKEN


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.5Z", 10.5),
        ("1970-01-01T00:00:10.123456789Z", 10.123456),
        ("1970-01-01T03:00:10+03:00", 10.0),
        ("1970-01-01t00:00:10z", 10.0),
        ("1970-01-01T00:00:10", None),
        ("1970-13-01T00:00:10Z", None),
        ("", None),
        ("soon", None),
    ],
)
def test_times_of_rfc_3339(text: str, seconds: float | None) -> None:
    """Fractions of up to nanoseconds and any offset are read; anything else is not known."""
    assert moment(text) == seconds
