"""`chatbatch export`: the same output from the journal alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from e2e.harness import SAMPLE_RUNS, Sample, Shell, answer_of, read_output, write_chats


@pytest.mark.parametrize("sample", SAMPLE_RUNS, ids=str)
def test_the_output_is_written_again(sample: Sample, shell: Shell, tmp_path: Path) -> None:
    """Whatever the run's settings, its export is the same rows and the doctor finds nothing."""
    output = tmp_path / "out.parquet"
    shell("run", *sample.files, *sample.flags, "-o", output, "--emulate", "--temperature", "0")
    first = read_output(output)
    output.unlink()
    shell.setenv(API_KEY="", FOLDER_ID="")
    assert shell("export", output).code == 0
    assert read_output(output) == first
    assert shell("doctor", output).code == 0


def test_a_receipt_that_nobody_judged_is_exported(shell: Shell, tmp_path: Path) -> None:
    """An answer whose receipt was committed and not judged is in the export, and the journal stays as it is."""
    output, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.journal"
    shell("run", write_chats(tmp_path / "in.jsonl", 3), "-o", output, "--emulate")
    first = read_output(output)
    with sqlite3.connect(journal) as connection:
        connection.execute("UPDATE attempts SET outcome = NULL")
        connection.execute("DELETE FROM results")
    connection.close()
    before = journal.read_bytes()
    assert shell("export", output).code == 0
    assert (answer_of(read_output(output)), journal.read_bytes()) == (answer_of(first), before)


def test_an_input_that_is_gone(shell: Shell, tmp_path: Path) -> None:
    """Without the input there is no export: exit 6 with its path, and the output stands."""
    rows, output = write_chats(tmp_path / "in.jsonl", 3), tmp_path / "out.parquet"
    shell("run", rows, "-o", output, "--emulate")
    before = output.read_bytes()
    rows.unlink()
    ran = shell("export", output)
    assert (ran.code, output.read_bytes()) == (6, before)
    assert str(rows) in ran.stderr
