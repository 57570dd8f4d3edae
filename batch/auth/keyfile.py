"""The file of a service account's authorized key, as `yc iam key create` writes it."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from batch.errors import CredentialsError
from batch.jsontext import JsonObject, NotJson, parse

# Such a file has 2 to 4 KiB; whoever names a dataset instead is told so without reading all of it.
_LONGEST = 1 << 20
_FIELDS = ("id", "service_account_id", "private_key")
_BEGIN, _END = "-----BEGIN", "-----END"
_HOW = "Make one with: yc iam key create --service-account-name NAME -o key.json."


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key: its id, whose it is, and the private key in PEM, which is never shown."""

    id: str
    service_account_id: str
    private_key: str = field(repr=False)
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """Read a key file; raises `CredentialsError` that says what is wrong, and shows nothing of the file."""
        try:
            with path.open("rb") as file:
                content = file.read(_LONGEST + 1)
                mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            raise CredentialsError(f"The key file {path} cannot be read: {error.strerror}.", hint=_HOW) from None
        fields = _fields(path, content)
        warnings = (_warning(path, mode),) if mode & (stat.S_IRWXG | stat.S_IRWXO) else ()
        return cls(fields["id"], fields["service_account_id"], _pem(path, fields["private_key"]), warnings)


def _fields(path: Path, content: bytes) -> dict[str, str]:
    try:
        value = parse(content.removeprefix(b"\xef\xbb\xbf")) if len(content) <= _LONGEST else None
    except NotJson:  # its message may quote the file
        value = None
    if not isinstance(value, dict):
        raise CredentialsError(f"The key file {path} is not a JSON object.", hint=_HOW)
    return {name: _text(path, value, name) for name in _FIELDS}


def _text(path: Path, value: JsonObject, name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text.strip():
        raise CredentialsError(f"The key file {path} has no field {name!r}.", hint=_HOW)
    return text.strip()


def _pem(path: Path, text: str) -> str:
    """Return the PEM without what stands around it: the service puts a line of warning before it."""
    _, begin, rest = text.replace("\r\n", "\n").partition(_BEGIN)
    inside, end, tail = rest.partition(_END)
    last = tail.partition("\n")[0].rstrip()
    if not begin or not end:
        raise CredentialsError(f"The field 'private_key' of the key file {path} holds no PEM.", hint=_HOW)
    return f"{begin}{inside}{end}{last}\n"


def _warning(path: Path, mode: int) -> str:
    return f"Other users may use the key file {path} (its mode is {mode:04o}); mend it with: chmod 600 {path}"
