"""SIGINT and SIGTERM: the first one ends a run in order, the second one at once; both can be continued."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from e2e.harness import (
    Ran,
    Shell,
    billed,
    delivered,
    ended,
    killed_at_the_end,
    read_output,
    start,
    statuses,
    tokens,
    wait_until,
    write_chats,
)

from batch.emulator import Config, Fault, Latency, Quotas, Running, background

ROWS = 300
IN_FLIGHT = 10
SLOW = Config(quotas=Quotas(concurrent=None), latency=Latency.parse("fixed:0.05"), stall_seconds=60)
BOTH = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)


def _words(folder: Path, service: Running) -> list[object]:
    rows = folder / "in.jsonl"
    if not rows.exists():
        write_chats(rows, ROWS)
    output = folder / "out.parquet"
    return ["run", rows, "-o", output, "--base-url", service.base_url, "--concurrency", IN_FLIGHT]


@contextmanager
def _half_way(service: Running, words: list[object], *, stalled: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A run of which 40 rows were billed; with `stalled`, all its slots wait for answers that do not come."""
    with killed_at_the_end(start(*words)) as process:
        wait_until(lambda: billed(service) >= 40, "40 billed")
        if stalled:
            service.emulator.faults = (Fault("stall", 1.0),)
            wait_until(lambda: billed(service) - len(delivered(service)) >= IN_FLIGHT, "all stalled")
        yield process
    service.emulator.faults = ()


def _continued(shell: Shell, words: list[object], output: Path, service: Running) -> Ran:
    """Run the same command to its end, and assert that every row has its answer at the ledger's price."""
    ran = shell(*words)
    assert ran.code == 0, ran.stderr
    out = read_output(output)
    assert statuses(output) == {"ok": ROWS}
    assert {row["request_id"]: tokens(row) for row in out} == delivered(service)
    return ran


@BOTH
def test_the_first_signal_drains_exports_and_can_be_continued(
    number: signal.Signals, code: int, shell: Shell, tmp_path: Path
) -> None:
    """Rows in flight finish, the output has the rest as pending, and continuing buys each row once."""
    output = tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = _words(tmp_path, service)
        with _half_way(service, words, stalled=False) as process:
            process.send_signal(number)
            ran = ended(process)
        assert (ran.code, ran.stdout) == (code, "")
        found = statuses(output)
        assert found["ok"] == billed(service) == len(delivered(service)) < ROWS
        assert found["pending"] == ROWS - found["ok"]
        pending = [row for row in read_output(output) if row["status"] == "pending"]
        assert {(row["completion"], row["error_code"], tokens(row)) for row in pending} == {
            (None, None, (None, None, None))
        }
        assert "Stopping" in ran.stderr
        assert f"{found['pending']} pending" in ran.stderr
        _continued(shell, words, output, service)
        assert billed(service) == ROWS


@BOTH
def test_the_second_signal_ends_at_once(number: signal.Signals, code: int, shell: Shell, tmp_path: Path) -> None:
    """A second signal waits for nobody; the journal is intact and the same command finishes."""
    output = tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = _words(tmp_path, service)
        with _half_way(service, words, stalled=True) as process:
            answered = len(delivered(service))
            process.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):  # the first one waits for the rows in flight
                process.wait(0.3)
            began = time.monotonic()
            process.send_signal(number)
            ran = ended(process)
        assert ran.code == code
        assert time.monotonic() - began < 3
        assert "Traceback" not in ran.stderr
        assert not output.exists()
        again = _continued(shell, words, output, service)
        assert f"{IN_FLIGHT} requests were in flight" in again.stderr
        assert billed(service) == ROWS + IN_FLIGHT
        assert answered >= 40


def test_the_grace_ends(shell: Shell, tmp_path: Path) -> None:
    """Rows in flight that do not finish within --grace are left pending, and the output is written."""
    output = tmp_path / "out.parquet"
    with background(SLOW) as service:
        words = [*_words(tmp_path, service), "--grace", "300ms"]
        with _half_way(service, words, stalled=True) as process:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ran = ended(process)
        assert 0.3 <= time.monotonic() - began < 5
        assert ran.code == 143
        found = statuses(output)
        assert found == {"ok": len(delivered(service)), "pending": ROWS - len(delivered(service))}
        assert found["ok"] == billed(service) - IN_FLIGHT
        _continued(shell, words, output, service)


