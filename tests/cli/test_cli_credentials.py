"""Credentials: none, wrong ones, refused ones; which come first; and that no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.harness import SAMPLES, SECRET, Shell, requests, statuses, write_chats

from batch.emulator import Config, Fault, background


@pytest.mark.parametrize("command", ["run", "dry run", "send"])
def test_no_credentials_names_both_variables(command: str, shell: Shell, tmp_path: Path) -> None:
    """Without credentials the exit code is 4, and the sentence says what to put into which variable."""
    shell.setenv(API_KEY="")
    with background() as service:
        words: list[object] = ["send", SAMPLES / "body.json"]
        if command != "send":
            words = ["run", write_chats(tmp_path / "in.jsonl", 3), "-o", tmp_path / "out.parquet"]
        ran = shell(*words, "--base-url", service.base_url, *(["-n"] if command == "dry run" else []))
        assert (ran.code, requests(service)) == (4, 0)
    assert "API_KEY" in ran.stderr
    assert "IAM_TOKEN" in ran.stderr
    assert not (tmp_path / "out.parquet.journal").exists()


@pytest.mark.parametrize("broken", ["two words", "line\nbreak", "пароль"])
def test_a_credential_that_cannot_be_one_is_not_sent(broken: str, shell: Shell, tmp_path: Path) -> None:
    """Something that cannot be a header gives exit 4 and the variable's name, and its text is not shown."""
    shell.setenv(API_KEY=broken)
    with background() as service:
        words = ["run", write_chats(tmp_path / "in.jsonl", 3), "-o", tmp_path / "out.parquet"]
        ran = shell(*words, "--base-url", service.base_url)
        assert (ran.code, requests(service)) == (4, 0)
    assert "API_KEY" in ran.stderr
    assert broken not in ran.stderr


@pytest.mark.parametrize("scheme", ["API_KEY", "IAM_TOKEN"])
def test_refused_credentials_cost_a_handful_of_requests(scheme: str, shell: Shell, tmp_path: Path) -> None:
    """Refused credentials end the run with 4 after at most five requests, and the secret is nowhere."""
    shell.setenv(API_KEY="")
    shell.setenv(**{scheme: SECRET})
    rows, output = write_chats(tmp_path / "in.jsonl", 50), tmp_path / "out.parquet"
    with background(Config(api_key="another", iam_token="another")) as service:
        words = ["run", rows, "-o", output, "--base-url", service.base_url, "--concurrency", "20", "-vv"]
        ran = shell(*words)
        assert ran.code == 4
        assert 1 <= requests(service) <= 5
        assert service.ledger.totals().requests == 0
    assert "UNAUTHENTICATED" in ran.stderr
    assert SECRET not in ran.said
    assert statuses(output) == {"pending": 50}
    for path in tmp_path.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path


def test_a_run_continues_once_the_credentials_are_right(shell: Shell, tmp_path: Path) -> None:
    """After refused credentials the same command with the right ones answers every row."""
    rows, output = write_chats(tmp_path / "in.jsonl", 10), tmp_path / "out.parquet"
    with background(Config(api_key="right")) as service:
        words = ["run", rows, "-o", output, "--base-url", service.base_url]
        assert shell(*words).code == 4
        shell.setenv(API_KEY="right")
        assert shell(*words).code == 0
    assert statuses(output) == {"ok": 10}


def test_the_sdks_variables_come_first(shell: Shell, tmp_path: Path) -> None:
    """YC_API_KEY and YC_FOLDER_ID win over API_KEY and FOLDER_ID."""
    shell.setenv(YC_API_KEY="right", API_KEY="wrong", YC_FOLDER_ID="b1gfirst", FOLDER_ID="b1gsecond")
    with background(Config(api_key="right", folder="b1gfirst")) as service:
        words = ["run", write_chats(tmp_path / "in.jsonl", 2), "-o", tmp_path / "out.parquet"]
        assert shell(*words, "--base-url", service.base_url).code == 0


def test_no_permission_ends_the_run_like_a_refused_credential(shell: Shell, tmp_path: Path) -> None:
    """Where the service denies permission for every row, the run ends with 4 after a handful of requests."""
    rows, output = write_chats(tmp_path / "in.jsonl", 50), tmp_path / "out.parquet"
    with background(Config(faults=(Fault("403", 1.0),))) as service:
        ran = shell("run", rows, "-o", output, "--base-url", service.base_url, "--concurrency", "20")
        assert ran.code == 4
        assert 1 <= requests(service) <= 5
    assert "PERMISSION_DENIED" in ran.stderr


def test_a_credential_that_is_revoked_half_way_keeps_what_was_answered(shell: Shell, tmp_path: Path) -> None:
    """A key that stops working costs what was in flight and a handful more; the answers are written."""
    rows, output = write_chats(tmp_path / "in.jsonl", 60), tmp_path / "out.parquet"
    with background(Config(script=("ok",) * 20, faults=(Fault("401", 1.0),))) as service:
        ran = shell("run", rows, "-o", output, "--base-url", service.base_url, "--concurrency", "10")
        assert ran.code == 4
        assert requests(service) <= 20 + 10 + 5
    assert statuses(output) == {"ok": 20, "pending": 40}
