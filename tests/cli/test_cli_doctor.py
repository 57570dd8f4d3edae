"""`chatbatch doctor`: every discrepancy has a line, and nothing else has."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from e2e.harness import Shell, read_output, write_chats, write_rows


@pytest.fixture
def output(shell: Shell, tmp_path: Path) -> Path:
    path = tmp_path / "out.jsonl"
    assert shell("run", write_chats(tmp_path / "in.jsonl", 4), "-o", path, "--emulate").code == 0
    assert shell("doctor", path).code == 0
    return path


def test_an_edited_output(shell: Shell, output: Path) -> None:
    """Each changed row has a line with what it is and should be, and the sum of tokens one."""
    rows = read_output(output)
    rows[1]["completion"] = "\x1b[31mforged"
    rows[2]["total_tokens"] = 1
    write_rows(output, [json.dumps(row) for row in rows])
    ran = shell("doctor", output, "-q")
    assert ran.code == 1
    assert len(ran.stdout.splitlines()) == 3
    assert "\x1b" not in ran.stdout


def test_missing_rows(shell: Shell, output: Path) -> None:
    """An output with fewer rows than the input is found out."""
    write_rows(output, [json.dumps(row) for row in read_output(output)][:3])
    ran = shell("doctor", output)
    assert ran.code == 1
    assert "it has 3 rows, and the input 4" in ran.stdout


def test_a_harmed_tape_and_a_leftover(shell: Shell, output: Path) -> None:
    """A line of the tape whose checksum is wrong and a file left unfinished have a line each."""
    tape = output.with_name("out.jsonl.journal.tape")
    tape.write_bytes(tape.read_bytes().replace(b'"intent",1,', b'"intent",9,', 1))
    output.with_name(".out.jsonl.1.unfinished").touch()
    ran = shell("doctor", output)
    assert ran.code == 1
    assert "is damaged" in ran.stdout
    assert "unfinished" in ran.stdout


def test_an_answer_without_a_receipt(shell: Shell, output: Path) -> None:
    """A result whose receipt is gone is named."""
    with sqlite3.connect(output.with_name("out.jsonl.journal")) as connection:
        connection.execute("DELETE FROM receipts WHERE attempt = 2")
    connection.close()
    ran = shell("doctor", output)
    assert ran.code == 1
    assert "has an answer without a receipt" in ran.stdout


def test_a_removed_row_is_a_note(shell: Shell, output: Path, tmp_path: Path) -> None:
    """Answers of rows that left the input are no fault once the output is written again."""
    write_chats(tmp_path / "in.jsonl", 3)
    assert shell("doctor", output).code == 1
    assert shell("export", output).code == 0
    ran = shell("doctor", output)
    assert ran.code == 0
    assert "note: journal: 1 results belong to rows that are not in the input any more" in ran.stdout
