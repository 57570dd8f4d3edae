"""What is said where: stdout only what was asked for, stderr the progress, nothing that steers a terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.harness import (
    FOLDER,
    SAMPLES,
    Shell,
    chat,
    environment,
    killed_at_the_end,
    on_a_terminal,
    read_output,
    run_cli,
    start,
    statuses,
    write_chats,
    write_rows,
)

from batch.emulator import Config, Latency, background

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnorw"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
PROGRESS = re.compile(r"^\d\d:\d\d:\d\d  [\d,]+/30 rows .*rows/s.*tokens", re.MULTILINE)


def _run(rows: Path, *flags: object) -> list[object]:
    return ["run", rows, "-o", rows.parent / "out.parquet", "--emulate", *flags]


def test_run_prints_nothing_on_stdout(shell: Shell, tmp_path: Path) -> None:
    """A run leaves stdout alone; its summary of rows, tokens, requests and output is on stderr."""
    ran = shell(*_run(write_chats(tmp_path / "in.jsonl", 5)))
    assert (ran.code, ran.stdout) == (0, "")
    for word in ("5 ok", "tokens", "requests", str(tmp_path / "out.parquet"), "EMULATED"):
        assert word in ran.stderr


def test_quiet_is_silent_on_success(shell: Shell, tmp_path: Path) -> None:
    """With -q a run that went well says nothing at all, the first time and again."""
    words = _run(write_chats(tmp_path / "in.jsonl", 5), "-q")
    for _ in range(2):
        ran = shell(*words)
        assert (ran.code, ran.said) == (0, "")


def test_quiet_says_what_went_wrong(shell: Shell, tmp_path: Path) -> None:
    """With -q a run whose rows failed says how many have no answer, and one that cannot begin says why."""
    ran = shell(*_run(write_rows(tmp_path / "in.jsonl", [chat("one"), {}]), "-q"))
    assert (ran.code, ran.stdout) == (3, "")
    assert "1 invalid" in ran.stderr
    ran = shell(*_run(tmp_path / "not-there.jsonl", "-q"))
    assert (ran.code, ran.stdout) == (6, "")
    assert "not-there.jsonl" in ran.stderr


def test_json_lines_tell_the_whole_run(shell: Shell, tmp_path: Path) -> None:
    """With --json each line of stdout is an event, the last is run_finished, and stderr stays empty."""
    rows = write_rows(tmp_path / "in.jsonl", [chat("one"), {}, chat("two")])
    ran = shell(*_run(rows, "--json"))
    events = ran.events()
    assert (ran.code, ran.stderr) == (3, "")
    assert [event["event"] for event in (events[0], events[-1])] == ["run_started", "run_finished"]
    assert sum(event["event"] == "row_finished" for event in events) == 2
    assert events[-1]["rows"] == {"ok": 2, "failed": 0, "invalid": 1, "pending": 0}
    assert events[-1]["exit_code"] == 3
    paid = sum(int(str(row["total_tokens"] or 0)) for row in read_output(tmp_path / "out.parquet"))
    assert events[-1]["total_tokens"] == paid > 0
    assert all(isinstance(event["time"], float) for event in events)


def test_json_lines_end_with_run_finished_when_nothing_is_done(shell: Shell, tmp_path: Path) -> None:
    """A run with nothing to do tells the same first and last events."""
    words = _run(write_chats(tmp_path / "in.jsonl", 2), "--json")
    shell(*words)
    names = [event["event"] for event in shell(*words).events()]
    assert (names[0], names[-1]) == ("run_started", "run_finished")
    assert "row_finished" not in names


def test_progress_comes_at_the_interval(shell: Shell, tmp_path: Path) -> None:
    """Off a terminal a line of progress comes at each --stats interval, and `off` gives none."""
    config = Config(latency=Latency.parse("fixed:0.15"))
    with background(config) as service:
        words = ["run", write_chats(tmp_path / "in.jsonl", 30), "--base-url", service.base_url]
        words += ["--concurrency", "5"]
        told = shell(*words, "-o", tmp_path / "a.parquet", "--stats", "200ms").stderr
        none = shell(*words, "-o", tmp_path / "b.parquet", "--stats", "off").stderr
    lines = PROGRESS.findall(told)
    assert 2 <= len(lines) <= 9
    assert not PROGRESS.findall(none)
    done = [int(line) for line in re.findall(r"(\d+)/30 rows", told)]
    assert done == sorted(done)


def test_json_progress_comes_at_the_interval(shell: Shell, tmp_path: Path) -> None:
    """With --json progress is an event at the same interval."""
    with background(Config(latency=Latency.parse("fixed:0.15"))) as service:
        words = ["run", write_chats(tmp_path / "in.jsonl", 20), "--base-url", service.base_url, "--json"]
        events = shell(*words, "-o", tmp_path / "a.parquet", "--stats", "100ms").events()
    done = [int(str(event["finished"])) for event in events if event["event"] == "progress"]
    assert len(done) >= 2
    assert done == sorted(done)


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_no_ansi_codes_off_a_terminal(term: str, shell: Shell, tmp_path: Path) -> None:
    """Where the streams are no terminal nothing that is printed steers one, whatever TERM and colours say."""
    shell.setenv(TERM=term, FORCE_COLOR="1", CLICOLOR_FORCE="1")
    rows = write_rows(tmp_path / "in.jsonl", [chat("one"), {}])
    commands: list[list[object]] = [
        _run(rows, "-vv"),
        ["check", rows],
        ["send", SAMPLES / "body.json", "--emulate"],
        ["run", "--help"],
        ["run", "nothing", "-o", tmp_path / "x.parquet", "--emulate"],
        ["run", "--nonsense"],
    ]
    for words in commands:
        assert "\x1b" not in shell(*words).said


@pytest.mark.parametrize("verbose", [(), ("-v",), ("-vv",), ("-q",)], ids=" ".join)
def test_what_a_service_says_cannot_steer_a_terminal(
    verbose: tuple[str, ...], shell: Shell, tmp_path: Path
) -> None:
    """Control characters in a row's id or in the service's message never reach stderr raw."""
    row = {**chat("hello", id="id" + HOSTILE), "modelUri": f"gpt://b1g{HOSTILE}/yandexgpt-lite"}
    rows = write_rows(tmp_path / "in.jsonl", [chat("good", id="good"), row])
    with background(Config(folder=FOLDER)) as service:
        words = ["run", rows, "-o", tmp_path / "out.jsonl", "--base-url", service.base_url]
        ran = shell(*words, "--id-column", "id", *verbose)
    assert (ran.code, statuses(tmp_path / "out.jsonl")) == (3, {"ok": 1, "failed": 1})
    assert not CONTROL.search(ran.stderr)
    assert ("INVALID_ARGUMENT" in ran.stderr) == bool({"-v", "-vv"} & set(verbose))


def test_what_a_file_says_cannot_steer_a_terminal(shell: Shell, tmp_path: Path) -> None:
    """Control characters in a row's fields or in a file's name never reach the terminal."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [{"messages": [{"role": HOSTILE, "text": "x"}]}, {HOSTILE: 1}, {"text" + HOSTILE: "x"}]
    write_rows(folder / "a\x1b[2Jb.jsonl", rows)
    (folder / "\x1b[31mc.jsonl.gz").write_bytes(b"not gzip")
    commands: list[list[object]] = [["check", folder], _run(folder), _run(folder, "-n")]
    for words in commands:
        ran = shell(*words)
        assert ran.code == 6
        assert not CONTROL.search(ran.said)
    (folder / "\x1b[31mc.jsonl.gz").unlink()
    for words in ([*commands[0]], [*commands[1]]):
        ran = shell(*words)
        assert ran.code == 3
        assert not CONTROL.search(ran.said)


