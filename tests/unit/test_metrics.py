"""The metrics file: names and values, what stays of the run before, and how it is written."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batch.errors import Billed, ExitCode, UsageError
from batch.events import (
    AttemptLost,
    LimitChanged,
    RowFinished,
    RowsSkipped,
    RunFinished,
    RunStarted,
    ServiceBack,
    ServiceDown,
    Spending,
    UnknownBilled,
)
from batch.metrics import Metrics, Subject
from batch.parsing import Money
from batch.records import Status, Usage

JOB = Subject("nightly", "", {"output": "/data/out.parquet", "model": 'a "lite"\\one\n', "version": "1"})
BEGAN = 1_750_000_000.0
HOSTILE = Subject("", 'we"ird\\na\nme ночь.parquet', {"model": "m"})


def _finished() -> RunFinished:
    spent = Spending(
        currency="RUB",
        answers=Decimal("1.5"),
        lost=Decimal("0.25"),
        unknown=Decimal(0),
        total=Decimal("1.75"),
        unpriced=0,
    )
    return RunFinished(
        output="out.parquet",
        rows={"ok": 8, "failed": 1, "invalid": 1, "pending": 0},
        input_tokens=80,
        completion_tokens=40,
        total_tokens=120,
        spending=[spent],
        estimated=None,
        needs=None,
        requests=10,
        retries=1,
        not_billed=1,
        maybe_billed=1,
        unknown_billed=2,
        open_operations=3,
        modes=[],
        concurrency=7,
        limit_changes=1,
        paused_s=0.0,
        duration_s=5.0,
        emulated=False,
        reason="",
        exit_code=ExitCode.OK,
    )


def _busy(metrics: Metrics) -> None:
    """Take in the news of a run in the middle."""
    metrics.note(RunStarted(10, 2, "yandexgpt-lite", "auto", "out.parquet", False))
    metrics.note(RowsSkipped(2, 1))
    for status in (Status.OK, Status.OK, Status.FAILED):
        usage = Usage(10, 5, None, 15) if status is Status.OK else Usage()
        cost = Money(Decimal("0.1"), "RUB") if status is Status.OK else None
        metrics.note(RowFinished("k", status, usage, 1, 0.1, None, None, cost))
    for code, billed, delay in (("HTTP_429", Billed.NO, 1.0), ("READ_TIMEOUT", Billed.MAYBE, None)):
        metrics.note(AttemptLost("k", 1, code, "", billed, False, delay))
    metrics.note(LimitChanged("requests at once", 7, "grown"))
    metrics.note(UnknownBilled(["a", "b"], True))
    metrics.note(ServiceDown("HTTP_503", "", 1.0))


def _read(path: Path) -> dict[str, dict[tuple[str, ...], float]]:
    """Return a file's samples through prometheus_client's own parser: by name, then by the labels' values."""
    read: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(path.read_text("utf-8")):
        for sample in family.samples:
            own = tuple(value for name, value in sample.labels.items() if name not in ("job_name", "output"))
            assert own not in read.setdefault(sample.name, {})
            read[sample.name][own] = sample.value
    return read


def test_a_run_in_the_middle(tmp_path: Path) -> None:
    """While it runs the file has the rows, tokens, money, requests and limits so far."""
    path = tmp_path / "deep" / "run.prom"
    metrics = Metrics.open(path, JOB, BEGAN)
    _busy(metrics)
    metrics.write()
    read = _read(path)
    assert read["chatbatch_rows"] == {("ok",): 4, ("failed",): 1, ("invalid",): 1, ("pending",): 4}
    assert read["chatbatch_tokens_total"] == {("in",): 20, ("out",): 10}
    assert read["chatbatch_cost_total"] == {("RUB",): 0.2}
    assert read["chatbatch_requests_total"] == {(): 4}
    assert read["chatbatch_retries_total"] == {(): 1}
    assert read["chatbatch_lost_requests_total"] == {("no", "HTTP_429"): 1, ("maybe", "READ_TIMEOUT"): 1}
    assert read["chatbatch_limit"] == {("requests at once",): 7}
    assert read["chatbatch_in_doubt_requests"] == {(): 2}
    assert read["chatbatch_service_down"] == read["chatbatch_running"] == {(): 1}
    assert read["chatbatch_run_start_timestamp_seconds"] == {(): BEGAN}
    assert "chatbatch_run_exit_code" not in read


def test_a_run_that_ended(tmp_path: Path) -> None:
    """At the end the file has the output's rows, the exit code, the times and what all runs spent."""
    path = tmp_path / "run.prom"
    metrics = Metrics.open(path, JOB, BEGAN)
    _busy(metrics)
    metrics.note(ServiceBack(3.0))
    metrics.note(_finished())
    metrics.ended(BEGAN + 5, 0, well=True)
    metrics.write()
    read = _read(path)
    assert read["chatbatch_rows"] == {("ok",): 8, ("failed",): 1, ("invalid",): 1, ("pending",): 0}
    assert (
        read["chatbatch_run_exit_code"] == read["chatbatch_running"] == read["chatbatch_service_down"] == {(): 0}
    )
    assert read["chatbatch_run_duration_seconds"] == {(): 5}
    assert read["chatbatch_run_end_timestamp_seconds"] == {(): BEGAN + 5}
    assert read["chatbatch_last_success_timestamp_seconds"] == {(): BEGAN + 5}
    assert read["chatbatch_open_operations"] == {(): 3}
    assert read["chatbatch_spent"] == {("RUB", "answers"): 1.5, ("RUB", "lost"): 0.25, ("RUB", "unknown"): 0}


