"""JSON Lines as lines: numbers, line ends, compression, long lines, and passes that agree."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import HI, SAMPLES, json_lines, line, row_of, rows_of, texts

from batch.errors import InputError
from batch.jsontext import MAX_DEPTH
from batch.readers import ColumnMapping, open_reader
from batch.readers.base import CHUNK_ROWS
from batch.readers.jsonl import lines_of, packs_of
from batch.storage import find

BOM = b"\xef\xbb\xbf"
Compress = Callable[[bytes], bytes]


def _zstd(data: bytes) -> bytes:
    compressed = pa.Codec("zstd").compress(data, asbytes=True)
    assert isinstance(compressed, bytes)
    return compressed


COMPRESSIONS: dict[str, Compress] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": _zstd}
PLAIN = b"".join(line(id=f"row-{n}", text="Съешь ещё этих мягких булок " * (n % 7)) for n in range(700))


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        pytest.param(b"", [], id="empty file"),
        pytest.param(b"\n\n \t\r\n", [], id="blank lines only"),
        pytest.param(BOM, [], id="byte order mark only"),
        pytest.param(line() + line(), [1, 2], id="final newline"),
        pytest.param(line() + line().rstrip(b"\n"), [1, 2], id="no final newline"),
        pytest.param(BOM + line() + line(), [1, 2], id="byte order mark"),
        pytest.param(BOM + line().rstrip(b"\n"), [1], id="byte order mark, no final newline"),
        pytest.param(line().replace(b"\n", b"\r\n") * 2, [1, 2], id="CRLF"),
        pytest.param(b"\n" + line() + b"   \n\r\n" + line() + b"\n", [2, 5], id="blank lines between"),
    ],
)
def test_line_ends(tmp_path: Path, data: bytes, lines: list[int]) -> None:
    """Line numbers are those of an editor, whatever ends the lines, and blank lines are no rows."""
    reader = json_lines(tmp_path, data)
    rows = rows_of(reader)
    assert [row.line for row in rows] == lines
    assert [row.position for row in rows] == list(range(len(lines)))
    assert all(row.messages == HI for row in rows)
    assert reader.count() == len(lines)


@settings(deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r", b" ", BOM]), max_size=30).map(b"".join),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=30),
)
def test_blocks_do_not_matter(data: bytes, cuts: list[int]) -> None:
    """Lines are the same however the file's bytes fall into blocks."""
    blocks, rest = [], data
    for cut in cuts:
        blocks.append(rest[:cut])
        rest = rest[cut:]
    blocks = [block for block in (*blocks, rest) if block]
    expected = [
        (number, text)
        for number, text in enumerate(data.removeprefix(BOM).split(b"\n"), 1)
        if text and not text.isspace()
    ]
    assert list(lines_of(blocks)) == expected
    packed = b"\n".join(pack for pack in packs_of(blocks) if isinstance(pack, bytes))
    assert packed.split(b"\n") == data.removeprefix(BOM).removesuffix(b"\n").split(b"\n")


