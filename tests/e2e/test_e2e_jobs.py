"""Jobs as real processes: started twice, killed, under cron's bare environment, and for a month of nights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaigns.nights import Campaign
from e2e.harness import (
    ACCOUNT,
    billed,
    killed_at_the_end,
    run_cli,
    start,
    statuses,
    wait_until,
    write_chats,
)

from batch.emulator import Config, Fault, Running, background


def _job(folder: Path, service: Running, output: str = "out.parquet", more: str = "") -> list[object]:
    (folder / "jobs").mkdir()
    (folder / "in").mkdir()
    (folder / "jobs/night.toml").write_text(
        f'[input]\nfiles = ["in/"]\n[output]\npath = "{output}"\n{more}'
        f'[service]\nbase_url = "{service.base_url}"\n'
    )
    return ["job", "run", "night", "--jobs-dir", folder / "jobs"]


def _history(folder: Path, name: str = "night") -> list[dict[str, object]]:
    return run_cli("job", "history", name, "--jobs-dir", folder / "jobs", "--json").events()


@pytest.mark.parametrize("other", ["out.parquet", "other.parquet"])
def test_a_job_does_not_overlap_itself_and_is_taken_over_at_once(tmp_path: Path, other: str) -> None:
    """Started twice one runs and the other exits 11, also for another output; killed, the next one runs."""
    with background(Config(stall_seconds=30)) as service:
        words = _job(tmp_path, service)
        write_chats(tmp_path / "in/1.jsonl", 3)
        service.emulator.faults = (Fault("stall", 1.0),)
        with killed_at_the_end(start(*words)) as first:
            wait_until(lambda: billed(service) >= 1 or first.poll() is not None, "the first request")
            began = time.monotonic()
            second = run_cli(*words, "-o", tmp_path / other)
            took = time.monotonic() - began
            assert (second.code, "is running" in second.stderr) == (11, True)
            assert str(first.pid) in second.stderr
            first.send_signal(signal.SIGKILL)
            first.wait(10)
        service.emulator.faults = ()
        began = time.monotonic()
        third = run_cli(*words)
        assert third.code == 0, third.stderr
        assert took < 3  # a second on a machine of its own: most of it is Python's start
        assert time.monotonic() - began < 10
    assert statuses(tmp_path / "out.parquet") == {"ok": 3}
    told = [(item["outcome"], item["exit_code"], item["answered"]) for item in _history(tmp_path)]
    assert told == [("killed", None, 0), ("held by another run", 11, 0), ("done", 0, 3)]


def test_a_killed_run_is_not_told_what_another_job_bought(tmp_path: Path) -> None:
    """Of two jobs with one journal each record holds what that run sent, also a killed run closed later."""
    with background(Config(stall_seconds=30)) as service:
        words = _job(tmp_path, service)
        (tmp_path / "jobs/week.toml").write_text((tmp_path / "jobs/night.toml").read_text())
        write_chats(tmp_path / "in/1.jsonl", 3)
        service.emulator.faults = (Fault("stall", 1.0),)
        with killed_at_the_end(start(*words)) as first:
            wait_until(lambda: billed(service) >= 1 or first.poll() is not None, "the first request")
            first.send_signal(signal.SIGKILL)
            first.wait(10)
        [dead] = _history(tmp_path)
        assert [dead[name] for name in ("outcome", "run", "answered", "settled")] == ["killed", 1, 0, False]
        assert float(str(dead["started_at"])) < float(str(dead["ended_at"])) < time.time()
        service.emulator.faults = ()
        for name, count in (("week", 3), ("night", 2)):
            ran = run_cli("job", "run", name, *words[3:])
            assert ran.code == 0, ran.stderr
            write_chats(tmp_path / "in/2.jsonl", count - 1, 10)
    told = [(item["outcome"], item["answered"], item["doubtful"], item["settled"]) for item in _history(tmp_path)]
    assert told == [("killed", 0, 1, True), ("done", 2, 0, True)]
    assert [item["answered"] for item in _history(tmp_path, "week")] == [3]


def test_one_output_per_run(tmp_path: Path) -> None:
    """With a shared journal and only_new each run's output holds what is new, and the others stay."""
    more = 'journal = "all.journal"\nonly_new = true\n'
    with background(Config()) as service:
        words = _job(tmp_path, service, "out/{env:PART}.parquet", more)
        for part, (first, count) in enumerate([(0, 3), (3, 2)]):
            write_chats(tmp_path / f"in/{part}.jsonl", count, first)
            ran = run_cli(*words, env={**ACCOUNT, "PART": str(part)})
            assert ran.code == 0, ran.stderr
        assert billed(service) == 5
    assert [statuses(tmp_path / f"out/{part}.parquet")["ok"] for part in (0, 1)] == [3, 2]
    assert [item["answered"] for item in _history(tmp_path)] == [3, 2]


def test_under_crons_bare_environment(tmp_path: Path) -> None:
    """Without HOME, with a bare PATH and from the root folder a job finds its files and is silent."""
    folder = tmp_path / "my jobs 100%"
    folder.mkdir()
    with background(Config()) as service:
        words = _job(folder, service)
        write_chats(folder / "in/1.jsonl", 2)
        words = [sys.executable, "-m", "batch", *map(str, words), "-q"]
        bare = {
            "PATH": "/usr/bin:/bin",
            "SHELL": "/bin/sh",
            **ACCOUNT,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        ran = subprocess.run(words, env=bare, cwd="/", capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert statuses(folder / "out.parquet") == {"ok": 2}
    [line, *_] = (folder / "jobs/.state/night/history.jsonl").read_text().splitlines()
    assert json.loads(line)["outcome"] == "running"


@pytest.mark.campaign
def test_some_nights(tmp_path: Path) -> None:
    """A growing input, kills and outages: each row is answered once, and the history adds up to the ledger."""
    figures = Campaign(tmp_path, seed=3, most_rows=30).run(6)
    assert figures.broken == []
    assert figures.kills > 0
    assert figures.outages > 0
