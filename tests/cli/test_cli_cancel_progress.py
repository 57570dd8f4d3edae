"""`chatbatch cancel` says how far it is as a run does, and ends in order when it is asked to."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.harness import (
    Ran,
    Shell,
    ended,
    killed_at_the_end,
    on_a_terminal,
    start,
    statuses,
    wait_until,
    write_chats,
)

from batch.emulator import Config, Fault, Latency, Quotas, Running, background

ROWS = 60
LINE = re.compile(r"^\d\d:\d\d:\d\d  (\d+)/60 operations \(.*\).* operations/s", re.MULTILINE)
BOTH = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
Words = Callable[..., list[object]]


@pytest.fixture
def service() -> Iterator[Running]:
    quotas = Quotas(async_per_second=None, async_per_hour=None)
    with background(Config(quotas, operation_latency=Latency.parse("fixed:3600"), stall_seconds=60)) as running:
        yield running


@pytest.fixture
def words(shell: Shell, service: Running, tmp_path: Path) -> Words:
    """The words that cancel an output all of whose rows are submitted, at 30 operations a second."""
    output, rows = tmp_path / "out.parquet", write_chats(tmp_path / "in.jsonl", ROWS)
    where = ["--base-url", service.base_url]
    ran = shell(
        "run", rows, "-o", output, *where, "--mode", "async", "--async-limit", "off", "--detach-after-submit"
    )
    assert ran.code == 0, ran.said
    return lambda *more: ["cancel", output, *where, "--poll-limit", "30/s", *more]


def _cancels(service: Running) -> int:
    return service.ledger.activity().cancels


def test_a_line_comes_at_the_interval(shell: Shell, words: Words) -> None:
    """Off a terminal a line comes at each --stats interval, with what is done, the rate and the rest."""
    ran = shell(*words("--stats", "200ms"))
    done = [int(number) for number in LINE.findall(ran.stderr)]
    assert ran.code == 0
    assert 3 <= len(done) <= 12
    assert done == sorted(done)
    assert "left" in ran.stderr
    assert re.search(r"\d+ cancelled", ran.stderr)
    assert f"{ROWS} operations were open; cancelled {ROWS}" in ran.stdout


def test_quiet_and_json(shell: Shell, words: Words, service: Running) -> None:
    """With -q nothing is said; with --json progress is a line of its own kind, before what became of all."""
    with killed_at_the_end(start(*words("--json", "--stats", "200ms"))) as process:
        wait_until(lambda: _cancels(service) >= ROWS // 2, "half of them")
        process.send_signal(signal.SIGINT)
        ran = ended(process)
    *progress, told, _ = ran.events()
    assert (ran.code, ran.stderr, told["event"]) == (130, "", "cancel")
    assert {event["event"] for event in progress} == {"cancel_progress"}
    assert all(event["open"] == ROWS and event["ended"] == event["cancelled"] for event in progress)
    assert shell(*words("-q", "--stats", "100ms")).said == ""
    assert _cancels(service) == ROWS


def test_a_live_line_on_a_terminal(words: Words) -> None:
    """On a terminal the progress is drawn in place, and the cursor comes back."""
    code, _, seen = on_a_terminal(*words(), columns=120)
    assert code == 0
    assert len(re.findall(rb"/60 operations", seen)) > 3
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") >= 0


def _interrupted(service: Running, words: list[object], number: signal.Signals) -> Ran:
    """Cancel until a quarter is done, and send a signal."""
    with killed_at_the_end(start(*words)) as process:
        wait_until(lambda: _cancels(service) >= ROWS // 4, "a quarter of them")
        process.send_signal(number)
        return ended(process)


@BOTH
def test_a_signal_ends_it_in_order_and_it_can_be_continued(
    number: signal.Signals, code: int, shell: Shell, words: Words, service: Running, tmp_path: Path
) -> None:
    """What was cancelled is recorded and stands in the output, and the same command cancels the rest, once."""
    output = tmp_path / "out.parquet"
    ran = _interrupted(service, words(), number)
    found, cancelled = statuses(output), _cancels(service)
    assert ran.code == code
    assert found == {"failed": cancelled, "pending": ROWS - cancelled}
    assert ROWS // 4 <= cancelled < ROWS
    assert f"{ROWS - cancelled} operations are still open: " in ran.stderr
    assert "Traceback" not in ran.stderr
    again = shell(*words())
    assert again.code == 0
    assert f"{ROWS - cancelled} operations were open; cancelled {ROWS - cancelled}" in again.stdout
    assert (_cancels(service), statuses(output)) == (ROWS, {"failed": ROWS})
    assert shell("doctor", output).code == 0


def test_requests_in_flight_have_the_grace(words: Words, service: Running, tmp_path: Path) -> None:
    """A request that hangs keeps a signalled command for --grace and no longer; its operation stays open."""
    service.emulator.faults = (Fault("stall", 1.0, ("cancel",)),)
    with killed_at_the_end(start(*words("--grace", "300ms"))) as process:
        wait_until(lambda: _cancels(service) >= 1, "the first")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ran = ended(process)
    assert (ran.code, 0.3 <= time.monotonic() - began < 5) == (143, True)
    assert f"{ROWS} operations are still open: terminated" in ran.stderr
    assert statuses(tmp_path / "out.parquet") == {"pending": ROWS}


def test_a_second_signal_ends_it_at_once(words: Words, service: Running, tmp_path: Path) -> None:
    """A second signal waits for nobody and writes no output; what the journal holds is kept."""
    output = tmp_path / "out.parquet"
    before = output.read_bytes()
    with killed_at_the_end(start(*words())) as process:
        wait_until(lambda: _cancels(service) >= 5, "some of them")
        service.emulator.faults = (Fault("stall", 1.0, ("cancel",)),)
        count = _cancels(service)
        wait_until(lambda: _cancels(service) >= count + 3, "some that hang")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        ran = ended(process)
    assert (ran.code, time.monotonic() - began < 3) == (130, True)
    assert "Traceback" not in ran.stderr
    assert output.read_bytes() == before
