"""An output, a journal or a folder that cannot be written: exit 2 before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.harness import Shell, requests, write_chats

from batch.emulator import Running, background


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """One service for tests that send nothing."""
    with background() as service:
        yield service


def _below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("a file, not a folder")
    return folder / "file" / "out.parquet"


def _in_proc(_folder: Path) -> Path:
    return Path("/proc/out.parquet")


def _a_folder(folder: Path) -> Path:
    (folder / "out.parquet").mkdir()
    return folder / "out.parquet"


def _no_ending(folder: Path) -> Path:
    return folder / "answers"


def _other_ending(folder: Path) -> Path:
    return folder / "answers.csv"


def _the_input(folder: Path) -> Path:
    return folder / "in.jsonl"


def _not_utf8(folder: Path) -> Path:
    return folder / os.fsdecode(b"\xff.parquet")


OUTPUTS = [_below_a_file, _in_proc, _a_folder, _no_ending, _other_ending, _the_input, _not_utf8]


@pytest.mark.parametrize("make", OUTPUTS, ids=lambda make: make.__name__.strip("_"))
def test_an_output_that_cannot_be_ends_the_run_before_it_begins(
    make: Callable[[Path], Path], shared: Running, shell: Shell, tmp_path: Path
) -> None:
    """An output that cannot be written, or would replace the input, gives exit 2 and nothing is sent."""
    rows = write_chats(tmp_path / "in.jsonl", 3)
    before, sent = rows.read_bytes(), requests(shared)
    output = make(tmp_path)
    ran = shell("run", rows, "-o", output, "--base-url", shared.base_url)
    assert (ran.code, ran.stdout, requests(shared)) == (2, "", sent)
    assert str(output.parent) in ran.stderr
    assert "unexpected" not in ran.stderr
    assert rows.read_bytes() == before


def test_a_journal_that_cannot_be_written_ends_the_run_before_it_begins(
    shared: Running, shell: Shell, tmp_path: Path
) -> None:
    """A journal in a place where none can be gives one sentence with its path, and nothing is sent."""
    rows, sent = write_chats(tmp_path / "in.jsonl", 3), requests(shared)
    journal = _below_a_file(tmp_path)
    words = ["run", rows, "-o", tmp_path / "out.parquet", "--journal", journal]
    ran = shell(*words, "--base-url", shared.base_url)
    assert (ran.code, requests(shared)) == (2, sent)
    assert str(journal) in ran.stderr


def test_no_output_is_a_wrong_command(shared: Running, shell: Shell, tmp_path: Path) -> None:
    """Without -o there is nowhere for the answers: exit 2, and the flag is named."""
    sent = requests(shared)
    ran = shell("run", write_chats(tmp_path / "in.jsonl", 1), "--base-url", shared.base_url)
    assert (ran.code, requests(shared)) == (2, sent)
    assert "-o" in ran.stderr
