"""`chatbatch emulator`: serves on this machine only, does as it is configured, and ends quietly."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest
from e2e.harness import Shell, ended, killed_at_the_end, read_output, start, write_chats


@contextmanager
def _serving(*flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with killed_at_the_end(start("emulator", "--port", "0", *flags, env={})) as process:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield process, found[0]


def _totals(url: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{url}/emulator/totals", timeout=5) as answer:
        totals: dict[str, object] = json.load(answer)
    return totals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals, shell: Shell, tmp_path: Path) -> None:
    """It announces its address, answers a run, and ends with 0 and not a word at the first signal."""
    rows, output, ledger = write_chats(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl", tmp_path / "ledger"
    with _serving("--ledger", str(ledger)) as (process, url):
        assert shell("run", rows, "-o", output, "--base-url", url).code == 0
        totals = _totals(url)
        process.send_signal(number)
        ran = ended(process, 5)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")
    paid = sum(int(str(row["total_tokens"])) for row in read_output(output))
    billed = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    assert totals["total_tokens"] == paid == sum(entry["total_tokens"] for entry in billed)
    assert totals["billed_requests"] == len(billed) == 5


def test_it_does_as_its_flags_say(shell: Shell, tmp_path: Path) -> None:
    """Its key, faults and quotas are those of the command line."""
    rows = write_chats(tmp_path / "in.jsonl", 6)
    with _serving("--api-key", "right", "--fault", "500=1", "--per-hour", "100") as (_, url):
        words = ["run", rows, "-o", tmp_path / "out.jsonl", "--base-url", url, "--retries", "0"]
        shell.setenv(API_KEY="right")
        assert shell(*words).code == 3
        assert _totals(url)["by_status"] == {"500": 6}
    with _serving("--api-key", "right") as (_, url):
        shell.setenv(API_KEY="wrong")
        assert shell("run", rows, "-o", tmp_path / "b.jsonl", "--base-url", url).code == 4
        assert set(_totals(url)["by_status"]) == {"401"}  # type: ignore[call-overload]


def test_it_answers_without_delay(shell: Shell, tmp_path: Path) -> None:
    """Without a latency of its own an answer takes a few milliseconds, on a kept connection too."""
    rows, output = write_chats(tmp_path / "in.jsonl", 15), tmp_path / "out.jsonl"
    assert shell("run", rows, "-o", output, "--emulate", "--concurrency", "1").code == 0
    assert median(float(str(row["latency_s"])) for row in read_output(output)) < 0.03


def test_a_ledger_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    """A --ledger in a place where none can be gives exit 2 and its path."""
    ledger = tmp_path / "nowhere" / "ledger.jsonl"
    ran = shell("emulator", "--port", "0", "--ledger", ledger)
    assert ran.code == 2
    assert str(ledger) in ran.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_it_serves_no_other_machine(host: str, shell: Shell) -> None:
    """A host that is not on the loopback interface is refused with exit 2 and its name."""
    ran = shell("emulator", "--host", host, "--port", "0")
    assert (ran.code, ran.stdout) == (2, "")
    assert host in ran.stderr
    assert "loopback" in ran.stderr


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--fault", "oops=1"),
        ("--fault", "429=2"),
        ("--latency", "slow"),
        ("--port", "70000"),
        ("--speed", "0"),
    ],
)
def test_a_wrong_flag_is_named(flag: str, value: str, shell: Shell) -> None:
    """A value that it cannot take gives exit 2 and one sentence with the value."""
    ran = shell("emulator", "--port", "0", flag, value)
    assert (ran.code, ran.stdout) == (2, "")
    assert value.partition("=")[0] in ran.stderr


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    """A port that another one serves gives exit 2 and the port."""
    with _serving() as (_, url):
        port = url.rpartition(":")[2]
        ran = shell("emulator", "--port", port)
    assert ran.code == 2
    assert port in ran.stderr
