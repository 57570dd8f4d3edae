"""The output: its schema whatever the data, its columns untouched, and never half a file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import joined, json_lines, line, parquet

from batch import writer
from batch.errors import UsageError
from batch.parsing import KeptField
from batch.readers import Reader
from batch.records import Answer, FinishReason, Status
from batch.writer import Layout, Totals, write

ANSWER = Answer(
    row_key="key",
    status=Status.OK,
    completion="Привет 🙂",
    finish_reason=FinishReason.STOP,
    tool_calls='{"toolCalls":[]}',
    error_code="CODE",
    error_message="sentence",
    model="yandexgpt-lite",
    model_version="08.07.2025",
    input_tokens=2**31 + 1,
    completion_tokens=2**33,
    reasoning_tokens=0,
    total_tokens=2**40,
    cost=Decimal("1.234567"),
    currency="RUB",
    attempts=3,
    latency_s=0.25,
    request_id="r-1",
    operation_id="o-1",
    finished_at=datetime(2025, 6, 1, 12, 30, tzinfo=UTC),
)
# Written out and not taken from the module: whoever reads outputs relies on it.
SCHEMA_1 = """\
row_key string, status string, completion string, finish_reason string, tool_calls string, error_code string,
error_message string, model string, model_version string, input_tokens int64, completion_tokens int64,
reasoning_tokens int64, total_tokens int64, cost decimal128(18,6), currency string, attempts int64,
latency_s double, request_id string, operation_id string, finished_at timestamp[us,tz=UTC]"""
COLUMNS = dict(column.split() for column in re.split(r",\s", SCHEMA_1))
NAMES = list(COLUMNS)
TURNS = "list<element: struct<role: string,text: string>>"
EXPECTED = {"id": "string", "messages": TURNS, "extra": "string", **COLUMNS}


def _write(reader: Reader, output: Path, answer: Answer = ANSWER, keep: Sequence[KeptField] = ()) -> writer.Totals:
    return write(output, Layout.of(reader.columns, keep), joined(reader, answer), {"tool": "test"})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "answers.parquet"


@pytest.mark.parametrize("answer", [ANSWER, Answer()], ids=["full", "all null"])
@pytest.mark.parametrize("data", [line(id="a", other=[1]), b"nonsense\n", b""], ids=["good", "bad", "empty"])
def test_the_schema_is_fixed(tmp_path: Path, output: Path, data: bytes, answer: Answer) -> None:
    """The schema is the same for full, null, invalid and no data, and has no column without a type."""
    _write(json_lines(tmp_path, data), output, answer)
    table = pq.read_table(output)
    kinds = {field.name: str(field.type).replace(", ", ",") for field in table.schema}
    assert list(kinds.items()) == list(EXPECTED.items())
    assert table.num_rows == (1 if data else 0)


def test_values_come_back(tmp_path: Path, output: Path) -> None:
    """Every field of an answer is in its column: counts beyond 32 bits, exact money, UTC times."""
    totals = _write(json_lines(tmp_path, line(id="a", other=[1])), output)
    (row,) = pq.read_table(output).to_pylist()
    assert row == {
        "id": "a",
        "messages": [{"role": "user", "text": "Hi"}],
        "extra": '{"other":[1]}',
        **{name: getattr(ANSWER, name) for name in NAMES},
        "status": "ok",
        "finish_reason": "stop",
    }
    assert (totals.input_tokens, totals.total_tokens) == (2**31 + 1, 2**40)


def test_kept_columns(tmp_path: Path, output: Path) -> None:
    """Kept fields are columns of their own types, null where a row has no such value."""
    kinds = ("string", "int", "float", "bool", "json")
    keep = tuple(KeptField(f"k_{kind}", kind) for kind in kinds)
    data = line(k_string="s", k_int=7, k_float=7, k_bool=True, k_json={"a": [1]}) + line() + b"nonsense\n"
    _write(json_lines(tmp_path, data, keep=keep), output, keep=keep)
    table = pq.read_table(output).select([f"k_{kind}" for kind in kinds])
    assert table.schema.types == [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.string()]
    assert [list(row.values()) for row in table.to_pylist()] == [
        ["s", 7, 7.0, True, '{"a":[1]}'],
        [None] * 5,
        [None] * 5,
    ]


@pytest.mark.parametrize("names", [("id",), ("a", "a"), ("extra",)])
def test_kept_columns_twice(names: tuple[str, ...]) -> None:
    """Keeping a field twice, or under one of our own input columns, is a wrong flag."""
    with pytest.raises(UsageError, match="--keep"):
        Layout.of(None, [KeptField(name, "string") for name in names])


INPUT = pa.table(
    {
        "n": pa.array(range(1500), pa.uint16()),
        "text": pa.array([f"text {n % 9}" for n in range(1500)]).dictionary_encode(),
        "price": pa.array([Decimal(n) / 1000 for n in range(1500)], pa.decimal128(30, 7)),
        "at": pa.array([n * 1000 for n in range(1500)], pa.timestamp("ns", "Europe/Moscow")),
        "nested": pa.array([[{"a": n, "b": [None, "x"]}] if n % 2 else None for n in range(1500)]),
        "nothing": pa.nulls(1500),
    }
)


def test_input_columns_are_untouched(tmp_path: Path, output: Path) -> None:
    """A table's own columns go into the output with their types and values, before the answer's."""
    _write(parquet(tmp_path, INPUT, row_group_size=400, prompt_column="text"), output)
    table = pq.read_table(output)
    assert table.schema.names == [*INPUT.schema.names, *NAMES]
    own = table.select(INPUT.schema.names)
    assert own.schema == INPUT.schema
    assert own.to_pylist() == INPUT.to_pylist()


def test_clashing_names(tmp_path: Path, output: Path) -> None:
    """A column of ours whose name the input has gets a prefix, and the input's stays."""
    table = pa.table({"text": ["a"], "status": ["mine"], "cost": [1.5]})
    reader = parquet(tmp_path, table, prompt_column="text")
    assert Layout.of(reader.columns, ()).clashes == ("status", "cost")
    _write(reader, output)
    (row,) = pq.read_table(output).to_pylist()
    assert (row["status"], row["cost"]) == ("mine", 1.5)
    assert (row["chatbatch_status"], row["chatbatch_cost"]) == ("ok", Decimal("1.234567"))


