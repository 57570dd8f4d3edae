"""What the tests of readers and writer share: files made of a few lines or tables, and their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch.readers import ColumnMapping, Reader, Template, open_reader
from batch.records import Answer, KeyedChunk, Message, Row
from batch.storage import find

SAMPLES = Path(__file__).parents[2] / "sample_data"
MESSAGES = [{"role": "user", "text": "Hi"}]
HI = (Message("user", "Hi"),)


def line(**fields: object) -> bytes:
    """Return one JSON Lines row; it has a good `messages` unless another is given."""
    return json.dumps({"messages": MESSAGES, **fields}, ensure_ascii=False).encode() + b"\n"


def json_lines(folder: Path, data: bytes, name: str = "rows.jsonl", **mapping: object) -> Reader:
    """Return a reader of one file with these bytes."""
    path = folder / name
    path.write_bytes(data)
    return open_reader(find([str(path)]), ColumnMapping(**mapping))  # type: ignore[arg-type]


def parquet(folder: Path, *tables: pa.Table, row_group_size: int | None = None, **mapping: object) -> Reader:
    """Return a reader of Parquet files with these tables."""
    paths = [folder / f"part-{number}.parquet" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(table, path, row_group_size=row_group_size)
    return open_reader(find([str(path) for path in paths]), ColumnMapping(**mapping))  # type: ignore[arg-type]


def rows_of(reader: Reader) -> list[Row]:
    """Return all rows of one pass."""
    return [row for chunk in reader.chunks() for row in chunk.rows]


def row_of(folder: Path, data: bytes, **mapping: object) -> Row:
    """Return the only row of a JSON Lines file."""
    (row,) = rows_of(json_lines(folder, data, **mapping))
    return row


def joined(reader: Reader, answer: Answer) -> Iterator[tuple[KeyedChunk, Sequence[Answer]]]:
    """Yield a reader's rows for the writer, with the same answer for each."""
    for chunk in reader.chunks():
        nothing = [None] * len(chunk.rows)
        yield KeyedChunk(chunk, nothing, nothing, [True] * len(nothing)), [answer] * len(nothing)


def template(text: str) -> Template:
    """Return a parsed template."""
    return Template.parse(text)


def texts(rows: Iterable[Row]) -> list[str | None]:
    """Return the text of each row's first message; None where the row cannot be sent."""
    return [row.messages[0].text if row.messages else None for row in rows]