@pytest.mark.parametrize("subject", [JOB, HOSTILE], ids=["job", "output"])
def test_the_last_success_survives_failing_runs(subject: Subject, tmp_path: Path) -> None:
    """Runs that fail, and one that is running, keep when a run last ended well; so does a start alone."""
    path = tmp_path / "run.prom"
    for began, code in ((BEGAN, 0), (BEGAN + 100, 5), (BEGAN + 200, 2)):
        metrics = Metrics.open(path, subject, began)
        metrics.ended(began + 10, code, well=code == 0)
        metrics.write()
    Metrics.open(path, subject, BEGAN + 300)
    read = _read(path)
    assert read["chatbatch_last_success_timestamp_seconds"] == {(): BEGAN + 10}
    assert read["chatbatch_run_exit_code"] == {(): 2}
    assert read["chatbatch_run_end_timestamp_seconds"] == {(): BEGAN + 210}
    assert read["chatbatch_running"] == {(): 1}


def test_a_killed_run_is_seen_by_its_age_and_told_by_the_next(tmp_path: Path) -> None:
    """A file that says running says when that was true, and the next run says that the one before was killed."""
    path = tmp_path / "run.prom"
    metrics = Metrics.open(path, JOB, BEGAN, lambda: BEGAN + 40)
    metrics.write()
    read = _read(path)
    assert read["chatbatch_running"] == {(): 1}
    assert read["chatbatch_run_last_seen_timestamp_seconds"] == {(): BEGAN + 40}
    following = Metrics.open(path, JOB, BEGAN + 100, lambda: BEGAN + 100)
    read = _read(path)
    assert read["chatbatch_run_exit_code"] == {(): 137}
    assert read["chatbatch_run_end_timestamp_seconds"] == {(): BEGAN + 40}
    assert read["chatbatch_run_duration_seconds"] == {(): 40}
    following.ended(BEGAN + 105, 0, well=True)
    following.write()
    assert _read(path)["chatbatch_run_exit_code"] == {(): 0}


def test_another_jobs_file_is_not_continued(tmp_path: Path) -> None:
    """The times of another job in the file are not taken for this one's."""
    path = tmp_path / "run.prom"
    metrics = Metrics.open(path, JOB, BEGAN)
    metrics.ended(BEGAN + 1, 0, well=True)
    metrics.write()
    Metrics.open(path, HOSTILE, BEGAN + 9)
    assert "chatbatch_last_success_timestamp_seconds" not in _read(path)


@pytest.mark.parametrize("found", [b"", b"nonsense {", b"\xff\xfe", b'chatbatch_x{job_name="nightly"} NaN\n'])
def test_a_file_that_is_not_understood_is_replaced(found: bytes, tmp_path: Path) -> None:
    """A damaged file costs the last success alone: the new one is whole."""
    path = tmp_path / "run.prom"
    path.write_bytes(found)
    Metrics.open(path, JOB, BEGAN)
    assert _read(path)["chatbatch_running"] == {(): 1}


def test_codes_of_lost_requests_are_bounded(tmp_path: Path) -> None:
    """However many codes a service makes up, the file has some dozens of them and the rest as one."""
    metrics = Metrics.open(tmp_path / "run.prom", JOB, BEGAN)
    for number in range(1000):
        metrics.note(AttemptLost("k", 1, f"CODE_{number}", "", Billed.NO, False, 1.0))
    metrics.write()
    lost = _read(tmp_path / "run.prom")["chatbatch_lost_requests_total"]
    assert len(lost) == 51
    assert (lost["no", "OTHER"], sum(lost.values())) == (950, 1000)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_everybody_may_read_it(mask: int, tmp_path: Path) -> None:
    """The file is readable to the node exporter under any umask, and no other file is left beside it."""
    before = os.umask(mask)
    try:
        Metrics.open(tmp_path / "run.prom", JOB, BEGAN).write()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.prom").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["run.prom"]


def test_it_is_replaced_at_once(tmp_path: Path) -> None:
    """Whoever has the old file open reads the old figures to their end: it is renamed over, not written into."""
    path = tmp_path / "run.prom"
    metrics = Metrics.open(path, JOB, BEGAN)
    with path.open() as old:
        first = path.read_text("utf-8")
        _busy(metrics)
        metrics.write()
        assert old.read() == first != path.read_text("utf-8")


@pytest.mark.parametrize("kind", ["suffix", "folder", "below a file"])
def test_an_unusable_path_is_refused_at_the_start(kind: str, tmp_path: Path) -> None:
    """A name that the node exporter does not read, a folder and a path below a file are refused."""
    path = tmp_path / ("run.txt" if kind == "suffix" else "run.prom")
    if kind == "folder":
        path.mkdir()
    elif kind == "below a file":
        path.touch()
        path = path / "run.prom"
    with pytest.raises(UsageError, match=r"run\.(txt|prom)"):
        Metrics.open(path, JOB, BEGAN)
    assert [item.name for item in tmp_path.iterdir()] in ([], ["run.prom"])


@pytest.mark.parametrize("subject", [JOB, HOSTILE], ids=["job", "output"])
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_promtool_has_nothing_to_say(ended: bool, subject: Subject, tmp_path: Path) -> None:
    """`promtool check metrics` accepts the file without a word, of a run that runs and of one that ended."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    path = tmp_path / "run.prom"
    metrics = Metrics.open(path, subject, BEGAN)
    _busy(metrics)
    if ended:
        metrics.note(_finished())
        metrics.ended(BEGAN + 5, 0, well=True)
    metrics.write()
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=path.read_bytes(), capture_output=True, timeout=20, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
