"""Where credentials are looked for, in which order, and what is said of each place."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

import pytest
from clocks import FakeClock
from unit.issuers import ACCOUNT_ID, KEY_ID, NOBODY, Asked, issuing, key_fields, write_key, write_yc

from batch.auth import Credentials, Look, Wanted, find
from batch.auth.metadata import Metadata
from batch.auth.yc import Cli
from batch.errors import CredentialsError, ServiceUnavailable

TOKEN = "t1.9euelZq-a-token-that-nobody_may-see"
NOWHERE = {"YC_METADATA_ADDR": NOBODY, "PATH": ""}
SOURCES = [
    *["--service-account-key", "YC_API_KEY", "YC_IAM_TOKEN", "API_KEY", "IAM_TOKEN"],
    *["YC_SERVICE_ACCOUNT_KEY_FILE", "the virtual machine's metadata", "the yc CLI"],
]
METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


def _metadata(asked: Asked) -> tuple[int, object]:
    method, path, headers, _ = asked
    if (method, path, headers.get("metadata-flavor")) != ("GET", METADATA_PATH, "Google"):
        return 404, b""
    return 200, {"access_token": TOKEN, "expires_in": 43200, "token_type": "Bearer"}


def _token(credentials: Credentials) -> str:
    assert credentials.keeper is not None
    held = credentials.keeper.fresh()
    return held.value if held else ""


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_order(first: int, tmp_path: Path) -> None:
    """Of all the places that hold a credential the first is taken, and those after it are not looked at."""
    key = write_key(tmp_path / "key.json")
    path = write_yc(tmp_path / "bin", f"echo {TOKEN}\n")
    there = SOURCES[first:]
    with issuing(_metadata) as server:
        environment = {name: f"secret-of-{name}" for name in there if name.isupper() and "FILE" not in name}
        if SOURCES[5] in there:
            environment[SOURCES[5]] = str(key)
        environment["YC_METADATA_ADDR"] = server.address if SOURCES[6] in there else NOBODY
        environment["PATH"] = path
        looks: list[Look] = []
        found = find(Wanted(key if first == 0 else None), environment, FakeClock(), looks)
        asked = len(server.asked)
    expected = [
        *[(f"{key} (key {KEY_ID} of service account {ACCOUNT_ID})")],
        *SOURCES[1:5],
        *[(f"{key} (key {KEY_ID} of service account {ACCOUNT_ID})"), *SOURCES[6:]],
    ]
    assert found.origin == expected[first]
    assert [look.source for look in looks] == SOURCES
    states = [look.state for look in looks]
    assert states == ["not found"] * first + ["found"] + ["not looked at"] * (len(SOURCES) - first - 1)
    assert asked == (1 if first == 6 else 0)


def test_kinds_and_tokens(tmp_path: Path) -> None:
    """A key file obtains nothing when it is found; metadata and yc bring their first token with them."""
    clock = FakeClock()
    by_file = find(Wanted(write_key(tmp_path / "key.json", mode=0o644)), NOWHERE, clock)
    assert (by_file.kind, _token(by_file), len(by_file.warnings)) == ("service account key", "", 1)
    with issuing(_metadata) as server:
        by_metadata = find(Wanted(), {**NOWHERE, "YC_METADATA_ADDR": server.address}, clock)
    assert (by_metadata.kind, _token(by_metadata), by_metadata.warnings) == ("IAM token", TOKEN, ())
    by_cli = find(Wanted(), {**NOWHERE, "PATH": write_yc(tmp_path / "bin", f"echo {TOKEN}\n")}, clock)
    assert (by_cli.kind, _token(by_cli)) == ("IAM token", TOKEN)
    assert [found.own_folder for found in (by_file, by_metadata, by_cli)] == [True, True, False]


@pytest.mark.parametrize("named", ["flag", "variable"])
def test_a_key_file_that_is_wrong_is_not_passed_over(named: str, tmp_path: Path) -> None:
    """A credential that is there and broken is an error: another account is not charged in its place."""
    key = write_key(tmp_path / "key.json", {**key_fields(), "id": ""})
    environment = {**NOWHERE, "PATH": write_yc(tmp_path / "bin", f"echo {TOKEN}\n")}
    if named == "variable":
        environment["YC_SERVICE_ACCOUNT_KEY_FILE"] = str(key)
    looks: list[Look] = []
    with pytest.raises(CredentialsError, match="no field 'id'"):
        find(Wanted(key if named == "flag" else None), environment, FakeClock(), looks)
    assert looks[-1].state == "wrong"


def test_nothing_anywhere_is_found_out_quickly() -> None:
    """Without any credential the sentence names the ways to give one, within a second and a half."""
    began, looks = time.monotonic(), list[Look]()
    with pytest.raises(CredentialsError) as failed:
        find(Wanted(), NOWHERE, FakeClock(), looks)
    assert time.monotonic() - began < 1.5
    for named in ("API_KEY", "IAM_TOKEN", "--service-account-key", "yc iam create-token"):
        assert named in str(failed.value)
    assert {look.source: look.why for look in looks} == {
        **dict.fromkeys(SOURCES[:6], "not set"),
        SOURCES[6]: f"The metadata service at {NOBODY} cannot be reached.",
        SOURCES[7]: "there is no `yc` on the PATH",
    }


@pytest.mark.parametrize(
    ("status", "content", "why"),
    [
        (404, b"no such thing", "answered 404"),
        (500, b"", "answered 500"),
        (200, b"<html>", "not JSON"),
        (200, {"expires_in": 5}, "without a token"),
        (200, {"access_token": "ya29.of-another-cloud", "expires_in": 5}, "another cloud's"),
    ],
)
def test_metadata_services_that_bring_nothing(status: int, content: object, why: str) -> None:
    """A machine without a service account, and a machine of another cloud, have no credential for us."""
    looks: list[Look] = []
    with issuing(lambda _: (status, content)) as server, pytest.raises(CredentialsError) as failed:
        find(Wanted(), {**NOWHERE, "YC_METADATA_ADDR": server.address}, FakeClock(), looks)
    assert why in looks[6].why
    assert looks[6].why.rstrip(".") in str(failed.value)
    assert "ya29" not in repr(looks)


def test_a_metadata_service_that_hangs_is_given_up() -> None:
    """Somebody who accepts connections at the address and says nothing costs about a second."""
    began = time.monotonic()
    with issuing(lambda _: (time.sleep(1.4), (200, {}))[1]) as server:
        with pytest.raises(ServiceUnavailable, match="took too long"):
            Metadata(server.address, FakeClock()).probe()
        assert 0.9 < time.monotonic() - began < 1.35


def test_the_metadata_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is not told that somebody wants the machine's token."""
    with issuing(_metadata) as server, issuing(lambda _: (502, b"")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        token = Metadata(f"http://{server.address}", clock := FakeClock()).obtain()
        assert proxy.asked == []
    assert (token.value, token.expires_at) == (TOKEN, clock.time() + 43200)


@pytest.mark.parametrize("seconds", [None, "600", 0, -5, True])
def test_an_expiry_that_is_not_stated(seconds: object) -> None:
    """Where the metadata service does not say how long a token lives, that is not known."""
    with issuing(lambda _: (200, {"access_token": TOKEN, "expires_in": seconds})) as server:
        assert Metadata(server.address, FakeClock()).obtain().expires_at is None


@pytest.mark.parametrize("address", ["no such host", "host:port", "127.0.0.1:99999"])
def test_an_address_that_is_none(address: str) -> None:
    """A wrong YC_METADATA_ADDR is no crash: nothing was found there."""
    looks: list[Look] = []
    with pytest.raises(CredentialsError, match="There are no credentials"):
        find(Wanted(), {**NOWHERE, "YC_METADATA_ADDR": address}, FakeClock(), looks)
    assert looks[6].state == "not found"


@pytest.mark.parametrize(
    "script",
    [
        f"echo {TOKEN}\n",
        f"echo 'There is a new yc version!'; echo; echo '  {TOKEN}  '; echo\n",
        f"echo 'a warning' >&2; printf '%s' '{TOKEN}'\n",
        f'[ "$1 $2" = "iam create-token" ] && printf "{TOKEN}\\r\\n"\n',
        f"read line; echo ${{line}}{TOKEN}\n",
        f"echo {TOKEN}; echo; echo 'There is a new yc version 0.120'\n",
        f"echo {TOKEN}; echo Done.\n",
    ],
    ids=["alone", "last line", "stderr", "arguments", "no input", "news after it", "a word after it"],
)
def test_what_yc_prints(script: str, tmp_path: Path) -> None:
    """The token is the last line of what `yc iam create-token` prints, or the last that begins like one."""
    cli = Cli.found({"PATH": write_yc(tmp_path / "bin", script)})
    assert cli is not None
    token = cli.obtain()
    assert (token.value, token.expires_at) == (TOKEN, None)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            f"echo {TOKEN}; printf 'ERROR: not \\033[31mlogged in\\nmore' >&2; exit 3\n",
            "failed with 3: ERROR: not",
        ),
        ("exit 1\n", "failed with 1: it says nothing"),
        (
            f"echo 'ERROR: token={TOKEN} is wrong' >&2; exit 1\n",
            r"failed with 1: ERROR: token=\[secret removed\] is",
        ),
        ("true\n", "printed no token"),
        ("echo 'Copy this: ключ'\n", "printed no token"),
        ("echo 'There is a new yc version 0.120'\n", "printed no token"),
        (f"sleep 2 & echo {TOKEN}; exec sleep 2\n", "did not end within 0.3 s"),
    ],
)
def test_yc_that_brings_nothing(script: str, said: str, tmp_path: Path) -> None:
    """A yc that fails, says nothing or hangs is named with its first line; what it printed is not shown."""
    path = write_yc(tmp_path / "bin", script)
    with pytest.raises(ServiceUnavailable, match=said) as failed:
        Cli(str(tmp_path / "bin" / "yc"), {"PATH": path}, timeout_s=0.3).obtain()
    assert TOKEN not in "".join(traceback.format_exception(failed.value))
    assert "\x1b" not in str(failed.value)


def test_what_yc_says_is_part_of_the_error(tmp_path: Path) -> None:
    """Where yc is the only hope and is not logged in, the error says so."""
    path = write_yc(tmp_path / "bin", "echo 'ERROR: please run yc init.' >&2; exit 1\n")
    with pytest.raises(
        CredentialsError, match=r"API_KEY.*; `yc iam create-token` failed with 1: ERROR: please run"
    ):
        find(Wanted(), {**NOWHERE, "PATH": path}, FakeClock())


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    """A yc that is no program is told by the operating system's reason."""
    write_yc(tmp_path / "bin", "")
    (tmp_path / "bin" / "yc").write_bytes(b"\x7fELF no program")
    with pytest.raises(ServiceUnavailable, match="`yc` cannot be run: Exec format error"):
        Cli(str(tmp_path / "bin" / "yc"), {}).obtain()
