"""Credentials: which are found, which are refused, how requests carry them, and that nobody sees them."""

from __future__ import annotations

import copy
import dataclasses
import pprint
import traceback
import uuid

import httpx
import pytest

from batch.auth import (
    REMOVED,
    Credentials,
    ServiceAuth,
    folder_from_environment,
    for_emulator,
    from_environment,
)
from batch.emulator import Config, background
from batch.errors import AttemptFailed, CredentialsError, ExitCode
from batch.providers.yandex import Models, YandexProvider
from batch.records import Message, Options, Request, RequestIds
from batch.transport import open_client

SECRET = "AQVN-nobody_may-see_this"
ORDER = ("YC_API_KEY", "YC_IAM_TOKEN", "API_KEY", "IAM_TOKEN")


def _header(credentials: Credentials, folder: str | None = None) -> httpx.Headers:
    """Return the headers of a request that carries the credential."""
    request = httpx.Request("POST", "http://service.invalid/")
    (sent,) = credentials.auth(folder).sync_auth_flow(request)
    return sent.headers


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_order_of_the_variables(first: int) -> None:
    """The SDK's variables are read before the guide's; those that follow the first are not looked at."""
    found = from_environment({name: f"secret-of-{name}" for name in ORDER[first:]})
    assert found.origin == ORDER[first]
    assert found.kind == ("API key" if "API_KEY" in ORDER[first] else "IAM token")
    assert _header(found)["authorization"].endswith(f" secret-of-{ORDER[first]}")


@pytest.mark.parametrize("empty", ["", "   ", "\n"])
def test_an_empty_variable_is_none(empty: str) -> None:
    """A variable that is set to nothing is passed over."""
    assert from_environment({"YC_API_KEY": empty, "IAM_TOKEN": SECRET}).origin == "IAM_TOKEN"


@pytest.mark.parametrize("text", [f"{SECRET}\n", f"  {SECRET}  ", f"\t{SECRET}\r\n", f"\u00a0{SECRET}"])
def test_white_space_around_a_credential_is_taken_off(text: str) -> None:
    """The line end that a file or a command adds is no part of the key."""
    assert _header(from_environment({"API_KEY": text}))["authorization"] == f"Api-Key {SECRET}"


@pytest.mark.parametrize(
    "text",
    [
        *[f"{SECRET} {SECRET}", f"{SECRET}\n{SECRET}", f"{SECRET}\r\nx-folder-id: b1g", f"{SECRET}\x00"],
        *[f"{SECRET}\t1", f"ключ-{SECRET}", f"\ufeff{SECRET}", f"{SECRET}\u2026"],
        *[f'"{SECRET}"', f"'{SECRET}'", f"{SECRET}\\n", f"<{SECRET}>", f"{SECRET}&a"],
    ],
    ids=lambda text: repr(text.replace(SECRET, "KEY")),
)
@pytest.mark.parametrize("variable", ORDER)
def test_a_value_that_is_no_credential(variable: str, text: str) -> None:
    """A value that no header takes, or that an echo would spell otherwise, is refused and not shown."""
    with pytest.raises(CredentialsError, match=f"^{variable} holds something") as failed:
        from_environment({variable: text})
    assert failed.value.exit_code is ExitCode.CREDENTIALS
    assert "without quotes" in failed.value.hint
    assert SECRET not in "".join(traceback.format_exception(failed.value)) + repr(failed.value)


def test_no_credentials_at_all() -> None:
    """Where there is nothing, the message names the variables and where their values come from."""
    with pytest.raises(CredentialsError) as failed:
        from_environment({"FOLDER_ID": "b1g", "OPENAI_API_KEY": SECRET})
    for named in (*ORDER, "yc iam create-token"):
        assert named in str(failed.value)
    assert "ai.languageModels.user" in failed.value.hint
    assert SECRET not in f"{failed.value!r} {failed.value}"


@pytest.mark.parametrize("variable", ORDER)
def test_nothing_shows_the_secret(variable: str) -> None:
    """However credentials and what is made of them are printed, the secret is not there."""
    found = from_environment({variable: SECRET})
    auth = found.auth("b1g")
    shown = [
        str(found),
        repr(found),
        f"{found}",
        pprint.pformat(found),
        repr([found]),
        repr(copy.copy(found)),
    ]
    shown += [repr(auth), str(auth), pprint.pformat(auth), repr(_header(found))]
    with pytest.raises(dataclasses.FrozenInstanceError) as failed:
        found._secret = "another"  # type: ignore[misc]
    shown += [repr(failed.value)]
    assert SECRET not in " ".join(shown)
    assert found.kind in repr(found)
    assert variable in repr(found)


