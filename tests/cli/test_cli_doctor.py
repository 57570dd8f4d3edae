"""`chatbatch doctor`: every discrepancy has a line, and nothing else has."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
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


def test_a_forged_cost(shell: Shell, output: Path) -> None:
    """A changed cost has a line with what it is and should be, and so has the sum of money."""
    rows = read_output(output)
    assert rows[1]["cost"] is not None
    rows[1]["cost"] = "1234.5"
    rows[2]["operation_id"] = "d7qforged"
    write_rows(output, [json.dumps(row) for row in rows])
    ran = shell("doctor", output, "-q")
    assert (ran.code, len(ran.stdout.splitlines())) == (1, 3)
    assert "cost is 1234.5, not 0.0" in ran.stdout
    assert "cost: the output's sum is 1234.5" in ran.stdout
    assert "operation_id is d7qforged, not empty" in ran.stdout


def test_forged_money_in_the_metadata(shell: Shell, tmp_path: Path) -> None:
    """A Parquet output whose metadata state another sum of money than its rows is found out."""
    path = tmp_path / "out.parquet"
    assert shell("run", write_chats(tmp_path / "in.jsonl", 3), "-o", path, "--emulate").code == 0
    assert shell("doctor", path).code == 0
    table = pq.read_table(path)
    facts = json.loads(pq.read_metadata(path).metadata[b"chatbatch"])
    facts["totals"]["cost"] = {"RUB": "99.000001"}
    pq.write_table(table.replace_schema_metadata({"chatbatch": json.dumps(facts)}), path)
    ran = shell("doctor", path, "-q")
    assert (ran.code, len(ran.stdout.splitlines())) == (1, 1)
    assert "cost: the output's metadata say 99.000001 RUB" in ran.stdout


def test_operations_that_contradict(shell: Shell, output: Path) -> None:
    """Two open operations of one row, and an operation of two requests have a line each; open ones are a note."""
    journal = output.with_name("out.jsonl.journal")
    with sqlite3.connect(journal) as connection:
        key = connection.execute("SELECT row_key FROM attempts WHERE attempt = 1").fetchone()[0]
        for attempt in (91, 92):
            values = (attempt, key, attempt, 1.0, 1, "m", "async", "d7qsame", 1.0)
            connection.execute(
                "INSERT INTO attempts (attempt, row_key, number, sent_at, run, model, mode, operation_id, "
                "submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
    connection.close()
    ran = shell("doctor", output)
    assert ran.code == 1
    assert f"row {key} has two open operations" in ran.stdout
    assert "operation d7qsame is that of two requests" in ran.stdout
    assert "note: journal: 2 operations are open" in ran.stdout
