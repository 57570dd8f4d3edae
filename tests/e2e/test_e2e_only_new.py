"""One output per run from one journal: each row stands in exactly one output, whatever happened between them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from e2e.harness import Ran, Shell, billed, chat, read_output, write_rows

from batch.emulator import Config, Fault, Running, background


@pytest.fixture(autouse=True)
def _account(shell: Shell) -> None:
    shell.setenv(API_KEY="AQVN-test", FOLDER_ID="b1gtests000000000000")


def _run(shell: Shell, service: Running, folder: Path, output: str, *more: object) -> Ran:
    words = ["run", folder / "in", "-o", folder / output, "--journal", folder / "job.journal", "--only-new"]
    return shell(*words, "--base-url", service.base_url, *more)


def _ids(folder: Path, output: str) -> list[object]:
    return [row["id"] for row in read_output(folder / output)]


def _add(folder: Path, name: str, ids: range, *broken: str) -> None:
    (folder / "in").mkdir(exist_ok=True)
    write_rows(folder / "in" / name, [*(chat(f"Вопрос {n}?", id=str(n)) for n in ids), *broken])


def test_a_folder_that_grows(shell: Shell, tmp_path: Path) -> None:
    """Each output holds what was new; the journal knows what that is, and nothing is bought twice."""
    with background(Config()) as service:
        _add(tmp_path, "1.jsonl", range(5))
        assert _run(shell, service, tmp_path, "mon.parquet").code == 0
        _add(tmp_path, "2.jsonl", range(5, 8))
        assert _run(shell, service, tmp_path, "tue.parquet").code == 0
        assert billed(service) == 8
    assert _ids(tmp_path, "mon.parquet") == ["0", "1", "2", "3", "4"]
    assert _ids(tmp_path, "tue.parquet") == ["5", "6", "7"]


def test_the_same_output_again_keeps_what_it_held(shell: Shell, tmp_path: Path) -> None:
    """A second run into the same output adds to it, and loses none of its rows."""
    with background(Config()) as service:
        _add(tmp_path, "1.jsonl", range(3))
        _run(shell, service, tmp_path, "mon.parquet")
        _add(tmp_path, "2.jsonl", range(3, 5))
        _run(shell, service, tmp_path, "mon.parquet")
    assert _ids(tmp_path, "mon.parquet") == ["0", "1", "2", "3", "4"]


def test_an_invalid_row_is_told_once(shell: Shell, tmp_path: Path) -> None:
    """A broken line makes the run that meets it fail, and is no reason for all later ones to fail."""
    with background(Config()) as service:
        _add(tmp_path, "1.jsonl", range(2), "{broken")
        assert _run(shell, service, tmp_path, "mon.parquet").code == 3
        _add(tmp_path, "2.jsonl", range(2, 4))
        assert _run(shell, service, tmp_path, "tue.parquet").code == 0
    assert [row["status"] for row in read_output(tmp_path / "mon.parquet")] == ["ok", "ok", "invalid"]
    assert [row["status"] for row in read_output(tmp_path / "tue.parquet")] == ["ok", "ok"]


def test_export_and_doctor_know_the_portion(shell: Shell, tmp_path: Path) -> None:
    """An output of a portion is written again as it was, and the doctor finds nothing wrong with it."""
    with background(Config()) as service:
        _add(tmp_path, "1.jsonl", range(4), "{broken")
        _run(shell, service, tmp_path, "mon.parquet")
        _add(tmp_path, "2.jsonl", range(4, 9))
        _run(shell, service, tmp_path, "tue.parquet")
    before = read_output(tmp_path / "tue.parquet")
    journal = ("--journal", tmp_path / "job.journal")
    ran = shell("doctor", tmp_path / "tue.parquet", *journal)
    assert (ran.code, "Nothing is wrong" in ran.stdout) == (0, True), ran.said
    (tmp_path / "tue.parquet").unlink()
    assert shell("export", tmp_path / "tue.parquet", *journal).code == 0
    assert read_output(tmp_path / "tue.parquet") == before


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_row_stands_in_one_output(seed: int, shell: Shell, tmp_path: Path) -> None:
    """Over many nights with failures, caps and outputs of the same name every row's answer stands once."""
    draw, rows = random.Random(seed), 0
    outputs = set()
    with background(Config(faults=(Fault("400", 0.1),) if seed == 3 else ())) as service:
        for night in range(8):
            more = draw.randint(0, 12)
            _add(tmp_path, f"{night}.jsonl", range(rows, rows + more))
            rows += more
            output = f"{draw.choice('abc')}.jsonl"
            outputs.add(output)
            _run(shell, service, tmp_path, output, "--max-rows", str(draw.randint(1, 15)))
        outputs.add("last.jsonl")
        for _ in range(4):
            _run(shell, service, tmp_path, "last.jsonl")
    held = Counter(row["id"] for output in outputs if (tmp_path / output).exists()
                   for row in read_output(tmp_path / output) if row["status"] == "ok")  # fmt: skip
    assert held == {str(number): 1 for number in range(rows)}
