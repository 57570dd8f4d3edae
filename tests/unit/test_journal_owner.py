"""One owner for an output, across processes, and until the process dies."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batch.errors import ExitCode, JournalError, OutputHeld
from batch.journal import Owner
from batch.journal.owner import lock_path

_HOLDER = (
    "import sys; from pathlib import Path; from batch.journal import Owner\n"
    "owner = Owner.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read(); owner.close()"
)
Hold = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet.journal"


@pytest.fixture
def hold(journal: Path) -> Iterator[Hold]:
    """Starts processes that hold the output until they are ended."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def test_a_second_run_is_refused(journal: Path, hold: Hold) -> None:
    """While a process holds the output nobody else gets it, and is told which process it is."""
    process = hold()
    with pytest.raises(OutputHeld, match=f"process {process.pid}, since 20") as caught:
        Owner.take(journal)
    assert caught.value.exit_code is ExitCode.HELD
    assert caught.value.hint


def test_death_releases(journal: Path, hold: Hold) -> None:
    """The output of a run that was killed is free at once, with nothing to clean up."""
    process = hold()
    process.kill()
    process.wait(timeout=30)
    owner = Owner.take(journal)
    with pytest.raises(OutputHeld):
        Owner.take(journal)
    owner.close()


def test_release(journal: Path, hold: Hold) -> None:
    """After the end of a run another process may take the output, again and again."""
    for _ in range(2):
        Owner.take(journal).close()
    process = hold()
    process.communicate(input="", timeout=30)
    assert process.returncode == 0
    Owner.take(journal).close()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"[]", b"\xff"])
def test_a_lock_file_alone_means_nothing(journal: Path, content: bytes) -> None:
    """A lock file that lies about holds nothing; one that was spoilt while held still refuses, politely."""
    lock = journal.with_name(journal.name + ".lock")
    lock.write_bytes(content)
    owner = Owner.take(journal)
    lock.write_bytes(content)
    with pytest.raises(OutputHeld, match="it does not say who"):
        Owner.take(journal)
    owner.close()


def test_outputs_are_held_one_by_one(journal: Path) -> None:
    """Two outputs in one folder have two owners."""
    owners = [Owner.take(journal), Owner.take(journal.with_name("other.journal"))]
    for owner in owners:
        owner.close()
    assert sorted(path.name for path in journal.parent.iterdir()) == [
        "other.journal.lock",
        "out.parquet.journal.lock",
    ]


def test_no_folder_for_the_lock(tmp_path: Path) -> None:
    """A lock that cannot be written is one sentence."""
    with pytest.raises(JournalError, match="cannot be taken: No such file or directory"):
        Owner.take(tmp_path / "missing" / "out.journal")


def test_a_stopped_owner_is_alive(journal: Path, hold: Hold) -> None:
    """A process that is stopped, and beats no more, still holds what it holds."""
    process = hold()
    process.send_signal(signal.SIGSTOP)
    _said(journal, socket.gethostname(), -3600)
    with pytest.raises(OutputHeld):
        Owner.take(journal)
    process.send_signal(signal.SIGCONT)


def _said(journal: Path, host: str, seconds: float) -> None:
    """Write a lock file whose owner was seen so many seconds from now."""
    beat = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    facts = {"host": host, "pid": 4711, "since": "2026-01-01T00:00:00Z", "heartbeat": beat}
    journal.with_name(journal.name + ".lock").write_text(json.dumps(facts))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Sydney"])
@pytest.mark.parametrize("seconds", [0, -40, 40, 3000])
def test_an_owner_on_another_host_is_alive(
    journal: Path, seconds: float, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh heartbeat of another host holds, in every time zone, also where that clock is ahead."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        _said(journal, "elsewhere", seconds)
        with pytest.raises(OutputHeld, match="host elsewhere, process 4711, since 2026-01-01T00:00:00Z"):
            Owner.take(journal)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("host", "seconds"), [("elsewhere", -90), ("elsewhere", -1e6), ("", 0)])
def test_a_dead_owner_is_taken_over_at_once(journal: Path, host: str, seconds: float) -> None:
    """An old heartbeat of another host holds nothing, and neither does a fresh one of a dead process here."""
    _said(journal, host or socket.gethostname(), seconds)
    Owner.take(journal).close()


def test_whoever_only_looks_keeps_nobody_out(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins while somebody looks whether the lock is held is not told that another run has it."""
    Owner.take(journal).close()
    looking = os.open(lock_path(journal), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _seconds: fcntl.flock(looking, fcntl.LOCK_UN))
    Owner.take(journal).close()
    os.close(looking)
