"""Being noticed, with real processes: signals, kill -9, figures while a run runs, and what cron would mail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from e2e.harness import billed, ended, killed_at_the_end, run_cli, start, statuses, wait_until, write_chats
from listener import Listener, listening
from prometheus_client.parser import text_string_to_metric_families

from batch.emulator import Config, Fault, Latency, Quotas, Running, background

SLOW = Config(quotas=Quotas(concurrent=None), latency=Latency.parse("fixed:0.05"), stall_seconds=60)
ROWS = 60


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _words(folder: Path, service: Running, server: Listener) -> list[object]:
    rows = folder / "in.jsonl"
    if not rows.exists():
        write_chats(rows, ROWS)
    words: list[object] = ["run", rows, "-o", folder / "out.parquet", "--base-url", service.base_url, "-q"]
    words += ["--concurrency", 5, "--stats", "100ms", "--log-file", folder / "run.log"]
    words += ["--metrics-file", folder / "run.prom"]
    return [*words, "--ping-url", f"{server.url}/check", "--webhook", f"{server.url}/hook"]


def _metrics(folder: Path) -> dict[str, float]:
    """Return the samples that have no labels but the output, by name."""
    families = text_string_to_metric_families((folder / "run.prom").read_text("utf-8"))
    return {
        sample.name: sample.value for family in families for sample in family.samples if len(sample.labels) == 1
    }


def _last_line(folder: Path) -> str:
    return (folder / "run.log").read_text("utf-8").splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_is_told(times: int, number: signal.Signals, code: int, tmp_path: Path) -> None:
    """A run that a signal ends, in order or at once, pings /fail; webhook, log and metrics have its exit code."""
    with background(SLOW) as service, listening() as server:
        with killed_at_the_end(start(*_words(tmp_path, service, server))) as process:
            wait_until(lambda: billed(service) >= 10, "10 billed")
            if times == 2:
                service.emulator.faults = (Fault("stall", 1.0),)
                wait_until(lambda: "/check/start" in server.targets, "the start")
                time.sleep(0.2)
                process.send_signal(number)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.3)
            process.send_signal(number)
            ran = ended(process)
        assert (ran.code, ran.stdout) == (code, "")
        assert (server.targets[0], sorted(server.targets[1:])) == ("/check/start", ["/check/fail", "/hook"])
        (hook,) = [told.json() for told in server.told if told.target == "/hook"]
        assert (hook["exit_code"], hook["failed"]) == (code, True)
        metrics = _metrics(tmp_path)
        assert (metrics["chatbatch_run_exit_code"], metrics["chatbatch_running"]) == (code, 0)
        assert _last_line(tmp_path).endswith(f"Ended with exit code {code}")
        assert len(ran.stderr.splitlines()) <= 3
        assert "terminated" in ran.stderr.lower() or "interrupted" in ran.stderr.lower()


def test_a_signal_before_the_first_row_is_told(tmp_path: Path) -> None:
    """SIGTERM while standard input is still being read is told like any other end."""
    with background() as service, listening() as server:
        words = _words(tmp_path, service, server)
        words[1] = "-"
        with killed_at_the_end(start(*words, stdin=subprocess.PIPE)) as process:
            wait_until(lambda: bool(server.told), "the start")
            wait_until((tmp_path / "run.prom").exists, "the metrics")
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 143
        assert (server.targets[0], sorted(server.targets[1:])) == ("/check/start", ["/check/fail", "/hook"])
        assert _metrics(tmp_path)["chatbatch_run_exit_code"] == 143


def test_figures_move_while_the_run_runs_and_outlive_kill_9(tmp_path: Path) -> None:
    """The metrics file grows at the --stats interval; after kill -9 it says running until the next run ends."""
    with background(SLOW) as service, listening() as server:
        words = _words(tmp_path, service, server)
        with killed_at_the_end(start(*words)) as process:
            seen: set[float] = set()

            def moved() -> bool:
                if (tmp_path / "run.prom").exists():
                    seen.add(_metrics(tmp_path)["chatbatch_requests_total"])
                return len(seen) >= 3

            wait_until(moved, "three different counts")
            process.kill()
            process.wait()
        assert _metrics(tmp_path)["chatbatch_running"] == 1
        assert "chatbatch_last_success_timestamp_seconds" not in _metrics(tmp_path)
        assert server.targets == ["/check/start"]
        ran = run_cli(*words)
        assert (ran.code, statuses(tmp_path / "out.parquet")) == (0, {"ok": ROWS})
        metrics = _metrics(tmp_path)
        assert (metrics["chatbatch_running"], metrics["chatbatch_run_exit_code"]) == (0, 0)
        assert metrics["chatbatch_last_success_timestamp_seconds"] > time.time() - 60
        assert server.targets.count("/check/start") == 2
        assert "/check" in server.targets
        assert list(tmp_path.glob("*.tmp")) == []


def test_cron_mails_nothing_and_promtool_is_content(tmp_path: Path) -> None:
    """A good run under cron prints nothing at all, again and again, and promtool accepts its metrics file."""
    with background(Config()) as service, listening() as server:
        words = _words(tmp_path, service, server)
        for _ in range(2):
            ran = run_cli(*words)
            assert (ran.code, ran.said) == (0, ""), (tmp_path / "run.log").read_text("utf-8")
        assert billed(service) == ROWS
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    figures = (tmp_path / "run.prom").read_bytes()
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=figures, capture_output=True, timeout=20, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