def test_verbose_names_every_failure(shell: Shell, tmp_path: Path) -> None:
    """With -v each lost attempt and each failed row is a line with its code; without it there is none."""
    rows = write_chats(tmp_path / "in.jsonl", 4)
    for flags, lines in (((), 0), (("-v",), 2)):
        with background(Config(script=("ok", "500", "400"))) as service:
            words = ["run", rows, "--base-url", service.base_url, "-o", tmp_path / f"{lines}.parquet"]
            told = shell(*words, "--retries", "0", *flags).stderr
        failed = [line for line in told.splitlines() if ": failed: " in line]
        assert len(failed) == lines
        assert ("INTERNAL" in told) == bool(flags)


@pytest.mark.parametrize("given", ["-vv", "--verbose", "environment"])
def test_tracebacks_are_asked_for_in_every_spelling(given: str, shell: Shell, tmp_path: Path) -> None:
    """Errors are one sentence, and -vv shows the traceback, however the two are spelled."""
    words = ["check", tmp_path / "nothing.jsonl"]
    assert "Traceback" not in shell(*words).stderr
    if given == "environment":
        shell.setenv(CHATBATCH_VERBOSE="2")
        ran = shell(*words)
    else:
        ran = shell(*words, *(["--verbose"] * 2 if given == "--verbose" else ["-vv"]))
    assert ran.code == 6
    assert "Traceback" in ran.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_end_the_run(stream: str, tmp_path: Path) -> None:
    """A run whose log reader dies (`… | head`) answers every row and writes the output all the same."""
    rows = write_chats(tmp_path / "in.jsonl", 40)
    flags = ["--json"] if stream == "stdout" else ["--stats", "10ms", "-vv"]
    with background(Config(latency=Latency.parse("fixed:0.02"))) as service:
        output = tmp_path / "out.parquet"
        words = ["run", rows, "-o", output, "--base-url", service.base_url, *flags]
        with killed_at_the_end(start(*words)) as process:
            reader = process.stdout if stream == "stdout" else process.stderr
            assert reader is not None
            reader.close()
            process.wait(20)
            assert service.ledger.totals().requests == 40
            assert statuses(output) == {"ok": 40}
            assert process.returncode == 0


