"""A key file that is replaced while its tokens are used: the new key is taken over, a broken one told once."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest
from clocks import FakeClock
from unit.issuers import NOBODY, Asked, Server, issuing, jwt_of, key_fields, pair, write_key

from batch.auth import REMOVED, Credentials, Wanted, find
from batch.errors import CredentialsError, ServiceUnavailable

pytestmark = pytest.mark.anyio

HOUR = 3600.0
OLD, NEW = str(key_fields()["id"]), str(key_fields(1)["id"])
NEW_LINES = [line for line in pair(1)[0].splitlines() if not line.startswith("-----")]


class _Iam:
    """Issues a token to those of its keys whose signature is right, named after the key; notes who asked."""

    def __init__(self) -> None:
        self.keys = {OLD: pair()[1]}
        self.asked_by: list[str] = []

    def answer(self, asked: Asked) -> tuple[int, object]:
        text = jwt_of(asked)
        key = str(jwt.get_unverified_header(text)["kid"])
        self.asked_by.append(key)
        if key not in self.keys:
            return 401, {"code": 16, "message": f"The key '{key}' is not known"}
        jwt.decode(text, self.keys[key], algorithms=["PS256"], options={"verify_exp": False, "verify_iat": False,
                                                                        "verify_aud": False})  # fmt: skip
        return 200, {"iamToken": f"t1.of-{key}-{len(self.asked_by)}"}


class _Run:
    """Credentials by a key file, an hour of whose tokens passes at a time, and what was told."""

    def __init__(self, path: Path, server: Server) -> None:
        self.clock, self.told = FakeClock(), list[str]()
        self.credentials: Credentials = find(
            Wanted(path, server.url), {"YC_METADATA_ADDR": NOBODY, "PATH": ""}, self.clock
        )
        assert self.credentials.keeper is not None
        self.keeper = self.credentials.keeper
        self.keeper.warn = self.told.append

    async def hour(self) -> str:
        """Let an hour pass, and return the token that a request carries then."""
        self.clock.now += HOUR
        return (await self.keeper.token()).value


@pytest.fixture
def iam() -> _Iam:
    return _Iam()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_key(tmp_path / "key.json")


@contextmanager
def _run(path: Path, iam: _Iam) -> Iterator[_Run]:
    with issuing(iam.answer) as server:
        yield _Run(path, server)


async def test_a_replaced_key_is_used_from_the_next_renewal_on(path: Path, iam: _Iam) -> None:
    """After a rotation the next token comes from the new key, with the old one gone; that is told once."""
    with _run(path, iam) as run:
        assert await run.hour() == f"t1.of-{OLD}-1"
        iam.keys = {NEW: pair(1)[1]}
        write_key(path, key_fields(1))
        assert [await run.hour(), await run.hour()] == [f"t1.of-{NEW}-2", f"t1.of-{NEW}-3"]
        assert iam.asked_by == [OLD, NEW, NEW]
        assert run.told == [f"The key file {path} was replaced: key {NEW} is used from now on."]
        assert run.keeper.failures == 0
        echo = run.credentials.redact(" ".join(["t1.of-" + OLD + "-1", *NEW_LINES]).encode())
        assert not [line for line in NEW_LINES if len(line) >= 40 and line.encode() in echo]
        assert REMOVED.encode() in echo


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a JSON object"),
        (json.dumps(key_fields(1)).encode()[:900], "not a JSON object"),
        (json.dumps({**key_fields(1), "private_key": pair(1)[0][:800]}).encode(), "holds no PEM"),
        (json.dumps({**key_fields(1), "private_key": pair(1)[1]}).encode(), "not a readable RSA key"),
        (None, "No such file"),
    ],
    ids=["empty", "half", "half a key", "another key", "gone"],
)
async def test_a_file_that_cannot_be_used_is_told_once(
    content: bytes | None, why: str, path: Path, iam: _Iam
) -> None:
    """A new file that is half-written or gone costs nothing: the old key goes on until the file is whole."""
    with _run(path, iam) as run:
        await run.hour()
        path.unlink() if content is None else path.write_bytes(content)
        for number in (2, 3, 4):
            assert await run.hour() == f"t1.of-{OLD}-{number}"
        assert len(run.told) == 1
        assert f"The key file {path} has changed and cannot be used; key {OLD} goes on" in run.told[0]
        assert why in run.told[0]
        iam.keys[NEW] = pair(1)[1]
        write_key(path, key_fields(1))
        assert await run.hour() == f"t1.of-{NEW}-5"
        write_key(path, {**key_fields(1), "id": ""})
        assert await run.hour() == f"t1.of-{NEW}-6"
    assert ["cannot be used" in line for line in run.told] == [True, False, True]
    assert not [line for line in NEW_LINES if line in " ".join(run.told)]


async def test_a_key_that_iam_does_not_take_leaves_the_old_one_in_use(path: Path, iam: _Iam) -> None:
    """A new key that IAM refuses, or does not know yet, is tried at each renewal while the old one goes on."""
    with _run(path, iam) as run:
        await run.hour()
        write_key(path, key_fields(1), mode=0o644)
        assert [await run.hour(), await run.hour()] == [f"t1.of-{OLD}-3", f"t1.of-{OLD}-5"]
        assert len(run.told) == 1
        assert f"key {OLD} goes on: IAM answered 401: The key '{NEW}' is not known" in run.told[0]
        iam.keys = {NEW: pair(1)[1]}
        assert await run.hour() == f"t1.of-{NEW}-6"
    assert [line.partition(":")[0] for line in run.told[1:]] == [
        f"The key file {path} was replaced",
        f"Other users may use the key file {path} (its mode is 0644); mend it with",
    ]


async def test_where_neither_key_is_taken_the_new_ones_refusal_is_told(path: Path, iam: _Iam) -> None:
    """With the old key deleted and the new one not known, the error is the new key's."""
    with _run(path, iam) as run:
        await run.hour()
        iam.keys = {}
        write_key(path, key_fields(1))
        run.clock.now += HOUR
        with pytest.raises(CredentialsError, match=f"IAM answered 401: The key '{NEW}' is not known"):
            await run.keeper.obtain()
        assert iam.asked_by == [OLD, NEW, OLD]


