"""SIGKILL at any moment, and the same command again: nothing answered is bought twice, nothing is lost."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from e2e.harness import (
    Ran,
    Shell,
    answer_of,
    billed,
    delivered,
    ended,
    killed_at_the_end,
    read_output,
    run_cli,
    start,
    tokens,
    wait_until,
    write_chats,
)

from batch.emulator import Config, Fault, Latency, Quotas, Running, background
from batch.records import RequestIds

ROWS = 240
IN_FLIGHT = 20
SLOW = Config(quotas=Quotas(concurrent=None), latency=Latency.parse("uniform:0.02-0.06"), stall_seconds=60)


def _words(rows: Path, output: Path, service: Running) -> list[object]:
    return ["run", rows, "-o", output, "--base-url", service.base_url, "--concurrency", IN_FLIGHT]


def _kill_when(service: Running, number: int, words: list[object]) -> None:
    """Run until so many generations were billed, then kill."""
    with killed_at_the_end(start(*words)) as process:
        wait_until(lambda: billed(service) >= number or process.poll() is not None, f"{number} billed")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    time.sleep(0.1)  # what is in flight goes on at the service, and is billed


def _answered_in(journal: Path) -> set[str]:
    """The request ids of the rows whose receipt a killed run left on its tape."""
    lines = journal.with_name(journal.name + ".tape").read_bytes().splitlines(keepends=True)
    entries = [json.loads(line[9:]) for line in lines if line.endswith(b"\n")]
    identity = entries[0][2]
    keys = {entry[1]: entry[2] for entry in entries if entry[0] == "intent"}
    receipts = [keys[entry[1]] for entry in entries if entry[0] == "receipt"]
    return {RequestIds.of(identity, key).client_request_id for key in receipts}


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What a run that nobody kills makes of the same rows."""
    folder = tmp_path_factory.mktemp("unkilled")
    with background(Config(quotas=Quotas(concurrent=None))) as service:
        words = _words(write_chats(folder / "in.jsonl", ROWS), folder / "out.parquet", service)
        assert run_cli(*words).code == 0
    return answer_of(read_output(folder / "out.parquet"))


def _hold_against(
    ran: Ran, output: Path, service: Running, answered: set[str], unkilled: list[dict[str, object]]
) -> None:
    """Assert what has to be true after a killed run was continued."""
    assert ran.code == 0, ran.stderr
    times = service.ledger.by_request_id()
    assert len(times) == ROWS
    assert all(times[request_id] == 1 for request_id in answered)
    assert sum(number - 1 for number in times.values()) <= IN_FLIGHT
    keys = {entry.idempotency_key for entry in service.ledger.entries()}
    assert len(keys) == ROWS
    out = read_output(output)
    assert answer_of(out) == unkilled
    paid = delivered(service)
    assert all(paid[str(row["request_id"])] == tokens(row) for row in out)
    assert sum(int(str(row["attempts"])) for row in out) >= billed(service)


@pytest.mark.parametrize("seed", [11, 22, 33])
def test_a_killed_run_continues(
    seed: int, unkilled: list[dict[str, object]], shell: Shell, tmp_path: Path
) -> None:
    """After SIGKILL at a random moment no answered row is bought again, and the output is the same."""
    rows, output = write_chats(tmp_path / "in.jsonl", ROWS), tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = _words(rows, output, service)
        _kill_when(service, random.Random(seed).randint(15, ROWS - 15), words)
        assert not output.exists()
        answered = _answered_in(tmp_path / "out.parquet.journal")
        before = billed(service)
        assert answered
        assert before - len(answered) <= IN_FLIGHT
        ran = shell(*words)
        _hold_against(ran, output, service, answered, unkilled)
        assert billed(service) - before == ROWS - len(answered)
    assert ("may have been billed" in ran.stderr) == (len(answered) < before)


def test_a_run_that_is_killed_again_and_again_continues(
    unkilled: list[dict[str, object]], shell: Shell, tmp_path: Path
) -> None:
    """Every kill costs at most what was in flight, however often it happens."""
    rows, output = write_chats(tmp_path / "in.jsonl", ROWS), tmp_path / "out.parquet"
    kills = (40, 120, 200)
    with background(SLOW) as service:
        words = _words(rows, output, service)
        settled: dict[str, int] = {}
        for number in kills:
            _kill_when(service, number, words)
            times = service.ledger.by_request_id()
            answered = _answered_in(tmp_path / "out.parquet.journal")
            settled |= {name: times[name] for name in answered - settled.keys()}
        assert shell(*words).code == 0
        times = service.ledger.by_request_id()
        assert {name: times[name] for name in settled} == settled
        assert sum(number - 1 for number in times.values()) <= IN_FLIGHT * len(kills)
        assert answer_of(read_output(output)) == unkilled


def test_a_kill_with_every_slot_in_doubt_is_told_and_asked_again(
    unkilled: list[dict[str, object]], shell: Shell, tmp_path: Path
) -> None:
    """Rows in flight at the kill are counted, named as possibly billed, and asked under the same ids."""
    rows, output = write_chats(tmp_path / "in.jsonl", ROWS), tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = _words(rows, output, service)
        with killed_at_the_end(start(*words)) as process:
            wait_until(lambda: billed(service) >= 50, "50 billed")
            service.emulator.faults = (Fault("stall", 1.0),)
            delivered_now = len(delivered(service))
            wait_until(lambda: billed(service) - len(delivered(service)) >= IN_FLIGHT, "all slots stalled")
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        service.emulator.faults = ()
        assert delivered_now >= 50
        answered = _answered_in(tmp_path / "out.parquet.journal")
        ran = shell(*words)
        assert f"{IN_FLIGHT} requests were in flight" in ran.stderr
        _hold_against(ran, output, service, answered, unkilled)
        assert billed(service) == ROWS + IN_FLIGHT


def test_a_kill_while_the_output_is_written_costs_nothing(
    unkilled: list[dict[str, object]], shell: Shell, tmp_path: Path
) -> None:
    """After a kill at the very end the same command writes the output and leaves no unfinished file."""
    rows, output = write_chats(tmp_path / "in.jsonl", ROWS), tmp_path / "out.parquet"
    abandoned = tmp_path / ".out.parquet.99999.unfinished"
    with background(SLOW) as service:
        words = _words(rows, output, service)
        _kill_when(service, ROWS, words)
        abandoned.write_bytes(b"half a file")
        answered = _answered_in(tmp_path / "out.parquet.journal")
        ran = shell(*words)
        _hold_against(ran, output, service, answered, unkilled)
    assert not list(tmp_path.glob(".*unfinished"))


def test_an_old_output_stands_until_the_new_one_is_whole(shell: Shell, tmp_path: Path) -> None:
    """A run over more rows that is killed leaves the earlier output as it was."""
    rows, output = write_chats(tmp_path / "in.jsonl", 20), tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = _words(rows, output, service)
        assert shell(*words).code == 0
        before = output.read_bytes()
        write_chats(rows, ROWS)
        _kill_when(service, 100, words)
        assert output.read_bytes() == before
        assert len(read_output(output)) == 20


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    """The lock dies with its process: the same command starts at once after a kill."""
    rows, output = write_chats(tmp_path / "in.jsonl", 20), tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = _words(rows, output, service)
        _kill_when(service, 5, words)
        with killed_at_the_end(start(*words)) as process:
            assert ended(process).code == 0
    assert len(read_output(output)) == 20