def test_a_closed_stderr_does_not_end_the_run(tmp_path: Path) -> None:
    """A run that was started without a stderr (`2>&-`) answers every row."""
    rows, output = write_chats(tmp_path / "in.jsonl", 3), tmp_path / "out.parquet"
    command = [sys.executable, "-m", "batch", "run", str(rows), "-o", str(output), "--emulate"]
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command], env=environment(), timeout=20, check=False
    )
    assert ran.returncode == 0
    assert statuses(output) == {"ok": 3}


def test_a_reader_of_a_report_may_go_away(tmp_path: Path) -> None:
    """`chatbatch check … | head -1` ends without a complaint."""
    rows = write_rows(tmp_path / "in.jsonl", [{} for _ in range(20_000)])
    with killed_at_the_end(start("check", rows)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(str(rows).encode())
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.wait(20)


def test_the_live_line_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    """On a terminal the progress is drawn in place, the cursor comes back, and the summary stays."""
    rows = write_chats(tmp_path / "in.jsonl", 30)
    with background(Config(latency=Latency.parse("fixed:0.15"))) as service:
        code, stdout, seen = on_a_terminal(
            "run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url
        )
    assert (code, stdout) == (0, b"")
    assert b"\x1b[" in seen
    assert b"/30 rows" in seen
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") >= 0
    assert b"30 ok" in seen


def test_ascii_streams_are_no_reason_to_fail(tmp_path: Path) -> None:
    """Where the streams take ASCII only, Russian reasons cost neither the run nor the check."""
    rows = write_rows(tmp_path / "in.jsonl", [chat("раз"), {"сообщения": "нет"}, {"текст": "два"}])
    account = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    assert run_cli("check", rows, env=account).code == 3
    ran = run_cli("run", rows, "-o", tmp_path / "out.jsonl", "--emulate", "--json", env=account)
    assert ran.code == 3
    assert all(json.loads(line)["event"] for line in ran.stdout.splitlines())
