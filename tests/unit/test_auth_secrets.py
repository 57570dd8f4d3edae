"""Nobody sees tokens and keys: not by printing what holds them, not in an error, not in an echo."""

from __future__ import annotations

import copy
import pprint
import traceback
from pathlib import Path

import httpx
import pytest
from clocks import FakeClock
from unit.issuers import NOBODY, Asked, issuing, jwt_of, pair, write_key

from batch.auth import REMOVED, Credentials, Keeper, Token, Wanted, find
from batch.auth.keeper import REMEMBERED
from batch.errors import AttemptFailed, Billed, ExitCode

pytestmark = pytest.mark.anyio

TOKEN = "t1.9euelZq-a-token-that-nobody_may-see"
PRIVATE = pair()[0]
KEY_LINES = [line for line in PRIVATE.splitlines() if not line.startswith("-----")]


def _found(tmp_path: Path, url: str) -> Credentials:
    wanted = Wanted(write_key(tmp_path / "key.json"), url)
    return find(wanted, {"YC_METADATA_ADDR": NOBODY, "PATH": ""}, FakeClock())


async def _ask(credentials: Credentials, status: int = 200) -> httpx.Request:
    """Send a request with the credentials and return it as the service saw it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status)

    auth = credentials.auth(None)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=auth, trust_env=False) as client:
        await client.post("http://service.invalid/")
    return seen[-1]


def _issue(_: Asked) -> tuple[int, object]:
    return 200, {"iamToken": TOKEN, "expiresAt": "2100-01-01T00:00:00Z"}


async def test_a_key_file_signs_requests_and_is_not_seen(tmp_path: Path) -> None:
    """The token that a key brings is on the request; however the credentials are printed, it is nowhere."""
    with issuing(_issue) as iam:
        credentials = _found(tmp_path, iam.url)
        request = await _ask(credentials)
        await _ask(credentials)
        assert len(iam.asked) == 1
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    auth = credentials.auth("b1g")
    shown = [str(credentials), repr(credentials), pprint.pformat(credentials), repr(copy.copy(credentials))]
    shown += [repr(credentials.keeper), str(credentials.keeper), repr(auth), pprint.pformat(auth), repr(request)]
    shown += [pprint.pformat(credentials.warnings), credentials.origin]
    assert not [secret for secret in (TOKEN, *KEY_LINES) if secret in " ".join(shown)]


async def test_echoes_of_tokens_and_keys_are_removed(tmp_path: Path) -> None:
    """An error that repeats a token, the key, its JSON form or any line of it comes out without them."""
    with issuing(_issue) as iam:
        credentials = _found(tmp_path, iam.url)
        await _ask(credentials)
    escaped = PRIVATE.replace("\n", "\\n")
    for echo in (TOKEN, PRIVATE, escaped, *[line for line in KEY_LINES if len(line) >= 40]):
        redacted = credentials.redact(b"'" + echo.encode() + b"' is wrong")
        assert redacted == f"'{REMOVED}' is wrong".encode(), echo
    assert credentials.redact(b"nothing \xff") == b"nothing \xff"


async def test_tokens_of_before_are_still_removed() -> None:
    """A late answer may repeat the token before; tokens that have long expired are forgotten."""
    clock, count = FakeClock(), 0

    async def obtain() -> Token:
        nonlocal count
        count += 1
        return Token(f"t1.token-{count:04}", clock.time() + 3600)

    keeper = Keeper(obtain, clock)
    credentials = Credentials("IAM token", "test", keeper=keeper)
    for _ in range(REMEMBERED + 10):
        await keeper.token()
        clock.now += 3600
    assert len(list(keeper.secrets())) == REMEMBERED
    assert credentials.redact(b"t1.token-0041 t1.token-0042") == f"{REMOVED} {REMOVED}".encode()
    assert credentials.redact(b"t1.token-0011 t1.token-0010") == f"{REMOVED} t1.token-0010".encode()


@pytest.mark.parametrize(
    ("status", "code", "stops"),
    [(401, "TOKEN_REFUSED", ExitCode.CREDENTIALS), (503, "TOKEN_UNAVAILABLE", None)],
)
async def test_failures_of_iam_show_no_secret(
    status: int, code: str, stops: ExitCode | None, tmp_path: Path
) -> None:
    """The error that a request gets where IAM echoes the JWT shows neither it nor the key, nor its traceback."""
    with issuing(lambda asked: (status, {"message": f"{jwt_of(asked)}!"})) as iam:
        credentials = _found(tmp_path, iam.url)
        with pytest.raises(AttemptFailed) as failed:
            await _ask(credentials)
        jwt = jwt_of(iam.asked[0])
    assert str(failed.value) == f"IAM answered {status}: {REMOVED}!"
    assert (failed.value.code, failed.value.stops_run, failed.value.billed) == (code, stops, Billed.NO)
    shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value)
    assert not [secret for secret in (jwt, jwt.rpartition(".")[2], *KEY_LINES) if secret in shown]
