"""Crashes, damage, full disks and vanished folders: nothing answered is lost, everything bought twice is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns.damage import in_sqlite, journal_of, on_tape, tape_of
from campaigns.kill import Campaign, Scale
from e2e.harness import Ran, Shell, billed, ended, killed_at_the_end, start, statuses, wait_until, write_chats

from batch.emulator import Config, Latency, Quotas, Running, background
from batch.journal import Records
from batch.records import RequestIds

SLOW = Config(quotas=Quotas(concurrent=None), latency=Latency.parse("uniform:0.02-0.06"))
SLOTS = 20
ROWS = 400


@pytest.mark.campaign
@pytest.mark.parametrize("damage", [False, True], ids=["kills", "kills and damage"])
def test_a_small_campaign(damage: bool, tmp_path: Path) -> None:
    """Random kills, and damage to one copy, lose no answer; all that was bought twice had been listed."""
    figures = Campaign(tmp_path, Scale(kills=8, rows=160, concurrency=SLOTS, damage=damage)).run()
    assert figures.broken == []
    assert figures.kills >= 5
    assert bool(figures.damages) == damage


def _words(rows: Path, output: Path, service: Running) -> list[object]:
    return ["run", rows, "-o", output, "--base-url", service.base_url, "--concurrency", SLOTS]


def _one_sentence(ran: Ran, words: str) -> None:
    errors = [line for line in ran.stderr.splitlines() if line.startswith("Error:")]
    assert ran.code == 1, ran.stderr
    assert len(errors) == 1, ran.stderr
    assert words in errors[0]
    assert "Traceback" not in ran.stderr
    assert "unexpected" not in ran.stderr


def test_both_copies_damaged(shell: Shell, tmp_path: Path) -> None:
    """Where both copies are harmed: exit 1 and one sentence, nothing is sent, and both are left as they are."""
    rows, output = write_chats(tmp_path / "in.jsonl", 10), tmp_path / "out.parquet"
    with background() as service:
        assert shell(*_words(rows, output, service)).code == 0
        journal_of(output).write_bytes(b"rubbish" * 1000)
        tape = bytearray(tape_of(output).read_bytes())
        tape[len(tape) // 2] ^= 1
        tape_of(output).write_bytes(tape)
        for _ in range(2):
            _one_sentence(shell(*_words(rows, output, service)), "is damaged at byte")
        assert billed(service) == 10
    assert journal_of(output).read_bytes() == b"rubbish" * 1000
    assert tape_of(output).read_bytes() == tape


@pytest.mark.parametrize("how", ["removed", "renamed", "journal removed", "tape removed"])
def test_what_vanishes_during_a_run_stops_it(how: str, tmp_path: Path) -> None:
    """When the output's folder or journal goes away the run stops before anything more is bought."""
    rows, folder = write_chats(tmp_path / "in.jsonl", ROWS), tmp_path / "out"
    output = folder / "out.parquet"
    with background(SLOW) as service:
        with killed_at_the_end(start(*_words(rows, output, service))) as process:
            wait_until(lambda: billed(service) >= 60, "60 billed")
            match how:
                case "removed":
                    shutil.rmtree(folder)
                case "renamed":
                    folder.rename(tmp_path / "moved")
                case "journal removed":
                    journal_of(output).unlink()
                case _:
                    tape_of(output).unlink()
            before = billed(service)
            _one_sentence(ended(process), "journal")
        assert billed(service) - before <= SLOTS + 5  # those in flight, and those counted too late
        if how == "removed":
            return
        moved = tmp_path / "moved" / output.name if how == "renamed" else output
        received = {**in_sqlite(journal_of(moved)), **on_tape(tape_of(moved)).received}
        with killed_at_the_end(start(*_words(rows, moved, service))) as process:
            assert ended(process).code == 0
        assert statuses(moved) == {"ok": ROWS}
        _nothing_untold(service, moved, set(received))


def _nothing_untold(service: Running, output: Path, received: set[str]) -> None:
    """Assert that rows with a receipt were bought once, and that those bought twice were listed."""
    records = Records.open(journal_of(output))
    identity, listed = records.fact("identity"), {key for key, _, _ in records.unknown()}
    records.close()
    times = service.ledger.by_request_id()
    assert received
    assert all(times[RequestIds.of(identity, key).client_request_id] == 1 for key in received)
    twice = {name for name, number in times.items() if number > 1}
    assert twice <= {RequestIds.of(identity, key).client_request_id for key in listed}
    assert len(listed) <= SLOTS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little space; skipped where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=700k", "none", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no file system may be mounted here: {error}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


def test_a_full_disk_stops_the_run(small_disk: Path, tmp_path: Path) -> None:
    """A full disk ends the run with a sentence; with space the same command finishes, and nothing is lost."""
    rows, output = write_chats(tmp_path / "in.jsonl", ROWS), small_disk / "out.parquet"
    with background(SLOW) as service:
        with killed_at_the_end(start(*_words(rows, output, service))) as process:
            _one_sentence(ended(process), "journal")
        stopped_at = billed(service)
        assert 0 < stopped_at < ROWS
        received = set(on_tape(tape_of(output)).received)
        assert stopped_at - len(received) <= SLOTS
        remount = ["mount", "-o", "remount,size=20m", str(small_disk)]
        subprocess.run(remount, check=True, capture_output=True, timeout=10)
        with killed_at_the_end(start(*_words(rows, output, service))) as process:
            ran = ended(process)
        assert ran.code == 0, ran.stderr
        assert statuses(output) == {"ok": ROWS}
        assert billed(service) - ROWS <= stopped_at - len(received)
        _nothing_untold(service, output, received)


def test_a_read_only_file_system_sends_nothing(small_disk: Path, tmp_path: Path) -> None:
    """Where nothing can be written nothing is sent: one sentence, whether a journal stands there or not."""
    rows, output = write_chats(tmp_path / "in.jsonl", 5), small_disk / "out.parquet"
    with background() as service:
        for sent in (0, 5):
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=10)
            with killed_at_the_end(start(*_words(rows, output, service))) as process:
                ran = ended(process)
            assert ran.code in (1, 2), ran.stderr
            assert ran.stderr.count("Error:") == 1
            assert "cannot be written" in ran.stderr
            assert billed(service) == sent
            subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True, timeout=10)
            with killed_at_the_end(start(*_words(rows, output, service))) as process:
                assert ended(process).code == 0


def test_a_stopped_owner_is_alive(shell: Shell, tmp_path: Path) -> None:
    """A run that is held by SIGSTOP is never taken over: 11, with host, process, since when and heartbeat."""
    rows, output = write_chats(tmp_path / "in.jsonl", 100), tmp_path / "out.parquet"
    with background(SLOW) as service, killed_at_the_end(start(*_words(rows, output, service))) as process:
        wait_until(lambda: billed(service) >= 5, "5 billed")
        process.send_signal(signal.SIGSTOP)
        ran = shell(*_words(rows, output, service))
        assert ran.code == 11
        for word in (os.uname().nodename, f"process {process.pid}", "since 20", "last heartbeat 20"):
            assert word in ran.stderr
        process.send_signal(signal.SIGCONT)
        assert ended(process).code == 0
        assert billed(service) == 100
