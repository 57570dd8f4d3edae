"""Being noticed: every end of a command reaches the health check, the webhook, the log and the metrics file."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
from e2e.harness import SECRET, Shell, chat, write_chats, write_rows
from listener import Listener, listening, nobody
from prometheus_client.parser import text_string_to_metric_families

from batch import notify
from batch.cli.run import execute
from batch.emulator import Config, Fault, Latency, background
from batch.plan import running
from batch.settings import Layer, resolve

IMPATIENT = notify.Timing(0.4, (0.01, 0.02), 1.0)
TOKEN = "5f0c-not-to-be-seen"
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d  ")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies, and milliseconds where a night's run has seconds."""
    monkeypatch.setattr(notify, "Timing", lambda: IMPATIENT)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _run(rows: Path, *flags: object) -> list[object]:
    return ["run", rows, "-o", rows.parent / "out.parquet", "--emulate", *flags]


def _noticed(server: Listener, folder: Path) -> list[object]:
    """Return the flags of a run that tells everybody."""
    flags = ["--ping-url", f"{server.url}/{TOKEN}", "--webhook", f"{server.url}/hook"]
    return [*flags, "--metrics-file", folder / "run.prom", "--log-file", folder / "run.log"]


def _metrics(path: Path) -> dict[str, float]:
    """Return the samples of a metrics file that have no labels but the subject's, by name."""
    families = text_string_to_metric_families(path.read_text("utf-8"))
    return {
        sample.name: sample.value for family in families for sample in family.samples if len(sample.labels) == 1
    }


def _log(folder: Path) -> list[str]:
    lines = (folder / "run.log").read_text("utf-8").splitlines()
    assert all(STAMP.match(line) for line in lines)
    return [STAMP.sub("", line) for line in lines]


def _pings(server: Listener) -> list[str]:
    return [target.removeprefix(f"/{TOKEN}") for target in server.targets if target != "/hook"]


def _summary(server: Listener) -> dict[str, object]:
    (hook,) = [told for told in server.told if told.target == "/hook"]
    return hook.json()


def test_a_good_run_is_told_to_everybody(shell: Shell, tmp_path: Path) -> None:
    """Start and success are pinged, and the webhook's JSON has the fields of --json's run_finished."""
    rows = write_chats(tmp_path / "in.jsonl", 3)
    with listening() as server:
        ran = shell(*_run(rows, "--json", *_noticed(server, tmp_path)))
    assert (ran.code, ran.stderr, _pings(server)) == (0, "", ["/start", ""])
    told, last = _summary(server), ran.events()[-1]
    own = {"text", "failed", "error", "hint", "job", "host", "version", "started_at"}
    assert set(told) == set(last) | own
    assert {name: told[name] for name in set(last) - {"time"}} == {
        name: last[name] for name in set(last) - {"time"}
    }
    assert (told["failed"], told["error"], told["job"]) == (False, None, None)
    assert "3 ok" in str(told["text"])
    metrics = _metrics(tmp_path / "run.prom")
    assert metrics["chatbatch_run_exit_code"] == metrics["chatbatch_running"] == 0
    assert metrics["chatbatch_requests_total"] == 3
    assert metrics["chatbatch_last_success_timestamp_seconds"] == metrics["chatbatch_run_end_timestamp_seconds"]