def test_rows_have_places_in_all_files(tmp_path: Path) -> None:
    """Positions count over all files, lines begin anew in each, and each may have its byte order mark."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(BOM + line() + b"nonsense\n")
    rows = rows_of(open_reader(find([str(tmp_path)]), ColumnMapping()))
    assert [(row.position, Path(row.file).name, row.line) for row in rows] == [
        (0, "a.jsonl", 1),
        (1, "a.jsonl", 2),
        (2, "b.jsonl", 1),
        (3, "b.jsonl", 2),
    ]
    assert rows[3].where == f"{tmp_path / 'b.jsonl'}:2"
    assert [row.problem is None for row in rows] == [True, False, True, False]


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_compressed_files_read_like_plain_ones(tmp_path: Path, ending: str) -> None:
    """A compressed file has the rows of the plain one."""
    plain = json_lines(tmp_path, PLAIN, "rows.jsonl")
    packed = json_lines(tmp_path, COMPRESSIONS[ending](PLAIN), "rows.jsonl" + ending)
    assert [(row.line, row.id, row.messages, row.extra) for row in rows_of(packed)] == [
        (row.line, row.id, row.messages, row.extra) for row in rows_of(plain)
    ]
    assert packed.count() == 700


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_joined_archives_are_read_to_their_end(tmp_path: Path, ending: str) -> None:
    """Archives that were put one behind the other (gzip members, zstd frames) are read whole."""
    parts = [PLAIN[:1000], PLAIN[1000:50_000], PLAIN[50_000:]]
    if ending != ".bz2":  # Arrow stumbles over an empty one between others, and says so
        parts.insert(2, b"")
    joined = b"".join(COMPRESSIONS[ending](part) for part in parts)
    assert len(rows_of(json_lines(tmp_path, joined, "rows.jsonl" + ending))) == 700


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("joined", [False, True], ids=["single", "joined"])
def test_cut_off_archives_are_found_by_counting(tmp_path: Path, ending: str, joined: bool) -> None:
    """An archive that is cut off anywhere is an InputError before anything is sent."""
    packed = COMPRESSIONS[ending](PLAIN)
    whole = packed if joined else b""
    for cut in {1, 5, 11, len(packed) // 2, len(packed) - 5, len(packed) - 1}:
        reader = json_lines(tmp_path, whole + packed[:cut], "rows.jsonl" + ending)
        with pytest.raises(InputError, match=r"rows\.jsonl.* cannot be read: "):
            reader.count()


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("packed", [False, True], ids=["no bytes", "nothing packed"])
def test_an_empty_archive(tmp_path: Path, ending: str, packed: bool) -> None:
    """An archive of nothing, and one of no bytes at all, is an input of no rows."""
    reader = json_lines(tmp_path, COMPRESSIONS[ending](b"") if packed else b"", "rows.jsonl" + ending)
    assert (reader.count(), rows_of(reader)) == (0, [])


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_rubbish_in_an_archive_is_an_input_error(tmp_path: Path, ending: str) -> None:
    """Bytes that are no archive, or follow one, are an InputError and not rows."""
    for data in (b"not compressed at all\n" * 10, COMPRESSIONS[ending](PLAIN) + b"rubbish"):
        with pytest.raises(InputError, match="cannot be read"):
            json_lines(tmp_path, data, "rows.jsonl" + ending).count()


@pytest.mark.parametrize("megabytes", [10, 40])
def test_a_long_line_is_not_held(tmp_path: Path, megabytes: int) -> None:
    """A line of many megabytes costs one row, bounded memory, and nothing of its neighbours."""
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(line(id="before") + b'{"messages": [{"role": "user", "text": "')
        for _ in range(megabytes):
            file.write(b"x" * 1_000_000)
        file.write(b'"}]}\n' + line(id="after"))
    reader = open_reader(find([str(path)]), ColumnMapping())
    tracemalloc.start()
    try:
        rows = rows_of(reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 22_000_000  # whatever the line's length
    before, long, after = rows
    assert (before.id, before.messages, after.id, after.messages) == ("before", HI, "after", HI)
    assert (before.line, long.line, after.line) == (1, 2, 3)
    assert long.problem is not None
    assert "longer than 4 MB" in long.problem.reason
    assert long.problem.fix
    assert reader.count() == 3


def test_a_long_last_line_is_a_row(tmp_path: Path) -> None:
    """A line that is too long is a row even where the file ends without a newline."""
    rows = rows_of(json_lines(tmp_path, line() + b"x" * 6_000_000))
    assert [row.problem is None for row in rows] == [True, False]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b'"deep": %s', id="in a field of the user's"),
        pytest.param(b'"jsonSchema": {"schema": {"a": %s}}', id="in the schema"),
        pytest.param(
            b'"messages": [{"role": "assistant", "toolCallList": {"toolCalls": '
            b'[{"functionCall": {"name": "f", "arguments": {"a": %s}}}]}}]',
            id="in a tool call",
        ),
    ],
)
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 5000])
def test_deep_rows_cost_themselves_only(tmp_path: Path, fields: bytes, depth: int) -> None:
    """A row nested deeper than JSON's writer goes is invalid, and does not break the run."""
    deep = b"[" * depth + b"]" * depth
    row, good = rows_of(json_lines(tmp_path, b'{"id": 1, %s}\n' % (fields % deep) + line()))
    assert row.problem is not None
    assert "not JSON" in row.problem.reason
    assert good.problem is None


def test_many_brackets_are_not_deep(tmp_path: Path) -> None:
    """A row may have any number of brackets side by side, and nest as deep as is allowed."""
    inner: object = []
    for _ in range(MAX_DEPTH - 2):
        inner = [inner]
    row = row_of(tmp_path, line(wide=[[]] * 1000, deep=inner, text="[" * 1000))
    assert row.problem is None
    assert row.extra is not None


def test_chunks_and_passes(tmp_path: Path) -> None:
    """Rows come in chunks of at most `CHUNK_ROWS`, and every pass gives the same ones."""
    reader = json_lines(tmp_path, PLAIN)
    assert [len(chunk.rows) for chunk in reader.chunks()] == [CHUNK_ROWS, 700 - CHUNK_ROWS]
    assert rows_of(reader) == rows_of(reader)
    assert reader.columns is None


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("support.jsonl", 120),
        ("dataset.jsonl", 60),
        ("dataset.jsonl.bz2", 30),
        ("chats.jsonl.gz", 60),
        ("chats.ndjson.zst", 30),
    ],
)
def test_samples_are_good(name: str, rows: int) -> None:
    """Every row of the sample datasets can be sent."""
    read = rows_of(open_reader(find([str(SAMPLES / name)]), ColumnMapping()))
    assert [row.problem for row in read] == [None] * rows
    assert None not in texts(read)
