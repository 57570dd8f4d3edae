"""What the end-to-end and command-line tests share: running the command, the sample files, the ledger.

Nothing here judges: it starts commands (in process or as real processes), and reads what they left behind.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch.cli.main import run_command_line
from batch.emulator import Running

SAMPLES = Path(__file__).parents[2] / "sample_data"
FOLDER = "b1gtests000000000000"
SECRET = "AQVN-a-secret-that-must-not-be-seen-0123456789"
ACCOUNT = {"API_KEY": SECRET, "FOLDER_ID": FOLDER}
# What differs between two runs that bought the same answers.
OF_THE_RUN = ("latency_s", "attempts", "finished_at", "request_id")
_PERSONAL = re.compile(
    r"(YC_)?(API_KEY|IAM_TOKEN|FOLDER_ID|SERVICE_ACCOUNT_KEY_FILE|METADATA_ADDR)|CHATBATCH_.*|PYTHON.*|.*_proxy",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind when it ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Return everything that it printed."""
        return self.stdout + self.stderr

    def events(self) -> list[dict[str, object]]:
        """Return the JSON lines of stdout; raises where a line is none."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without anybody's credentials and settings, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not _PERSONAL.fullmatch(name)}
    nobodys = {"PYTHONWARNINGS": "error", "YC_METADATA_ADDR": "127.0.0.1:9"}
    return {**kept, **nobodys, **(ACCOUNT if extra is None else extra)}


def start(
    *arguments: object, env: Mapping[str, str] | None = None, stdin: int | None = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start `chatbatch` as a real process, with an account in its environment unless `env` says otherwise."""
    return subprocess.Popen(
        [sys.executable, "-m", "batch", *map(str, arguments)],
        env=environment(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def on_a_terminal(*arguments: object, columns: int = 100) -> tuple[int, bytes, bytes]:
    """Run a command whose stderr is a terminal; returns its exit code, its stdout and what was drawn there."""
    controller, terminal = pty.openpty()
    drawn = b""
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", *map(str, arguments)],
        env={**environment(), "TERM": "xterm-256color", "COLUMNS": str(columns)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    with killed_at_the_end(process):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if select.select([controller], [], [], 0.2)[0]:
                try:
                    drawn += os.read(controller, 65536)
                except OSError:  # the other end is closed
                    break
        code = process.wait(5)
        assert process.stdout is not None
        stdout = process.stdout.read()
    os.close(controller)
    return code, stdout, drawn


def ended(process: subprocess.Popen[bytes], timeout: float = 30) -> Ran:
    """Wait for a process to end; it is killed where it does not."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s; it had said {err.decode()!r}") from None
    return Ran(process.returncode, out.decode(), err.decode())


def run_cli(*arguments: object, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ran:
    """Run `chatbatch` as a real process to its end."""
    process = start(*arguments, env=env, stdin=subprocess.PIPE)
    try:
        out, err = process.communicate(stdin, timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ran(process.returncode, out.decode(), err.decode())


@dataclass(slots=True)
class Shell:
    """Runs commands in this process, whose streams are captured; `set_account` gives it credentials."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: object, stdin: bytes | None = None) -> Ran:
        """Run one command to its end."""
        self.capsys.readouterr()
        if stdin is not None:
            self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = run_command_line([str(item) for item in arguments])
        out, err = self.capsys.readouterr()
        return Ran(code, out, err)

    def setenv(self, **variables: str) -> None:
        """Set variables for the commands to come; an empty value removes one."""
        for name, value in variables.items():
            if value:
                self.monkeypatch.setenv(name, value)
            else:
                self.monkeypatch.delenv(name, raising=False)


@contextmanager
def killed_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Enclose the life of a process that must not outlive its test."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(true: Callable[[], bool], what: str, timeout: float = 20) -> None:
    """Wait until something is so, looking every few milliseconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.002)


def billed(service: Running) -> int:
    """Return how many generations were billed."""
    return service.ledger.totals().requests


def requests(service: Running) -> int:
    """Return how many requests have ended, billed or not."""
    return int(str(service.emulator.totals()["requests"]))


def read_output(path: Path) -> list[dict[str, object]]:
    """Return an output's rows, from Parquet or JSON Lines."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def statuses(path: Path) -> Counter[object]:
    """Return how many of an output's rows have each status."""
    return Counter(row["status"] for row in read_output(path))


def without(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> list[dict[str, object]]:
    """Return rows without some columns."""
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def answer_of(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return what was bought for each row, without what differs between runs."""
    return without(rows, OF_THE_RUN)


def chat(text: str, **others: object) -> dict[str, object]:
    """Return a row that asks one thing."""
    return {**others, "messages": [{"role": "user", "text": text}]}


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    """Write JSON Lines; text stands as it is, anything else as JSON."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_chats(path: Path, count: int, first: int = 0) -> Path:
    """Write a file of so many rows, all different, with ids `row-0`, `row-1`, …"""
    return write_rows(path, [chat(f"Question {n}?", id=f"row-{n}") for n in range(first, first + count)])


def delivered(service: Running) -> dict[str | None, tuple[int, int, int]]:
    """Return tokens in, out and in all of the delivered answer of each client request id."""
    return {
        entry.client_request_id: (entry.input_tokens, entry.completion_tokens, entry.total_tokens)
        for entry in service.ledger.entries()
        if entry.delivered
    }


def tokens(row: Mapping[str, object]) -> tuple[object, object, object]:
    """Return what an output row says that it cost."""
    return row["input_tokens"], row["completion_tokens"], row["total_tokens"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One or more sample files, the flags that their guide gives, and what is in them."""

    names: tuple[str, ...]
    rows: int
    flags: tuple[str, ...] = ()
    id_column: str | None = None
    answered: int | None = field(default=None)

    @property
    def files(self) -> list[str]:
        """Return the paths."""
        return [str(SAMPLES / name) for name in self.names]

    @property
    def is_parquet(self) -> bool:
        """Return whether the rows are Parquet's."""
        return self.names[0].endswith(".parquet")

    def __str__(self) -> str:
        return "+".join(self.names)


_SUMMARISE = "Summarise in two sentences, in the language of the text: {text}"
SAMPLE_RUNS = (
    Sample(("support.jsonl",), 120, ("--id-column", "id"), "id"),
    Sample(("dataset.jsonl",), 60),
    Sample(("dataset.jsonl.bz2",), 30),
    Sample(("dataset.jsonl", "dataset.jsonl.bz2"), 90),
    Sample(("chats.jsonl.gz",), 60, ("--id-column", "id"), "id"),
    Sample(("chats.ndjson.zst",), 30, ("--id-column", "id"), "id"),
    Sample(("articles.jsonl",), 30, ("--template", _SUMMARISE, "--keep", "title", "--keep", "lang"), "id"),
    Sample(("reviews.parquet",), 80, ("--prompt-column", "text", "--system", "One word."), "review_id"),
    Sample(("conversations.parquet",), 60, ("--id-column", "conversation_id"), "conversation_id"),
    Sample(("conversations-json.parquet",), 30, ("--id-column", "conversation_id"), "conversation_id"),
    Sample(("broken.jsonl",), 33, answered=6),
)