@pytest.mark.parametrize(
    ("kind", "folder", "expected"),
    [
        ("API key", "b1g", {"authorization": f"Api-Key {SECRET}"}),
        ("API key", None, {"authorization": f"Api-Key {SECRET}"}),
        ("IAM token", "b1g", {"authorization": f"Bearer {SECRET}", "x-folder-id": "b1g"}),
        ("IAM token", None, {"authorization": f"Bearer {SECRET}"}),
        ("IAM token", "", {"authorization": f"Bearer {SECRET}"}),
    ],
)
def test_what_a_request_carries(kind: str, folder: str | None, expected: dict[str, str]) -> None:
    """A token names its folder; a key never does, because it has one and another would be refused."""
    headers = dict(_header(Credentials(kind, "test", SECRET), folder))
    assert {name: headers[name] for name in ("authorization", "x-folder-id") if name in headers} == expected


def test_a_request_is_sent_once() -> None:
    """A refusal is not answered by sending the request again: it may cost."""
    flow = ServiceAuth("Api-Key", SECRET, None).auth_flow(httpx.Request("POST", "http://service.invalid/"))
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(httpx.Response(401))


@pytest.mark.parametrize("template", [b"", b"nothing", b"%s", b"'%s' and '%s'%s", b"\xff%s\x00"])
def test_redaction(template: bytes) -> None:
    """Every occurrence of the secret is replaced, and nothing else is touched, whatever the bytes."""
    credentials = Credentials("API key", "test", SECRET)
    redacted = credentials.redact(template.replace(b"%s", SECRET.encode()))
    assert redacted == template.replace(b"%s", REMOVED.encode())


@pytest.mark.parametrize("short", ["any", "e", "b", "0123456789abcde"])
def test_a_word_as_a_key_harms_no_answer(short: str) -> None:
    """A key that is as short as a word is removed from errors where it stands alone, and answers stay whole."""
    credentials = Credentials("API key", "test", short)
    text = f'{{"message":"many a body, {short}: company \\u00{short}"}}'.encode()
    assert credentials.redact(text, answer=True) == text
    redacted = credentials.redact(f"Unknown api key '{short}', not x{short}".encode())
    assert redacted == f"Unknown api key '{REMOVED}', not x{short}".encode()


@pytest.mark.parametrize("answer", [False, True])
def test_a_real_key_is_removed_from_answers_too(answer: bool) -> None:
    """No answer holds a real key by chance."""
    credentials = Credentials("API key", "test", SECRET)
    assert credentials.redact(f"x{SECRET}x".encode(), answer=answer) == f"x{REMOVED}x".encode()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["API key", "IAM token"])
async def test_a_key_that_the_service_echoes_is_not_seen_again(kind: str) -> None:
    """The service repeats an unknown key in its refusal; neither the reply nor the error holds it."""
    credentials = Credentials(kind, "test", SECRET)
    with background(Config(api_key="right", iam_token="t1.right", capture=1)) as running:
        url = running.base_url
        async with open_client(url, 5.0, credentials.auth("b1g"), use_proxies=False) as client:
            provider = YandexProvider(
                client, credentials, Models("b1g"), base_url=url, timeout_s=5.0, data_logging=True
            )
            body = provider.encode(Request("yandexgpt-lite", (Message("user", "?"),), Options()))
            reply = await provider.send(body, RequestIds.of(str(uuid.UUID(int=7)), "row"), 1)
        assert SECRET in running.emulator.captured[0].headers["authorization"]
    with pytest.raises(AttemptFailed) as failed:
        provider.judge(reply)
    assert reply.http_status == 401
    assert (failed.value.code, failed.value.stops_run) == ("UNAUTHENTICATED", ExitCode.CREDENTIALS)
    assert SECRET not in f"{reply!r} {failed.value!r}" + "".join(traceback.format_exception(failed.value))
    if kind == "API key":
        assert str(failed.value) == f"Unknown api key '{REMOVED}'"


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"YC_FOLDER_ID": "sdk", "FOLDER_ID": "guide"}, "sdk"),
        ({"YC_FOLDER_ID": " ", "FOLDER_ID": " guide\n"}, "guide"),
        ({"FOLDER_ID": "guide"}, "guide"),
        ({"FOLDER_ID": ""}, None),
        ({}, None),
    ],
)
def test_the_folder_of_the_environment(environment: dict[str, str], folder: str | None) -> None:
    """The folder comes from the SDK's variable or the guide's, without white space; an empty one is none."""
    assert folder_from_environment(environment) == folder


def test_the_emulators_credential_is_no_secret() -> None:
    """The local emulator is asked with a made-up key, whatever the environment holds."""
    assert _header(for_emulator())["authorization"] == "Api-Key emulated-key"
    assert for_emulator().origin == "emulator"