async def test_another_service_account_is_not_taken_in_a_run(path: Path, iam: _Iam) -> None:
    """A file of another account, whose folder may be another, is told and not used: rows would be refused."""
    with _run(path, iam) as run:
        await run.hour()
        write_key(path, {**key_fields(1), "service_account_id": "ajesomebodyelse00000"})
        assert [await run.hour(), await run.hour()] == [f"t1.of-{OLD}-2", f"t1.of-{OLD}-3"]
    assert len(run.told) == 1
    assert "another service account, ajesomebodyelse00000" in run.told[0]


async def test_an_unchanged_file_says_nothing(path: Path, iam: _Iam) -> None:
    """A file that was written again as it was, or only touched, is no rotation."""
    with _run(path, iam) as run:
        for _ in range(3):
            await run.hour()
            write_key(path)
        assert (run.told, iam.asked_by) == ([], [OLD] * 3)


async def test_a_key_from_a_pipe_is_read_once(tmp_path: Path, iam: _Iam) -> None:
    """A key that comes through a pipe, as from a password store, is not looked for a second time."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(json.dumps(key_fields()),))
    writer.start()
    with _run(pipe, iam) as run:
        writer.join()
        assert [await run.hour(), await run.hour()] == [f"t1.of-{OLD}-1", f"t1.of-{OLD}-2"]
        assert [line for line in run.told if "cannot be used" in line] == []


async def test_a_new_key_waits_for_iam(path: Path, iam: _Iam) -> None:
    """Where IAM is away when the key was replaced, neither key is blamed, and the new one comes next time."""
    away = False

    def answer(asked: Asked) -> tuple[int, object]:
        return (503, {"message": "away"}) if away else iam.answer(asked)

    with issuing(answer) as server:
        run = _Run(path, server)
        await run.hour()
        away, iam.keys = True, {NEW: pair(1)[1]}
        write_key(path, key_fields(1))
        run.clock.now += HOUR
        with pytest.raises(ServiceUnavailable, match="503"):
            await run.keeper.obtain()
        away = False
        assert await run.hour() == f"t1.of-{NEW}-2"
    assert [line.partition(":")[0] for line in run.told if "key file" in line] == [
        f"The key file {path} was replaced"
    ]
