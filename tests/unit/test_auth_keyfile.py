"""Key files of service accounts: which are read, and what is said of those that are not."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import pytest
from clocks import FakeClock
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from unit.issuers import ACCOUNT_ID, KEY_ID, WARNING_LINE, key_fields, pair, write_key

from batch.auth.iam import ServiceAccount
from batch.auth.keyfile import KeyFile
from batch.errors import CredentialsError

PRIVATE = pair()[0]
_SECRET_LINE = PRIVATE.splitlines()[3]


def _account(path: Path) -> ServiceAccount:
    return ServiceAccount.of(path, "https://iam.invalid", FakeClock())


@pytest.mark.parametrize(
    "pem",
    [
        PRIVATE,
        WARNING_LINE + PRIVATE,
        WARNING_LINE + WARNING_LINE + "\n" + PRIVATE,
        (WARNING_LINE + PRIVATE).replace("\n", "\r\n"),
        PRIVATE.rstrip("\n"),
        f"  {PRIVATE}\n\nand something after it\n",
    ],
    ids=["plain", "warning", "two warnings", "CRLF", "no line end", "text around"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_key_files_that_are_read(pem: str, encoding: str, tmp_path: Path) -> None:
    """What stands around the PEM, line ends of Windows and a byte order mark do no harm."""
    path = tmp_path / "key.json"
    path.write_text(json.dumps({**key_fields(), "private_key": pem}), encoding=encoding, newline="\r\n")
    path.chmod(0o600)
    file = _account(path).file
    assert (file.id, file.service_account_id, file.warnings) == (KEY_ID, ACCOUNT_ID, ())
    assert file.private_key == PRIVATE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *[({name: value}, f"no field '{name}'") for name in ("id", "private_key") for value in ("", 7, None)],
        ({"service_account_id": "  "}, "no field 'service_account_id'"),
        ({"private_key": WARNING_LINE}, "holds no PEM"),
        ({"private_key": PRIVATE[: len(PRIVATE) // 2]}, "holds no PEM"),
        ({"private_key": PRIVATE.replace(_SECRET_LINE, _SECRET_LINE[:-4])}, "not a readable RSA key"),
        ({"private_key": pair()[1]}, "not a readable RSA key"),
    ],
)
def test_key_files_that_are_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    """The sentence says what is wrong and names the file; neither it nor the traceback shows the key."""
    path = write_key(tmp_path / "key.json", {**key_fields(), **change})
    with pytest.raises(CredentialsError, match=said) as failed:
        _account(path)
    assert str(path) in str(failed.value)
    assert "yc iam key create" in failed.value.hint
    shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value) + failed.value.hint
    assert not [line for line in PRIVATE.splitlines() if len(line) > 40 and line in shown]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"{" + b" " * (1 << 20) + b"}", PRIVATE.encode()]
)
def test_files_that_are_no_key_files(content: bytes, tmp_path: Path) -> None:
    """Something else than a JSON object of a key file's size is named as that, and is not shown."""
    path = tmp_path / "key.json"
    path.write_bytes(content)
    with pytest.raises(CredentialsError, match="not a JSON object") as failed:
        KeyFile.read(path)
    assert _SECRET_LINE not in "".join(traceback.format_exception(failed.value))


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    """The operating system's reason is told in the sentence."""
    with pytest.raises(CredentialsError, match="No such file"):
        KeyFile.read(tmp_path / "none.json")
    with pytest.raises(CredentialsError, match="Is a directory"):
        KeyFile.read(tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """PS256 needs an RSA key; one of an elliptic curve is refused before anything is sent."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(CredentialsError, match="RSA"):
        _account(write_key(tmp_path / "key.json", {**key_fields(), "private_key": pem}))


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o644, 1), (0o620, 1)]
)
def test_permissions_for_others_give_a_warning(mode: int, warned: int, tmp_path: Path) -> None:
    """A key file that the group or everybody may use is read, with a warning that says how to mend it."""
    path = write_key(tmp_path / "key.json", mode=mode)
    warnings = _account(path).file.warnings
    assert len(warnings) == warned
    assert all(f"{mode:04o}" in text and f"chmod 600 {path}" in text for text in warnings)


@pytest.mark.parametrize("missing", ["jwt", "cryptography.exceptions"])
def test_without_the_extra_the_sentence_names_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where PyJWT or cryptography is missing, the hint is the command that installs them."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CredentialsError, match="not installed") as failed:
        _account(write_key(tmp_path / "key.json"))
    assert failed.value.hint == "Install it with: pip install 'chatbatch[service-account]'."


def test_nothing_shows_the_key(tmp_path: Path) -> None:
    """However a service account and its parts are printed, no line of the key is there."""
    account = _account(write_key(tmp_path / "key.json"))
    shown = " ".join([repr(account), str(account), repr(account.file), repr(account.key)])
    assert KEY_ID in shown
    assert not [line for line in PRIVATE.splitlines() if line in shown]
