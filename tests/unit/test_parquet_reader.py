"""Parquet as input: rows from columns, and columns that come out untouched."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from reading import HI, MESSAGES, SAMPLES, parquet, row_of, rows_of, template, texts

from batch.errors import InputError, UsageError
from batch.readers import ColumnMapping, open_reader
from batch.records import Message, Options
from batch.storage import find

TURNS = pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))
WORDS = ["one", "two", "three"]
CALLS = {"toolCalls": [{"functionCall": {"name": "f", "arguments": {"a": 1}}}]}


def test_lists_of_structs(tmp_path: Path) -> None:
    """A column of lists of structs is read as messages; struct fields that are null were never there."""
    kind = pa.list_(
        pa.struct(
            [
                ("role", pa.string()),
                ("text", pa.string()),
                ("content", pa.string()),
                ("tool_calls", pa.list_(pa.struct([("id", pa.string())]))),
            ]
        )
    )
    values = [
        [{"role": "user", "text": "Hi", "content": None, "tool_calls": None}],
        [{"role": "user", "text": None, "content": "Hi", "tool_calls": None}],
        [],
        None,
        [{"role": "user", "text": None, "content": None, "tool_calls": None}],
    ]
    rows = rows_of(parquet(tmp_path, pa.table({"messages": pa.array(values, kind)})))
    assert [row.messages for row in rows[:2]] == [HI, HI]
    assert [row.dialect for row in rows[:2]] == ["service request", "chat messages"]
    assert [row.problem.reason for row in rows[2:] if row.problem] == [
        '"messages" is an empty list',
        "the row has no messages",
        "message 1 has no text",
    ]
    assert [(row.position, row.line) for row in rows] == [(n, n + 1) for n in range(5)]


def test_json_strings(tmp_path: Path) -> None:
    """A column of texts is read as messages in JSON; one that is no JSON costs its row."""
    good = '[{"role": "user", "content": "Hi"}]'
    rows = rows_of(parquet(tmp_path, pa.table({"request": [good, "[", "Hi", None, "[" * 500 + "]" * 500]})))
    assert [row.problem is None for row in rows] == [True, False, False, False, False]
    assert rows[0].messages == HI
    assert rows[0].dialect == "chat messages"


def test_overrides_in_columns(tmp_path: Path) -> None:
    """Columns with the names of a request's fields set them row by row, as structs or as JSON texts."""
    options = pa.struct([("temperature", pa.float64()), ("maxTokens", pa.int32())])
    table = pa.table(
        {
            "messages": pa.array([MESSAGES] * 3, TURNS),
            "modelUri": ["gpt://f/m", None, None],
            "completionOptions": pa.array([{"temperature": 0.5}, {"maxTokens": 9}, None], options),
            "jsonSchema": [None, '{"schema": {"type": "object"}}', None],
        }
    )
    rows = rows_of(parquet(tmp_path, table))
    assert [row.model for row in rows] == ["gpt://f/m", None, None]
    assert [row.options for row in rows] == [
        Options(temperature=0.5),
        Options(max_tokens=9, json_schema={"schema": {"type": "object"}}),
        Options(),
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(WORDS).dictionary_encode(),
        pa.array(WORDS, pa.large_string()),
        pa.array(WORDS, pa.string_view()),
        pa.array([word.encode() for word in WORDS]),
    ],
    ids=lambda column: str(column.type),
)
def test_text_columns(tmp_path: Path, column: pa.Array) -> None:
    """A text column may be of any type that holds texts."""
    rows = rows_of(parquet(tmp_path, pa.table({"text": column}), prompt_column="text"))
    assert texts(rows) == list(WORDS)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([7]), "7"),
        (pa.array([2.5]), "2.5"),
        (pa.array([Decimal("10.50")]), "10.50"),
        (pa.array([True]), "true"),
        (pa.array([date(2024, 2, 29)]), "2024-02-29"),
        (pa.array([datetime(2024, 2, 29, 12, tzinfo=UTC)]), "2024-02-29 12:00:00+00:00"),
        (pa.array([datetime(2024, 2, 29, 12)]).cast(pa.timestamp("ns")), "2024-02-29 12:00:00"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
        (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array(["text"]), "text"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else value,
)
def test_templates_over_any_type(tmp_path: Path, column: pa.Array, text: str) -> None:
    """A template takes values of any simple type, to the last digit."""
    rows = rows_of(parquet(tmp_path, pa.table({"v": column}), template=template("<{v}>")))
    assert texts(rows) == [f"<{text}>"]


def test_far_values_do_not_change_their_neighbours(tmp_path: Path) -> None:
    """A time that Python cannot hold leaves the text of the rows beside it as it is without it."""
    whole = pa.array([1_000_000_000], pa.timestamp("ns"))
    odd = pa.array([1_000_000_000, 1], pa.timestamp("ns"))
    alone = rows_of(parquet(tmp_path, pa.table({"t": whole}), template=template("{t}")))
    beside = rows_of(parquet(tmp_path, pa.table({"t": odd}), template=template("{t}")))
    assert texts(beside)[0] == texts(alone)[0]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_empty_values_in_a_template(tmp_path: Path, value: float | None) -> None:
    """A null or a number that is none costs its row instead of being sent as a word."""
    table = pa.table({"rating": pa.array([value, 4.5], pa.float64())})
    bad, good = rows_of(parquet(tmp_path, table, template=template("Rated {rating}")))
    assert bad.problem is not None
    assert bad.problem.reason == 'the field "rating" is empty'
    assert good.messages == (Message("user", "Rated 4.5"),)


def test_texts_that_are_not_utf8(tmp_path: Path) -> None:
    """A text column with bytes that are not UTF-8 costs those rows, and a binary `id` nothing."""
    raw = pa.array([b"\xff\xfe", b"fine"])
    table = pa.table({"text": raw.view(pa.string()), "id": raw})
    bad, good = rows_of(parquet(tmp_path, table, prompt_column="text"))
    assert bad.problem is not None
    assert bad.problem.reason == '"text" is not UTF-8'
    assert good.messages == (Message("user", "fine"),)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"prompt_column": "txt"}, 'no column "txt" (did you mean text?); there are text, rating.'),
        ({"id_column": "number", "prompt_column": "text"}, 'no column "number"; there are text, rating.'),
        ({"template": template("{text} {ratings}")}, 'no column "ratings" (did you mean rating?)'),
        ({}, 'no column "messages" or "request"; there are text, rating.'),
    ],
)
def test_missing_columns(tmp_path: Path, mapping: dict[str, object], sentence: str) -> None:
    """A column that is not there is said before anything is read, with the columns that are."""
    with pytest.raises(UsageError) as caught:
        parquet(tmp_path, pa.table({"text": ["a"], "rating": [1]}), **mapping)
    assert sentence in str(caught.value)


