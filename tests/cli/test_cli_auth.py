"""`auth check`, runs with a service account's key file, and that no secret is written anywhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from e2e.harness import (
    FOLDER,
    SECRET,
    Shell,
    billed,
    ended,
    killed_at_the_end,
    start,
    statuses,
    wait_until,
    write_chats,
)
from unit.issuers import ACCOUNT_ID, KEY_ID, NOBODY, Asked, issuing, jwt_of, key_fields, pair, write_key, write_yc

from batch.emulator import Config, Fault, Latency, background

TOKEN = "t1.9euelZq-a-token-that-nobody_may-see-0123456789"
KEY_LINES = [line for line in pair()[0].splitlines() if not line.startswith("-----")]


def _issue(_: Asked) -> tuple[int, object]:
    expiry = datetime.fromtimestamp(time.time() + 12 * 3600, UTC)
    return 200, {"iamToken": TOKEN, "expiresAt": expiry.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")}


@pytest.fixture
def nowhere(shell: Shell) -> Shell:
    """A machine without credentials, metadata and yc."""
    shell.setenv(API_KEY="", YC_METADATA_ADDR=NOBODY, PATH="")
    return shell


def test_a_key_file(nowhere: Shell, tmp_path: Path) -> None:
    """Kind, origin, expiry, folder and the warning are told; neither token nor key is."""
    key = write_key(tmp_path / "key.json", mode=0o644)
    with issuing(_issue) as iam:
        ran = nowhere("auth", "check", "--service-account-key", key, "--iam-url", iam.url)
        assert len(iam.asked) == 1
    assert (ran.code, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].endswith(f"service account key from {key} (key {KEY_ID} of service account {ACCOUNT_ID})")
    assert "expires 20" in lines[1]
    assert lines[1].endswith("in 11 h 59 min") or lines[1].endswith("in 12 h 00 min")
    assert lines[2].endswith(FOLDER)
    assert "chmod 600" in lines[3]
    assert lines[5].split() == ["--service-account-key", "found"]
    assert [line for line in lines[6:] if not line.endswith("not looked at")] == []
    assert not [secret for secret in (TOKEN, *KEY_LINES) if secret in ran.said]


def test_as_json(nowhere: Shell, tmp_path: Path) -> None:
    """With --json the same is one typed line."""
    nowhere.setenv(YC_SERVICE_ACCOUNT_KEY_FILE=str(write_key(tmp_path / "key.json")))
    with issuing(_issue) as iam:
        ran = nowhere("auth", "check", "--json", "--base-url", iam.url)
    (told,) = ran.events()
    assert (ran.code, told["event"], told["kind"], told["obtained"]) == (
        0,
        "auth_check",
        "service account key",
        True,
    )
    assert (told["folder"], told["warnings"], told["error"]) == (FOLDER, [], None)
    assert isinstance(told["left_s"], float)
    assert 11.9 * 3600 < told["left_s"] <= 12 * 3600 + 1
    assert isinstance(told["sources"], list)
    states = [source["state"] for source in told["sources"]]
    assert states == ["not found"] * 5 + ["found"] + ["not looked at"] * 2
    assert TOKEN not in ran.said


@pytest.mark.parametrize(("variable", "kind"), [("API_KEY", "API key"), ("YC_IAM_TOKEN", "IAM token")])
def test_keys_and_tokens_are_not_tried_out(variable: str, kind: str, nowhere: Shell) -> None:
    """For a key or a token of the environment nothing is asked, and that is said."""
    nowhere.setenv(**{variable: SECRET})
    with issuing(_issue) as server:
        ran = nowhere("auth", "check", "--base-url", server.url)
        assert (ran.code, server.asked) == (0, [])
    assert f"{kind} from {variable}" in ran.stdout
    assert "nothing was asked" in ran.stdout
    assert SECRET not in ran.said


def test_metadata_and_yc(nowhere: Shell, tmp_path: Path) -> None:
    """The metadata's token is asked for once; yc's has no known expiry, and that is said."""
    with issuing(lambda _: (200, {"access_token": TOKEN, "expires_in": 7260})) as server:
        nowhere.setenv(YC_METADATA_ADDR=server.address)
        ran = nowhere("auth", "check")
        assert len(server.asked) == 1
    assert "IAM token from the virtual machine's metadata" in ran.stdout
    assert "in 2 h 00 min" in ran.stdout
    nowhere.setenv(YC_METADATA_ADDR=NOBODY, PATH=write_yc(tmp_path / "bin", f"echo {TOKEN}\n"))
    ran = nowhere("auth", "check")
    assert "IAM token from the yc CLI" in ran.stdout
    assert "does not say when it expires" in ran.stdout
    assert TOKEN not in ran.said


@pytest.mark.parametrize("as_json", [False, True])
def test_no_credentials(as_json: bool, nowhere: Shell) -> None:
    """Without any the exit code is 4, and every place is listed with what was there."""
    ran = nowhere("auth", "check", *(["--json"] if as_json else []))
    assert ran.code == 4
    assert "There are no credentials" in ran.stderr
    if as_json:
        (told,) = ran.events()
        assert told["kind"] is None
        assert "There are no credentials" in str(told["error"])
    else:
        assert ran.stdout.count("not found") == 8
        assert "cannot be reached" in ran.stdout


@pytest.mark.parametrize(("status", "code"), [(401, 4), (503, 5)])
def test_a_key_that_brings_no_token(status: int, code: int, nowhere: Shell, tmp_path: Path) -> None:
    """A key that IAM refuses is exit 4, an IAM that is away 5; its message is told."""
    key = write_key(tmp_path / "key.json")
    with issuing(lambda _: (status, {"code": 16, "message": "because"})) as iam:
        ran = nowhere("auth", "check", "--service-account-key", key, "--iam-url", iam.url)
    assert ran.code == code
    assert f"IAM answered {status}: because" in ran.stderr
    assert not [line for line in KEY_LINES if line in ran.said]


def test_a_broken_key_file(nowhere: Shell, tmp_path: Path) -> None:
    """A key file that cannot be used is exit 4 with its reason, and nothing after it is taken."""
    nowhere.setenv(API_KEY=SECRET)
    key = write_key(tmp_path / "key.json", {**key_fields(), "private_key": "none"})
    ran = nowhere("auth", "check", "--service-account-key", key)
    assert (ran.code, ran.stdout.count("wrong")) == (4, 1)
    assert "holds no PEM" in ran.stderr


def _leaks(folder: Path, said: str, secrets: list[str]) -> list[str]:
    """Return the places at which a secret was written: what was printed, and every file of the run."""
    written = {"printed": said.encode()}
    for path in folder.rglob("*"):
        if path.is_file():
            written[str(path)] = path.read_bytes()
    return [place for place, text in written.items() for secret in secrets if secret.encode() in text]


@pytest.mark.parametrize("refused", [False, True])
def test_no_secret_is_written_anywhere(refused: bool, nowhere: Shell, tmp_path: Path) -> None:
    """A run by a key file, answered or refused, leaves no token, JWT or line of the key anywhere."""
    folder = tmp_path / "run"
    folder.mkdir()
    rows, key = write_chats(folder / "in.jsonl", 20), write_key(tmp_path / "key.json")
    faults = () if refused else (Fault("500", 0.1),)
    config = Config(iam_token="t1.another" if refused else TOKEN, faults=faults, capture=30)
    with issuing(_issue) as iam, background(config) as service:
        where = ["--base-url", service.base_url, "--iam-url", iam.url, "--service-account-key", key]
        ran = nowhere("run", rows, "-o", folder / "out.parquet", *where, "-vv")
        jwts = [jwt_of(asked) for asked in iam.asked]
        carried = {seen.headers["authorization"] for seen in service.emulator.captured}
    assert ran.code == (4 if refused else 0)
    assert carried == {f"Bearer {TOKEN}"}
    assert statuses(folder / "out.parquet") == ({"pending": 20} if refused else {"ok": 20})
    assert _leaks(folder, ran.said, [TOKEN, *jwts, *[jwt.rpartition(".")[2] for jwt in jwts], *KEY_LINES]) == []
    (folder / "planted").write_text(TOKEN)
    assert _leaks(folder, "", [TOKEN]) == [str(folder / "planted")]


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_token_that_the_service_echoes_is_not_written(status: int, nowhere: Shell, tmp_path: Path) -> None:
    """A service that repeats the token in its errors brings it neither into the journal nor into the output."""
    folder = tmp_path / "run"
    folder.mkdir()
    rows, key = write_chats(folder / "in.jsonl", 3), write_key(tmp_path / "key.json")

    def echo(asked: Asked) -> tuple[int, object]:
        return status, {"error": {"message": f"wrong: {asked[2]['authorization']}"}}

    with issuing(_issue) as iam, issuing(echo) as service:
        where = ["--base-url", service.url, "--iam-url", iam.url, "--service-account-key", key]
        ran = nowhere("run", rows, "-o", folder / "out.jsonl", *where, "-vv", "--retries", "2")
        assert len(service.asked) >= 3
    assert ran.code == (3 if status in (400, 500) else 4)
    assert "wrong: Bearer [secret removed]" in ran.stderr
    assert _leaks(folder, ran.said, [TOKEN, *KEY_LINES]) == []


def test_a_token_that_dies_half_way_costs_no_row(tmp_path: Path) -> None:
    """Where the service refuses a token during a run, a new one is obtained once and every row has its answer."""
    rows, key = write_chats(tmp_path / "in.jsonl", 60), write_key(tmp_path / "key.json")
    config = Config(latency=Latency.parse("fixed:0.03"), service_account_keys={KEY_ID: (ACCOUNT_ID, pair()[1])})
    with background(config) as service:
        where = ["--base-url", service.base_url, "--service-account-key", key]
        words = ["run", rows, "-o", tmp_path / "out.parquet", *where, "--json"]
        with killed_at_the_end(start(*words, env={"FOLDER_ID": FOLDER})) as process:
            wait_until(lambda: billed(service) >= 10, "10 billed")
            service.emulator.revoke_tokens()
            ran = ended(process)
        assert service.ledger.activity().iam_tokens == 2
        assert billed(service) == 60
    assert ran.code == 0
    assert statuses(tmp_path / "out.parquet") == {"ok": 60}
    assert "UNAUTHENTICATED" not in ran.stdout + ran.stderr
