"""Parquet as input: its columns come out untouched, and several files are one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from reading import parquet, rows_of, texts

from batch.errors import UsageError
from batch.readers.base import CHUNK_ROWS


def _dictionary_inside(count: int) -> pa.Array:
    kind = pa.list_(pa.struct([("role", pa.dictionary(pa.int32(), pa.string())), ("text", pa.string())]))
    return pa.array([[{"role": "user", "text": f"text {n}"}] for n in range(count)], kind)


@pytest.mark.parametrize("row_group_size", [1, 100, CHUNK_ROWS, 5000])
def test_columns_come_out_untouched(tmp_path: Path, row_group_size: int) -> None:
    """Over many chunks and row groups the columns keep their types, values and order."""
    count = CHUNK_ROWS + 300
    table = pa.table(
        {
            "n": pa.array(range(count), pa.int16()),
            "messages": _dictionary_inside(count),
            "city": pa.array([f"city {n % 5}" for n in range(count)]).dictionary_encode(),
            "price": pa.array([Decimal(n) / 100 for n in range(count)], pa.decimal128(38, 4)),
            "at": pa.array(range(count), pa.timestamp("ns", "UTC")),
            "raw": pa.array([bytes([n % 256, 255]) for n in range(count)]),
            "tags": pa.array([[("a", n)] for n in range(count)], pa.map_(pa.string(), pa.int64())),
            "nothing": pa.nulls(count),
        }
    )
    reader = parquet(tmp_path, table, row_group_size=row_group_size)
    chunks = list(reader.chunks())
    assert reader.columns == table.schema
    assert reader.count() == count
    assert all(len(chunk.rows) <= CHUNK_ROWS for chunk in chunks)
    rows = [row for chunk in chunks for row in chunk.rows]
    assert [(row.position, row.line) for row in rows] == [(n, n + 1) for n in range(count)]
    assert texts(rows) == [f"text {n}" for n in range(count)]
    batches = [chunk.columns for chunk in chunks if chunk.columns is not None]
    assert [batch.num_rows for batch in batches] == [len(chunk.rows) for chunk in chunks]
    read = pa.Table.from_batches(batches)
    assert read.schema == table.schema
    assert all(read[name].to_pylist() == table[name].to_pylist() for name in table.column_names if name != "at")
    assert read["at"].cast(pa.int64()).to_pylist() == list(range(count))


def test_an_empty_file_has_columns_and_no_rows(tmp_path: Path) -> None:
    """A file of no rows is read, and its columns are known."""
    table = pa.table({"text": pa.array([], pa.string())})
    reader = parquet(tmp_path, table, prompt_column="text")
    assert (reader.count(), rows_of(reader), reader.columns) == (0, [], table.schema)


def test_files_of_different_columns_are_united(tmp_path: Path) -> None:
    """Files are read as one input by their columns' names; what a file lacks is null in its rows."""
    must = pa.schema([pa.field("text", pa.string(), nullable=False), pa.field("n", pa.int8(), nullable=False)])
    first = pa.table([pa.array(["a"]), pa.array([1], pa.int8())], schema=must)
    second = pa.table({"city": ["X"], "text": ["b"], "later": pa.nulls(1)})
    third = pa.table({"text": ["c"], "later": ["x"]})
    reader = parquet(tmp_path, first, second, third, prompt_column="text")
    chunks = [chunk.columns for chunk in reader.chunks() if chunk.columns is not None]
    assert reader.columns is not None
    assert reader.columns.names == ["text", "n", "city", "later"]
    assert reader.columns.field("n").nullable
    assert [batch.to_pylist()[0] for batch in chunks] == [
        {"text": "a", "n": 1, "city": None, "later": None},
        {"text": "b", "n": None, "city": "X", "later": None},
        {"text": "c", "n": None, "city": None, "later": "x"},
    ]
    assert all(batch.schema == reader.columns for batch in chunks)
    assert [(row.position, row.line) for row in rows_of(reader)] == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    "other", [pa.array(["a"]), pa.array([1], pa.int32()), pa.array([[1]])], ids=lambda a: str(a.type)
)
def test_types_that_do_not_fit_together(tmp_path: Path, other: pa.Array) -> None:
    """Files whose columns of one name have different types are refused, naming the column."""
    tables = [pa.table({"text": ["a"], "n": column}) for column in (pa.array([1]), other)]
    with pytest.raises(UsageError, match=r"do not fit together: .*Field n "):
        parquet(tmp_path, *tables, prompt_column="text")


def test_a_column_twice(tmp_path: Path) -> None:
    """Two columns of one name are refused: nobody could say which is meant."""
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(UsageError):
        parquet(tmp_path, table, prompt_column="text")