def test_failed_rows_are_a_failure(shell: Shell, tmp_path: Path) -> None:
    """A run with rows that have no answer pings /fail, and its log, quiet or not, has the whole summary."""
    rows = write_rows(tmp_path / "in.jsonl", [chat("one"), {}])
    with listening() as server:
        ran = shell(*_run(rows, "-q", *_noticed(server, tmp_path)))
    assert (ran.code, _pings(server)) == (3, ["/start", "/fail"])
    assert (_summary(server)["exit_code"], _summary(server)["failed"]) == (3, True)
    assert "1 rows have no answer" in server.told[-1].body
    log = _log(tmp_path)
    assert "  rows      1 ok, 1 invalid" in log
    assert (log[0].split(": ")[1].split(",")[0], log[-1]) == ("started", "Ended with exit code 3")


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ("input", 6, "nowhere.jsonl"),
        ("output", 2, "out.xyz"),
        ("credentials", 4, "redentials"),
        ("log", 2, "log file"),
        ("metrics", 2, "node exporter"),
        ("same", 2, "is the output as well"),
        ("exists", 2, "its journal"),
    ],
)
def test_a_run_that_cannot_begin_is_told(case: str, code: int, said: str, shell: Shell, tmp_path: Path) -> None:
    """What keeps a run from beginning is pinged as a failure, with its sentence in webhook, log and metrics."""
    rows = write_chats(tmp_path / "in.jsonl", 1)
    with listening() as server:
        words = _run(rows, *_noticed(server, tmp_path))
        if case == "input":
            words[1] = tmp_path / "nowhere.jsonl"
        elif case == "output":
            words[3] = tmp_path / "out.xyz"
        elif case == "credentials":
            words.remove("--emulate")
            shell.setenv(API_KEY="", FOLDER_ID="")
        elif case == "log":
            words[-1] = tmp_path
        elif case == "metrics":
            words[words.index("--metrics-file") + 1] = tmp_path / "run.txt"
        elif case == "same":
            words[words.index("--log-file") + 1] = words[3]
        else:
            (tmp_path / "out.parquet").touch()
        ran = shell(*words)
    assert (ran.code, _pings(server)) == (code, ["/start", "/fail"])
    assert said in ran.stderr
    assert (_summary(server)["exit_code"], str(_summary(server)["error"]) in ran.stderr) == (code, True)
    assert said in server.told[-1].body + str(_summary(server))
    if case not in ("log", "same"):
        assert any(line.startswith("Error: ") and said in line for line in _log(tmp_path))
    if case not in ("log", "same", "metrics"):
        assert _metrics(tmp_path / "run.prom")["chatbatch_run_exit_code"] == code


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RuntimeError(SECRET), 1, "Unexpected RuntimeError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (SystemExit(143), 143, "Terminated"),
    ],
)
def test_what_nobody_expected_is_told(
    raised: BaseException, code: int, said: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug, Ctrl-C and an exit by SIGTERM outside of the rows are pinged as failures, without their details."""

    def broken(*_: object, **__: object) -> int:
        raise raised

    monkeypatch.setattr(running, "run", broken)
    with listening() as server:
        words = _run(write_chats(tmp_path / "in.jsonl", 1), *_noticed(server, tmp_path))
        if isinstance(raised, SystemExit):
            with pytest.raises(SystemExit):
                shell(*words)
        else:
            assert shell(*words).code == code
    assert _pings(server) == ["/start", "/fail"]
    assert (_summary(server)["exit_code"], said in str(_summary(server)["error"])) == (code, True)
    assert f"Ended with exit code {code}" in _log(tmp_path)
    assert _metrics(tmp_path / "run.prom")["chatbatch_run_exit_code"] == code
    assert not any(SECRET in told.body for told in server.told)


def test_a_failing_notification_fails_nothing(shell: Shell, tmp_path: Path) -> None:
    """A refusing health check and an absent webhook change no exit code; each is one warning without secrets."""
    rows, absent = write_chats(tmp_path / "in.jsonl", 2), nobody()
    with listening(statuses=(404,)) as server:
        flags = ["--ping-url", f"{server.url}/{TOKEN}", "--webhook", f"{absent}/{TOKEN}"]
        ran = shell(*_run(rows, "-q", *flags, "--log-file", tmp_path / "run.log"))
    assert (ran.code, ran.stdout) == (0, "")
    hook, check = ran.stderr.splitlines()
    assert hook == f"Warning: The webhook at {absent} could not be told how the run ended: it cannot be reached."
    assert check.startswith(f"Warning: The health check at {server.url} could not be told")
    assert set(ran.stderr.splitlines()) <= set(_log(tmp_path))
    assert TOKEN not in ran.said + (tmp_path / "run.log").read_text("utf-8")


def test_a_dead_health_check_neither_delays_nor_fails_a_run(shell: Shell, tmp_path: Path) -> None:
    """Addresses that accept and never answer delay neither the start nor, beyond the patience, the end."""
    rows = write_chats(tmp_path / "in.jsonl", 5)
    with background() as service, listening(delay_s=60.0) as server:
        words = ["run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url, "-q"]
        began = time.monotonic()
        ran = shell(*words, "--ping-url", f"{server.url}/{TOKEN}", "--webhook", f"{server.url}/hook")
        took = time.monotonic() - began
        assert service.ledger.totals().requests == 5
    assert (ran.code, took < 3) == (0, True)
    whom = [line.split(" at ")[0] for line in ran.stderr.splitlines()]
    assert whom == ["Warning: The webhook", "Warning: The health check"]


def test_a_secret_address_is_written_down_nowhere(shell: Shell, tmp_path: Path) -> None:
    """Neither the journal nor the output nor the metrics nor the log have the addresses' paths."""
    rows = write_chats(tmp_path / "in.jsonl", 2)
    with listening() as server:
        flags = ["--webhook", f"{server.url}/{TOKEN}", "--ping-url", f"{server.url}/{TOKEN}"]
        flags += ["--metrics-file", str(tmp_path / "run.prom"), "--log-file", str(tmp_path / "run.log"), "-vv"]
        assert shell(*_run(rows, *flags)).code == 0
    assert len(list(tmp_path.iterdir())) >= 4
    for path in tmp_path.iterdir():
        assert TOKEN.encode() not in path.read_bytes(), path


def test_a_dry_run_tells_nobody(shell: Shell, tmp_path: Path) -> None:
    """A dry run pings nobody and writes neither log nor metrics."""
    rows = write_chats(tmp_path / "in.jsonl", 2)
    with listening() as server:
        assert shell(*_run(rows, "-n", *_noticed(server, tmp_path))).code == 0
    assert server.told == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_without_the_extra_nothing_is_spent(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where prometheus-client is missing the command says how to install it, before anything is sent."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "batch.metrics", raising=False)
    rows = write_chats(tmp_path / "in.jsonl", 2)
    with background() as service:
        words = ["run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url]
        ran = shell(*words, "--metrics-file", tmp_path / "run.prom")
        assert service.ledger.totals().requests == 0
    assert ran.code == 2
    assert "pip install 'chatbatch[metrics]'" in ran.stderr
    assert not (tmp_path / "out.parquet.journal").exists()


def test_the_log_says_what_a_terminal_would(shell: Shell, tmp_path: Path) -> None:
    """The log has each lost attempt and each failed row, as with -v, and progress at the interval of --stats."""
    rows = write_chats(tmp_path / "in.jsonl", 12)
    config = Config(script=("ok", "500", "400"), latency=Latency.parse("fixed:0.15"))
    with background(config) as service:
        words = ["run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url, "-q"]
        words += ["--retries", "0", "--concurrency", "2", "--stats", "100ms", "--log-file", tmp_path / "run.log"]
        assert shell(*words).code == 3
    log = _log(tmp_path)
    assert sum(": failed: " in line for line in log) == 2
    assert sum(re.match(r"\d+/12 rows", line) is not None for line in log) >= 3


def test_json_gives_a_log_of_json_lines(shell: Shell, tmp_path: Path) -> None:
    """With --json the log's lines are the events of stdout, between one that starts and one that ends them."""
    rows = write_chats(tmp_path / "in.jsonl", 3)
    log = tmp_path / "run.log"
    ran = shell(*_run(rows, "--json", "--log-file", log))
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines[1:-1]] == [event["event"] for event in ran.events()]
    assert (lines[0]["event"], lines[-1]["event"], lines[-1]["exit_code"]) == (
        "command_started",
        "command_ended",
        0,
    )
    shell("run", tmp_path / "no.jsonl", "-o", tmp_path / "o.parquet", "--emulate", "--json", "--log-file", log)
    *_, error, last = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert (error["event"], error["exit_code"], last["event"]) == ("error", 6, "command_ended")
    assert "no.jsonl" in error["message"]


def test_a_log_that_breaks_is_one_warning(shell: Shell, tmp_path: Path) -> None:
    """A full disk under the log is one warning, and the run answers every row."""
    ran = shell(*_run(write_chats(tmp_path / "in.jsonl", 3), "-q", "--log-file", "/dev/full"))
    assert (ran.code, ran.stdout) == (0, "")
    assert len(ran.stderr.splitlines()) == 1
    assert "/dev/full cannot be written" in ran.stderr


def test_metrics_that_break_are_one_warning(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the metrics file cannot be written any more, that is one warning, and the run answers every row."""
    from batch.metrics import Metrics

    written = Metrics.write
    calls: list[int] = []

    def full(metrics: Metrics) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        written(metrics)

    monkeypatch.setattr(Metrics, "write", full)
    with background(Config(latency=Latency.parse("fixed:0.1"))) as service:
        words = [
            "run",
            write_chats(tmp_path / "in.jsonl", 4),
            "-o",
            tmp_path / "out.parquet",
            "-q",
            "--stats",
            "50ms",
        ]
        words += ["--base-url", service.base_url, "--concurrency", "1", "--metrics-file", tmp_path / "run.prom"]
        ran = shell(*words)
    assert (ran.code, len(calls) > 3) == (0, True)
    assert len(ran.stderr.splitlines()) == 1
    assert "run.prom cannot be written: No space left on device" in ran.stderr


QUIET_ENDS = [
    (0, Config(), (), 0, ""),
    (3, Config(script=("ok", "400")), (), 1, "1 rows have no answer"),
    (8, Config(), ("--max-rows", "2"), 1, "--max-rows reached"),
    (
        10,
        Config(latency=Latency.parse("fixed:0.1")),
        ("--max-duration", "50ms", "--concurrency", "1"),
        1,
        "deadline is reached",
    ),
    (5, Config(faults=(Fault("503", 1.0),)), ("--max-outage", "10ms"), 3, "ervice"),
    (4, Config(faults=(Fault("401", 1.0),)), (), 1, "UNAUTHENTICATED"),
]


@pytest.mark.parametrize(
    ("code", "config", "flags", "most", "said"), QUIET_ENDS, ids=[f"exit {end[0]}" for end in QUIET_ENDS]
)
def test_crons_mail_is_what_a_person_needs(
    code: int, config: Config, flags: tuple[str, ...], most: int, said: str, shell: Shell, tmp_path: Path
) -> None:
    """With -q a good run prints nothing; any other says in a line how it ended and what came of the rows."""
    rows = write_chats(tmp_path / "in.jsonl", 6)
    with background(config) as service:
        words = [
            "run",
            rows,
            "-o",
            tmp_path / "out.parquet",
            "--base-url",
            service.base_url,
            "-q",
            "--retries",
            "1",
        ]
        ran = shell(*words, *flags)
    assert (ran.code, ran.stdout) == (code, ""), ran.stderr
    lines = ran.stderr.splitlines()
    assert (bool(lines), len(lines) <= most) == (bool(code), True), ran.stderr
    if code:
        assert f"(exit code {code})" in lines[0]
        assert str(tmp_path / "out.parquet") in lines[0]
        assert said in ran.stderr


def test_quiet_holds_notices_back_where_all_is_well(shell: Shell, tmp_path: Path) -> None:
    """What is only worth knowing makes no mail: with -q a good run with a notice prints nothing."""
    words = _run(write_rows(tmp_path / "in.jsonl", [chat("one", id="a")]), "--id-column", "id")
    shell(*words, "-q")
    write_rows(tmp_path / "in.jsonl", [chat("two", id="a")])
    assert (shell(*words, "-q").said, "were edited" in shell(*words).stderr) == ("", True)


def test_nothing_to_do_is_silent_where_silence_was_asked_for(shell: Shell, tmp_path: Path) -> None:
    """With -q and --error-on-empty the exit code 9 says it all, and the health check hears of a success."""
    words = _run(write_chats(tmp_path / "in.jsonl", 2), "--error-on-empty")
    shell(*words)
    with listening() as server:
        ran = shell(*words, "-q", *_noticed(server, tmp_path))
    assert (ran.code, ran.said, _pings(server)) == (9, "", ["/start", ""])
    assert (_summary(server)["exit_code"], _summary(server)["error"]) == (9, None)
    assert "nothing to do" in shell(*words).stderr


@pytest.mark.parametrize("flags", [{}, {"json": True}, {"quiet": True}], ids=["lines", "json", "quiet"])
def test_an_idle_run_leaves_no_trace(
    flags: dict[str, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `quiet_when_idle` a run that finds everything answered prints nothing, and one that works is shown."""
    rows = write_chats(tmp_path / "in.jsonl", 2)
    values = {"output": str(tmp_path / "out.parquet"), "emulate": True, **flags}
    resolved = resolve([Layer("job file", values)])
    assert execute(resolved, [str(rows)], quiet_when_idle=True) == 0
    out, err = capsys.readouterr()
    assert bool(out + err) == ("quiet" not in flags)
    assert execute(resolved, [str(rows)], quiet_when_idle=True) == 0
    assert capsys.readouterr() == ("", "")
    write_rows(rows, [chat("Question 0?", id="row-0"), {}])
    assert execute(resolved, [str(rows)], quiet_when_idle=True) == 3
    assert "no answer" in "".join(capsys.readouterr())


def test_a_job_is_told_by_its_name(tmp_path: Path) -> None:
    """A job's name stands in the pings, in the webhook's JSON and as the label of its figures."""
    rows = write_chats(tmp_path / "in.jsonl", 1)
    with listening() as server:
        values = {
            "output": str(tmp_path / "out.parquet"),
            "emulate": True,
            "quiet": True,
            "ping_url": f"{server.url}/{TOKEN}",
        }
        values |= {"webhook": f"{server.url}/hook", "metrics_file": str(tmp_path / "run.prom")}
        assert execute(resolve([Layer("job file", values)]), [str(rows)], job="nightly") == 0
    assert all(told.body.startswith("nightly on ") for told in server.told if told.target != "/hook")
    assert _summary(server)["job"] == "nightly"
    assert 'chatbatch_run_exit_code{job_name="nightly"} 0.0' in (tmp_path / "run.prom").read_text("utf-8")