def test_a_signal_ends_the_wait_for_a_window(tmp_path: Path) -> None:
    """A run that waits for an hour's quota ends within moments of the first signal."""
    output = tmp_path / "out.parquet"
    with background() as service:
        words = [*_words(tmp_path, service), "--limit", "3/h"]
        with killed_at_the_end(start(*words)) as process:
            wait_until(lambda: billed(service) == 3, "3 billed")
            time.sleep(0.2)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ran = ended(process)
        assert (ran.code, billed(service)) == (143, 3)
        assert time.monotonic() - began < 3
        assert statuses(output) == {"ok": 3, "pending": ROWS - 3}


def test_a_signal_ends_the_wait_for_a_retry(tmp_path: Path) -> None:
    """Rows that wait to be asked again are left pending at the first signal, without another request."""
    output = tmp_path / "out.parquet"
    with background(Config(faults=(Fault("429-retry-after", 1.0),))) as service:
        words = _words(tmp_path, service)
        with killed_at_the_end(start(*words)) as process:
            wait_until(lambda: int(str(service.emulator.totals()["requests"])) >= 5, "5 requests")
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            ran = ended(process)
        assert ran.code == 130
        assert time.monotonic() - began < 3
        assert statuses(output) == {"pending": ROWS}


def test_what_was_never_sent_is_not_in_doubt(tmp_path: Path) -> None:
    """Requests that wait behind others without an answer when the run ends were not sent, and say so."""
    output = tmp_path / "out.parquet"
    with background(Config(operation_latency=Latency.parse("fixed:600"), stall_seconds=60)) as service:
        words = [*_words(tmp_path, service), "--mode", "async", "--async-limit", "2/s", "--grace", "100ms"]
        with killed_at_the_end(start(*words)) as process:
            wait_until(lambda: service.ledger.activity().submissions > 0, "the first operation")
            service.emulator.faults = (Fault("stall", 1.0, ("completionAsync",)),)
            wait_until(lambda: _intents(output)[(None, None)] > 2, "intents behind those that are sent")
            process.send_signal(signal.SIGTERM)
            ran = ended(process)
    assert ran.code == 143
    found = _intents(output)
    assert found[("not_billed", "NOT_SENT")] > 0
    assert found[(None, None)] == 2, "those that were sent are in doubt"


def _intents(output: Path) -> Counter[tuple[str | None, str | None]]:
    """Return how many attempts in an output's journal that led to no operation have each outcome and code."""
    with closing(sqlite3.connect(output.with_name(output.name + ".journal"))) as found:
        return Counter(
            found.execute("SELECT outcome, error_code FROM attempts WHERE operation_id IS NULL").fetchall()
        )


def test_a_quiet_run_says_why_it_ended_early(tmp_path: Path) -> None:
    """With -q a run that was terminated says so, and how many rows are left."""
    with background(SLOW) as service:
        words = [*_words(tmp_path, service), "-q"]
        with _half_way(service, words, stalled=False) as process:
            process.send_signal(signal.SIGTERM)
            ran = ended(process)
    assert (ran.code, ran.stdout) == (143, "")
    assert "terminated" in ran.stderr
    assert "pending" in ran.stderr


def test_a_terminated_run_ends_its_json_lines(tmp_path: Path) -> None:
    """With --json the stop is an event of its own and run_finished, with the exit code, is the last."""
    with background(SLOW) as service:
        words = [*_words(tmp_path, service), "--json"]
        with killed_at_the_end(start(*words)) as process:
            wait_until(lambda: billed(service) >= 40, "40 billed")
            process.send_signal(signal.SIGTERM)
            ran = ended(process)
    events = ran.events()
    assert (ran.code, ran.stderr) == (143, "")
    assert [event["exit_code"] for event in events if event["event"] == "stopping"] == [143]
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("run_finished", 143)


@contextmanager
def _hang_up(handling: signal.Handlers) -> Iterator[None]:
    """Handle SIGHUP in a way that processes which are started meanwhile inherit; the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, handling)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_hang_up_ends_the_run_in_order_unless_it_is_ignored(tmp_path: Path) -> None:
    """A terminal that goes away ends the run as SIGTERM does; a run under nohup goes on to its end."""
    with background(SLOW) as service:
        words = _words(tmp_path, service)
        with _hang_up(signal.SIG_DFL), _half_way(service, words, stalled=False) as process:
            process.send_signal(signal.SIGHUP)
            assert ended(process).code == 143
        assert statuses(tmp_path / "out.parquet")["pending"] > 0
        with (
            _hang_up(signal.SIG_IGN),
            killed_at_the_end(start(*words)) as process,
        ):
            wait_until(lambda: billed(service) > 60, "more billed")
            process.send_signal(signal.SIGHUP)
            assert ended(process).code == 0
        assert statuses(tmp_path / "out.parquet") == {"ok": ROWS}