def test_names_that_clash_twice() -> None:
    """An input that has the prefixed name too is refused before anything is bought."""
    columns = pa.schema([("status", pa.string()), ("chatbatch_status", pa.string())])
    with pytest.raises(UsageError, match="chatbatch_status"):
        Layout.of(columns, ())


def test_kept_names_that_clash(tmp_path: Path, output: Path) -> None:
    """A kept field with the name of one of our columns pushes ours aside in the same way."""
    keep = (KeptField("status", "string"),)
    _write(json_lines(tmp_path, line(status="mine"), keep=keep), output, keep=keep)
    (row,) = pq.read_table(output).to_pylist()
    assert (row["status"], row["chatbatch_status"]) == ("mine", "ok")


def test_an_empty_table(tmp_path: Path, output: Path) -> None:
    """An input of no rows gives a file of all columns and no rows."""
    _write(parquet(tmp_path, INPUT.slice(0, 0), prompt_column="text"), output)
    table = pq.read_table(output)
    assert (table.num_rows, table.schema.names) == (0, [*INPUT.schema.names, *NAMES])


def test_the_metadata_says_how_it_was_made(tmp_path: Path, output: Path) -> None:
    """The file's metadata holds the facts of the run, the schema's version, and the totals."""
    _write(json_lines(tmp_path, line() * 3), output)
    facts = json.loads(pq.read_metadata(output).metadata[b"chatbatch"])
    assert facts["tool"] == "test"
    assert facts["schema_version"] == writer.SCHEMA_VERSION
    assert facts["totals"] == {
        "rows": {"ok": 3, "failed": 0, "invalid": 0, "pending": 0},
        "input_tokens": 3 * (2**31 + 1),
        "completion_tokens": 3 * 2**33,
        "total_tokens": 3 * 2**40,
        "cost": {"RUB": "3.703701"},
        "rows_without_cost": 0,
        "rows_without_tokens": 0,
    }


def test_answers_without_tokens_are_counted() -> None:
    """Sums of tokens are of what the service stated, and the totals say how many answers came without."""
    totals = Totals()
    for status, tokens in ((Status.OK, 7), (Status.OK, None), (Status.FAILED, None)):
        totals.add(replace(ANSWER, status=status, input_tokens=tokens))
    assert (totals.input_tokens, totals.unstated) == (7, 1)


def test_row_groups_are_bounded(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written group by group, so that memory stays flat."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 1000)
    _write(json_lines(tmp_path, line() * 5000), output)
    metadata = pq.read_metadata(output)
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert sum(sizes) == 5000
    assert 1000 <= max(sizes) <= 1000 + 512


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.NDJSON"])
def test_json_lines_have_the_same_fields(tmp_path: Path, output: Path, name: str) -> None:
    """An output in JSON Lines has the columns' names in their order, money and times as text."""
    _write(json_lines(tmp_path, line(id="a") + b"nonsense\n"), output.with_name(name))
    rows = [json.loads(text) for text in output.with_name(name).read_text().splitlines()]
    assert [list(row) for row in rows] == [list(EXPECTED)] * 2
    assert rows[0]["messages"] == [{"role": "user", "text": "Hi"}]
    assert rows[1]["messages"] is None
    assert rows[0]["total_tokens"] == 2**40
    assert rows[0]["cost"] == "1.234567"
    assert rows[0]["finished_at"] == "2025-06-01T12:30:00+00:00"


def test_any_column_in_json_lines(tmp_path: Path, output: Path) -> None:
    """Columns of types that JSON lacks are written as text, to the last digit."""
    table = pa.table(
        {
            "text": ["a"],
            "ns": pa.array([1], pa.timestamp("ns")),
            "inner": pa.array([[{"t": 1}]], pa.list_(pa.struct([("t", pa.time64("ns"))]))),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "raw": pa.array([b"bytes"]),
            "day": pa.array([0], pa.date32()),
            "nan": pa.array([float("nan")]),
        }
    )
    _write(parquet(tmp_path, table, prompt_column="text"), output.with_name("o.jsonl"))
    row = json.loads(output.with_name("o.jsonl").read_text())
    assert {name: row[name] for name in table.column_names} == {
        "text": "a",
        "ns": "1970-01-01 00:00:00.000000001",
        "inner": [{"t": "00:00:00.000000001"}],
        "map": [["k", 1]],
        "raw": "bytes",
        "day": "1970-01-01",
        "nan": None,
    }
