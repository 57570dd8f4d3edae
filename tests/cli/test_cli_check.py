"""`chatbatch check`: every bad row by file and line, a summary by dialect, and nothing sent."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import SAMPLE_RUNS, SAMPLES, Sample, Shell, chat, write_rows

BROKEN = SAMPLES / "broken.jsonl"
DIALECTS = {
    "support.jsonl": "service request",
    "dataset.jsonl": "service dataset",
    "dataset.jsonl.bz2": "service dataset",
    "dataset.jsonl+dataset.jsonl.bz2": "service dataset",
    "chats.jsonl.gz": "chat messages",
    "chats.ndjson.zst": "chat messages",
    "articles.jsonl": "text column",
    "reviews.parquet": "text column",
    "conversations.parquet": "service request",
    "conversations-json.parquet": "chat messages",
}


@pytest.mark.parametrize("sample", SAMPLE_RUNS[:-1], ids=str)
def test_a_good_sample_is_told_by_dialect(sample: Sample, shell: Shell) -> None:
    """Every whole sample can be sent, and the summary names its dialect and the number of its rows."""
    shell.setenv(API_KEY="", FOLDER_ID="")
    ran = shell("check", *sample.files, *sample.flags)
    assert (ran.code, ran.stderr) == (0, "")
    first, *dialects = ran.stdout.splitlines()
    assert first == f"{sample.rows} rows can be sent, 0 cannot."
    assert [line.split(maxsplit=1) for line in dialects] == [[str(sample.rows), DIALECTS[str(sample)]]]


def test_every_broken_row_is_named_with_what_is_wrong_and_how_to_mend_it(shell: Shell) -> None:
    """Each bad row of the broken sample is one line `file:line: reason; mend`, in order; no good one is."""
    ran = shell("check", BROKEN)
    assert (ran.code, ran.stderr) == (3, "")
    lines = [line for line in ran.stdout.splitlines() if line.startswith(str(BROKEN))]
    raw = BROKEN.read_bytes().split(b"\n")
    expected = [n for n, line in enumerate(raw, 1) if line.strip() and b'"good-' not in line]
    found = [re.fullmatch(rf"{re.escape(str(BROKEN))}:(\d+): (.+?); (.+)", line) for line in lines]
    assert [int(match[1]) for match in found if match] == expected
    assert "6 rows can be sent, 27 cannot." in ran.stdout
    reasons = [match[2] for match in found if match]
    assert len(set(reasons)) >= 20


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ('{"messages": [', "JSON"),
        ("[1]", "list"),
        ("42", "number"),
        ("{}", "no messages"),
        ('{"messages": []}', "messages"),
        ('{"messages": [{"role": "king", "text": "x"}]}', "king"),
        ('{"messages": [{"role": "user", "text": ""}]}', "empty"),
        ('{"messages": [{"role": "user", "text": 5}]}', "text"),
        (
            '{"messages": [{"role": "user", "text": "x"}], "completionOptions": {"temprature": 1}}',
            "temperature",
        ),
        (
            '{"messages": [{"role": "user", "text": "x"}], "completionOptions": {"maxTokens": "0"}}',
            "maxTokens",
        ),
        ('{"messages": [{"role": "user", "text": "x"}], "modelUri": "lite"}', "modelUri"),
        ('{"txt": "a text"}', '--prompt-column "txt"'),
    ],
)
def test_a_reason_names_what_is_wrong(row: str, names: str, shell: Shell, tmp_path: Path) -> None:
    """The line of a bad row names the field or the value that is wrong, or the flag that would help."""
    file = write_rows(tmp_path / "in.jsonl", [chat("good"), row])
    ran = shell("check", file)
    line = ran.stdout.splitlines()[0]
    assert ran.code == 3
    assert line.startswith(f"{file}:2: ")
    assert names in line


def test_lines_are_counted_as_an_editor_does(shell: Shell, tmp_path: Path) -> None:
    """Blank lines, a byte order mark and Windows line ends do not shift the number of a bad line."""
    file = tmp_path / "in.jsonl"
    good = json.dumps(chat("x")).encode()
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n" + good + b"\r\n\n{}\r\n" + good)
    ran = shell("check", file)
    assert ran.stdout.splitlines()[0].startswith(f"{file}:5: ")
    assert "3 rows can be sent, 1 cannot." in ran.stdout


def test_several_files_each_count_their_own_lines(shell: Shell, tmp_path: Path) -> None:
    """Rows of several inputs are named by their own file and line."""
    first = write_rows(tmp_path / "a.jsonl", [chat("x"), {}])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    ran = shell("check", first, tmp_path / "b.jsonl.gz")
    where = [line.partition(": ")[0] for line in ran.stdout.splitlines()[:2]]
    assert where == [f"{first}:2", f"{tmp_path / 'b.jsonl.gz'}:1"]


def test_parquet_rows_are_named_by_their_number(shell: Shell, tmp_path: Path) -> None:
    """A bad Parquet row is named by its number, counted from one."""
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c", "  "]}), file)
    ran = shell("check", file, "--prompt-column", "text")
    assert [line.partition(": ")[0] for line in ran.stdout.splitlines()[:2]] == [f"{file}:2", f"{file}:4"]


def test_check_in_json_lines(shell: Shell) -> None:
    """With --json each bad row is one event with file, line, reason and fix, and the summary is the last."""
    ran = shell("check", BROKEN, "--json")
    *rows, summary = ran.events()
    assert (ran.code, ran.stderr, len(rows)) == (3, "", 27)
    for row in rows:
        assert (row["event"], row["file"]) == ("invalid", str(BROKEN))
        assert isinstance(row["line"], int)
        assert row["reason"]
        assert row["fix"]
    assert (summary["event"], summary["valid"], summary["invalid"]) == ("check", 6, 27)
    dialects = summary["dialects"]
    assert isinstance(dialects, dict)
    assert sum(dialects.values()) == 6


def test_check_agrees_with_run(shell: Shell, tmp_path: Path) -> None:
    """What `check` says of a row is what `run` writes into its error_message."""
    said = [line for line in shell("check", BROKEN).stdout.splitlines() if line.startswith(str(BROKEN))]
    assert shell("run", BROKEN, "-o", tmp_path / "out.jsonl", "--emulate").code == 3
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["error_message"] for row in out if row["status"] == "invalid"] == said


def test_check_reads_standard_input(shell: Shell) -> None:
    """`-` is standard input, named as such."""
    ran = shell("check", "-", stdin=json.dumps(chat("x")).encode() + b"\n{}\n")
    assert ran.code == 3
    assert ran.stdout.startswith("<stdin>:2: ")


def test_quiet_check_says_only_what_is_wrong(shell: Shell, tmp_path: Path) -> None:
    """With -q there is no summary: nothing for a good file, the bad rows for a bad one."""
    good = write_rows(tmp_path / "good.jsonl", [chat("x")])
    assert shell("check", good, "-q").said == ""
    assert len(shell("check", BROKEN, "-q").stdout.splitlines()) == 27
