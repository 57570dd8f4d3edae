"""The output as a file: whole or not there, whatever happens while it is written."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from reading import joined, json_lines, line

from batch import writer
from batch.errors import ChatbatchError, UsageError
from batch.records import Answer, KeyedChunk
from batch.writer import Layout, write


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "answers.parquet"


@pytest.mark.parametrize("name", ["answers.parquet", "answers.jsonl", "[a].jsonl"])
@pytest.mark.parametrize("full", [True, False], ids=["disk full", "fault of ours"])
def test_the_old_output_stands(tmp_path: Path, output: Path, name: str, full: bool) -> None:
    """Where writing breaks off, the old file stays as it was and nothing is left beside it."""
    output = output.with_name(name)
    reader = json_lines(tmp_path, line() * 2000)
    write(output, Layout.of(None, ()), joined(reader, Answer()), {})
    before = output.read_bytes()

    def breaking() -> Iterator[tuple[KeyedChunk, Sequence[Answer]]]:
        for number, rows in enumerate(joined(reader, Answer())):
            if number == 2:
                raise OSError(errno.ENOSPC, "No space left on device") if full else ZeroDivisionError
            yield rows

    with pytest.raises(ChatbatchError if full else ZeroDivisionError) as caught:
        write(output, Layout.of(None, ()), breaking(), {})
    if isinstance(caught.value, ChatbatchError):
        assert "cannot be written: No space left on device." in str(caught.value)
        assert "journal" in caught.value.hint
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["answers.parquet", "[a].jsonl"])
def test_what_a_killed_run_left_is_removed(tmp_path: Path, output: Path, name: str) -> None:
    """Unfinished files of a run that was killed go when the output is written again; others stay."""
    output = output.with_name(name)
    left = output.with_name(f".{name}.12345.unfinished")
    other = output.with_name(".other.parquet.12345.unfinished")
    left.touch()
    other.touch()
    write(output, Layout.of(None, ()), joined(json_lines(tmp_path, line()), Answer()), {})
    assert sorted(path.name for path in output.parent.iterdir()) == sorted([other.name, name])


@pytest.mark.parametrize("name", ["out", "out.csv", "out.json", "out.parquet.gz"])
def test_output_names(name: str) -> None:
    """An output whose ending names no format is a wrong flag."""
    with pytest.raises(UsageError, match="has to end in"):
        writer.check_name(Path(name))
