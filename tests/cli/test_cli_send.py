"""`chatbatch send`: one body as it stands, the answer as it comes, and anything but 200 is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.harness import FOLDER, SAMPLES, SECRET, Shell, requests, run_cli

from batch.emulator import Config, background
from batch.emulator.wire import parse_completion

BODY = SAMPLES / "body.json"


def test_send_prints_the_answer_as_it_came(shell: Shell) -> None:
    """The service's answer to the guide's body is on stdout, whole; stderr is empty; exit 0."""
    with background() as service:
        ran = shell("send", BODY, "--base-url", service.base_url)
        billed = next(service.ledger.entries())
    assert (ran.code, ran.stderr) == (0, "")
    result = json.loads(ran.stdout)["result"]
    assert result["alternatives"][0]["message"]["text"]
    assert result["usage"]["totalTokens"] == str(billed.total_tokens)


def test_send_replaces_the_placeholder_and_nothing_else(shell: Shell) -> None:
    """The guide's `<folder_ID>` becomes the environment's folder; every other field goes as it stands."""
    with background(Config(capture=1)) as service:
        assert shell("send", BODY, "--base-url", service.base_url).code == 0
        sent = service.emulator.captured[0].body
    parse_completion(sent)
    body, own = json.loads(sent), json.loads(BODY.read_bytes())
    assert body["modelUri"] == f"gpt://{FOLDER}/yandexgpt-lite"
    assert {**body, "modelUri": own["modelUri"]} == own


def test_send_leaves_a_body_with_a_folder_alone(shell: Shell, tmp_path: Path) -> None:
    """A body that names its own folder is sent byte for byte."""
    raw = BODY.read_bytes().replace(b"<folder_ID>", b"b1gown")
    (tmp_path / "body.json").write_bytes(raw)
    with background(Config(capture=1)) as service:
        assert shell("send", tmp_path / "body.json", "--base-url", service.base_url).code == 0
        assert service.emulator.captured[0].body == raw


def test_send_reads_standard_input() -> None:
    """`-` is standard input, in a real process."""
    with background() as service:
        ran = run_cli("send", "-", "--base-url", service.base_url, stdin=BODY.read_bytes())
    assert (ran.code, ran.stderr) == (0, "")
    assert "result" in json.loads(ran.stdout)


def test_send_with_the_built_in_emulator_needs_no_account(shell: Shell) -> None:
    """`send --emulate` answers without credentials and without a folder."""
    shell.setenv(API_KEY="", FOLDER_ID="")
    ran = shell("send", BODY, "--emulate")
    assert (ran.code, ran.stderr) == (0, "")
    assert "result" in json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("config", "status", "word", "code"),
    [
        (Config(folder="b1ganother"), "400", "INVALID_ARGUMENT", 3),
        (Config(api_key="another"), "401", "UNAUTHENTICATED", 4),
        (Config(script=("403",)), "403", "PERMISSION_DENIED", 4),
        (Config(models=frozenset({"other"})), "404", "NOT_FOUND", 3),
        (Config(script=("429",)), "429", "RESOURCE_EXHAUSTED", 7),
        (Config(script=("500",)), "500", "INTERNAL", 5),
        (Config(script=("503",)), "503", "UNAVAILABLE", 5),
        (Config(script=("502",)), "502", "HTTP_502", 5),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_but_200_is_an_error(config: Config, status: str, word: str, code: int, shell: Shell) -> None:
    """Status, code and message are on stderr, nothing is on stdout, and the exit code fits."""
    with background(config) as service:
        ran = shell("send", BODY, "--base-url", service.base_url, "-vv")
        assert requests(service) == 1
    assert (ran.code, ran.stdout) == (code, "")
    message = next(line for line in ran.stderr.splitlines() if line.startswith("Error: "))
    assert f"{status} {word}: " in message
    assert len(message) > 40
    assert SECRET not in ran.stderr


def test_a_service_that_is_not_there_is_an_error(shell: Shell) -> None:
    """A refused connection is one sentence on stderr and no answer on stdout."""
    with background() as service:
        service.refuse()
        ran = shell("send", BODY, "--base-url", service.base_url)
    assert ran.code in (3, 5)
    assert ran.stdout == ""
    assert ran.stderr.startswith("Error: ")
    assert "unexpected" not in ran.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'"text"'])
def test_what_is_no_body_is_not_sent(content: bytes, shell: Shell, tmp_path: Path) -> None:
    """A file that is no JSON object gives exit 6 and one sentence, and nothing is sent."""
    (tmp_path / "body.json").write_bytes(content)
    with background() as service:
        ran = shell("send", tmp_path / "body.json", "--base-url", service.base_url)
        assert (ran.code, ran.stdout, requests(service)) == (6, "", 0)
    assert "JSON" in ran.stderr


def test_a_body_file_that_is_not_there_is_named(shell: Shell, tmp_path: Path) -> None:
    """A missing file gives exit 6 and its path."""
    ran = shell("send", tmp_path / "nothing.json", "--emulate")
    assert ran.code == 6
    assert str(tmp_path / "nothing.json") in ran.stderr


def test_a_placeholder_without_a_folder_is_not_sent(shell: Shell) -> None:
    """Where no folder is known the placeholder is not sent: exit 2, and the variable is named."""
    shell.setenv(FOLDER_ID="")
    with background() as service:
        ran = shell("send", BODY, "--base-url", service.base_url)
        assert (ran.code, requests(service)) == (2, 0)
    assert "FOLDER_ID" in ran.stderr


@pytest.mark.parametrize(("flag", "header"), [("--no-data-logging", "false"), ("--data-logging", None)])
def test_data_logging_is_switched_by_a_header(flag: str, header: str | None, shell: Shell) -> None:
    """`--no-data-logging` asks the service not to keep the request; by default nothing is asked."""
    with background(Config(capture=1)) as service:
        assert shell("send", BODY, "--base-url", service.base_url, flag).code == 0
        sent = service.emulator.captured[0].headers
    assert sent.get("x-data-logging-enabled") == header


@pytest.mark.parametrize(
    ("variable", "scheme", "folder"), [("API_KEY", "Api-Key", None), ("IAM_TOKEN", "Bearer", FOLDER)]
)
def test_send_carries_the_credential_of_the_environment(
    variable: str, scheme: str, folder: str | None, shell: Shell
) -> None:
    """A key goes as `Api-Key`, a token as `Bearer` with its folder, each only in the header."""
    shell.setenv(API_KEY="")
    shell.setenv(**{variable: SECRET})
    with background(Config(capture=1)) as service:
        assert shell("send", BODY, "--base-url", service.base_url).code == 0
        sent = service.emulator.captured[0]
    assert sent.headers["authorization"] == f"{scheme} {SECRET}"
    assert sent.headers.get("x-folder-id") == folder
    assert SECRET.encode() not in sent.body