def test_id_column(tmp_path: Path) -> None:
    """Ids may be numbers, and a row without one is invalid."""
    table = pa.table({"text": ["a", "b"], "n": [7, None]})
    rows = rows_of(parquet(tmp_path, table, prompt_column="text", id_column="n"))
    assert rows[0].id == "7"
    assert rows[1].problem is not None


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -100])
def test_cut_off_files(tmp_path: Path, cut: int) -> None:
    """A file without its end is an InputError before anything is sent."""
    parquet(tmp_path, pa.table({"text": [f"text {n}" for n in range(1000)]}), prompt_column="text")
    path = tmp_path / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        open_reader(find([str(path)]), ColumnMapping(prompt_column="text"))
    assert caught.value.hint


def test_a_damaged_page_is_an_input_error(tmp_path: Path) -> None:
    """Damage in the middle of a file is one sentence, not a traceback."""
    parquet(tmp_path, pa.table({"text": [f"text {n}" for n in range(5000)]}), prompt_column="text")
    path = tmp_path / "part-0.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + bytes(4000) + whole[6000:])
    reader = open_reader(find([str(path)]), ColumnMapping(prompt_column="text"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        rows_of(reader)


def test_formats_do_not_mix(tmp_path: Path) -> None:
    """JSON Lines and Parquet in one run are refused, with the advice to make two."""
    row_of(tmp_path, b"{}")
    parquet(tmp_path, pa.table({"text": ["a"]}), prompt_column="text")
    with pytest.raises(UsageError, match="two kinds"):
        open_reader(find([str(tmp_path)]), ColumnMapping(prompt_column="text"))


@pytest.mark.parametrize(
    ("name", "rows", "mapping"),
    [
        ("conversations.parquet", 60, ColumnMapping(id_column="conversation_id")),
        ("conversations-json.parquet", 30, ColumnMapping(id_column="conversation_id")),
        ("reviews.parquet", 80, ColumnMapping(prompt_column="text")),
    ],
)
def test_samples_are_good(name: str, rows: int, mapping: ColumnMapping) -> None:
    """Every row of the sample tables can be sent, and two passes agree."""
    reader = open_reader(find([str(SAMPLES / name)]), mapping)
    read = rows_of(reader)
    assert [row.problem for row in read] == [None] * rows
    assert rows_of(reader) == read
