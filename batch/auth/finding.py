"""Where credentials are looked for, in the official SDK's order; the first that is there is taken.

A key file that was asked for by name comes before everything else. Looking sends nothing for keys, tokens and
key files; the metadata service and `yc` have to be asked whether they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from batch.auth.apart import apart
from batch.auth.credentials import Credentials
from batch.auth.exchange import usable
from batch.auth.iam import HOST
from batch.auth.keeper import Keeper
from batch.auth.metadata import ADDRESS, ADDRESS_VARIABLE, Metadata
from batch.auth.rotation import RotatingKey
from batch.auth.yc import Cli
from batch.clock import Clock
from batch.errors import CredentialsError, ServiceUnavailable
from batch.parsing import home_expanded

# The official SDK's variables come first, in its order; then those of the service's guide.
_API_KEYS = ("YC_API_KEY", "API_KEY")
_VARIABLES = ("YC_API_KEY", "YC_IAM_TOKEN", "API_KEY", "IAM_TOKEN")
_KEY_FILE = "YC_SERVICE_ACCOUNT_KEY_FILE"
_FOLDERS = ("YC_FOLDER_ID", "FOLDER_ID")
_NOT_SET = "not set"
# How it is said of a place that there is nothing; whatever else is said there is part of the error.
_NOBODY = (_NOT_SET, "cannot be reached.", "on the PATH")
# Seconds of real time for a token, and for the question whether there is a metadata service.
LONGEST_S = 45.0
LONGEST_PROBE_S = 3.0
_NOWHERE = (
    "There are no credentials: set API_KEY to the secret of a service account's API key, or IAM_TOKEN to what "
    "`yc iam create-token` prints (YC_API_KEY and YC_IAM_TOKEN are read first), or name a service account's "
    "key file with --service-account-key"
)
_ROLE = "The account needs the role ai.languageModels.user. To try without an account, add --emulate."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say: a key file that was asked for by name, and where IAM is asked."""

    key_file: Path | None = None
    iam_host: str = HOST


@dataclass(frozen=True, slots=True)
class Look:
    """One place that was looked at: `state` is found, not found, wrong, or not looked at; `why` says more."""

    source: str
    state: str
    why: str = ""


_Source = Callable[[], "Credentials | str"]


def find(
    wanted: Wanted, environment: Mapping[str, str], clock: Clock, looks: list[Look] | None = None
) -> Credentials:
    """Return the first credential that there is; `looks` is filled with what was looked at, in order.

    Raises `CredentialsError` where there is none, or where one is there and cannot be used: another one is not
    taken in its place. Called outside of an event loop, since `yc` may take seconds.
    """
    looks = looks if looks is not None else []
    found: Credentials | None = None
    for name, source in _sources(wanted, environment, clock):
        if found is not None:
            looks.append(Look(name, "not looked at"))
            continue
        try:
            result = source()
        except CredentialsError as error:
            looks.append(Look(name, "wrong", str(error)))
            raise
        found = result if isinstance(result, Credentials) else None
        looks.append(Look(name, "not found", result) if isinstance(result, str) else Look(name, "found"))
    if found is None:
        said = [look.why.rstrip(".") for look in looks if look.why and not look.why.endswith(_NOBODY)]
        raise CredentialsError("; ".join([_NOWHERE, *said]) + ".", hint=_ROLE)
    return found


def _sources(wanted: Wanted, environment: Mapping[str, str], clock: Clock) -> Iterator[tuple[str, _Source]]:
    yield "--service-account-key", partial(_key_file, wanted.key_file, wanted, clock)
    for variable in _VARIABLES:
        yield variable, partial(_variable, variable, environment)
    named = environment.get(_KEY_FILE, "").strip()
    yield _KEY_FILE, partial(_key_file, home_expanded(named) if named else None, wanted, clock)
    address = environment.get(ADDRESS_VARIABLE, "").strip()
    yield "the virtual machine's metadata", partial(_metadata, Metadata(address or ADDRESS, clock), clock)
    yield "the yc CLI", partial(_cli, environment, clock)


def from_environment(environment: Mapping[str, str]) -> Credentials:
    """Return the first key or token that the environment holds, stripped of white space.

    Raises `CredentialsError` that names the variables where there is none, or where one cannot be a header.
    """
    for variable in _VARIABLES:
        found = _variable(variable, environment)
        if isinstance(found, Credentials):
            return found
    raise CredentialsError(_NOWHERE + ".", hint=_ROLE)


def _variable(variable: str, environment: Mapping[str, str]) -> Credentials | str:
    secret = environment.get(variable, "").strip()
    if not secret:
        return _NOT_SET
    if not usable(secret):
        raise CredentialsError(
            f"{variable} holds something that is no credential (white space, quotes, non-ASCII).",
            hint="Copy the key or the token again, without quotes and line breaks.",
        )
    return Credentials("API key" if variable in _API_KEYS else "IAM token", variable, secret)


def _key_file(path: Path | None, wanted: Wanted, clock: Clock) -> Credentials | str:
    if path is None:
        return _NOT_SET
    key = RotatingKey(path, wanted.iam_host, clock)
    keeper = Keeper(partial(apart, key.obtain, LONGEST_S, "IAM"), clock, material=key.material, notes=key.notes)
    file = key.account.file
    origin = f"{path} (key {file.id} of service account {file.service_account_id})"
    return Credentials("service account key", origin, warnings=file.warnings, keeper=keeper, own_folder=True)


def _metadata(metadata: Metadata, clock: Clock) -> Credentials | str:
    who = f"The metadata service at {metadata.address}"
    try:
        first = anyio.run(apart, metadata.probe, LONGEST_PROBE_S, who)
    except (CredentialsError, ServiceUnavailable) as error:
        return str(error)
    keeper = Keeper(partial(apart, metadata.obtain, LONGEST_S, who), clock, first)
    return Credentials("IAM token", "the virtual machine's metadata", keeper=keeper, own_folder=True)


def _cli(environment: Mapping[str, str], clock: Clock) -> Credentials | str:
    cli = Cli.found(environment)
    if cli is None:
        return "there is no `yc` on the PATH"
    try:
        first = cli.obtain()
    except ServiceUnavailable as error:
        return str(error)
    keeper = Keeper(partial(apart, cli.obtain, LONGEST_S, "`yc iam create-token`"), clock, first)
    return Credentials("IAM token", "the yc CLI", keeper=keeper)


def for_emulator() -> Credentials:
    """Return the credential with which the local emulator is asked; it is no secret."""
    return Credentials("API key", "emulator", "emulated-key")


def folder_from_environment(environment: Mapping[str, str]) -> str | None:
    """Return the folder that the environment names, the SDK's variable first."""
    found = (environment.get(variable, "").strip() for variable in _FOLDERS)
    return next((folder for folder in found if folder), None)
