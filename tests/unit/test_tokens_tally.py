"""A whole input added up: line by line in a hurry, and row by row through the reader, to the same counts."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reading import SAMPLES

from batch.readers import ColumnMapping, open_reader
from batch.readers.dialects import Place
from batch.readers.jsonl import JsonLinesReader, lines_of, packs_of
from batch.records import Defaults, Options, Row
from batch.storage import blocks, find
from batch.tokens import Tally

DEFAULTS = Defaults("yandexgpt-lite", None, Options(max_tokens=100))
PROMPTED = Defaults("yandexgpt", "Отвечай кратко", Options())
READER = JsonLinesReader([], ColumnMapping())


def _read(line: bytes | int) -> Row:
    return READER.row(Place(0, "rows.jsonl", 1), line)


def _hurried(data: bytes, defaults: Defaults) -> Tally:
    tally = Tally(defaults)
    tally.add_lines(packs_of([data]), _read)
    return tally


def _line_by_line(data: bytes, defaults: Defaults) -> Tally:
    tally = Tally(defaults)
    tally.add_lines((line for _, line in lines_of([data])), _read)
    return tally


def _row_by_row(data: bytes, defaults: Defaults) -> Tally:
    tally = Tally(defaults)
    for _, line in lines_of([data]):
        tally.add_row(_read(line))
    return tally


TEXT = st.sampled_from(["Привет", "Hi  there\n 7", "", "  ", "\u3000", "😊«»", "x" * 200])
ODD = st.sampled_from([None, 7, True, [], ["a"], {"type": "text", "text": "part"}, 1.5])
CALLS = {"toolCalls": [{"functionCall": {"name": "f", "arguments": {"я": 1}}}]}
RESULTS = {"toolResults": [{"functionResult": {"name": "f", "content": "да"}}]}
OPENAI_CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
ROLE = st.sampled_from(["user", "user", "system", "assistant", "developer", "tool", "bot", None, 3, ["user"]])
PART = {"type": "text", "text": "part"}
TURN = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant"]), "text": TEXT}),
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant"]), "content": TEXT}),
    st.fixed_dictionaries(
        {},
        optional={
            "role": ROLE,
            "from": st.just("human"),
            "value": TEXT,
            "text": TEXT | ODD,
            "content": TEXT | ODD | st.just([PART]),
            "name": st.just("f"),
            "toolCallList": st.sampled_from([CALLS, None, {}]),
            "toolResultList": st.sampled_from([RESULTS, {}]),
            "tool_calls": st.sampled_from([OPENAI_CALLS, []]),
            "tool_call_id": st.just("1"),
        },
    ),
    ODD,
)
TURNS = st.lists(TURN, max_size=3) | ODD | st.just(json.dumps([{"role": "user", "content": "in JSON"}]))
ROW = st.fixed_dictionaries(
    {},
    optional={
        "messages": TURNS,
        "request": TURNS,
        "conversations": TURNS,
        "custom_id": st.just("a"),
        "method": st.just("POST"),
        "url": st.just("/v1/chat/completions"),
        "body": st.fixed_dictionaries({"model": st.just("gpt-4o"), "messages": TURNS}),
        "modelUri": st.sampled_from(["gpt://f/qwen", "gpt://f/yandexgpt/rc", "qwen", 5, None]),
        "completionOptions": st.sampled_from(
            [{"maxTokens": "50"}, {"maxTokens": 1}, {"maxTokens": True}, {"temperature": 3}, {}, None]
        ),
        "tools": st.sampled_from([[{"function": {"name": "f"}}], [], None]),
        "jsonSchema": st.sampled_from([{"schema": {"type": "object"}}, {}]),
        "jsonObject": st.sampled_from([True, 1]),
        "id": st.sampled_from([1, "a", None, {"deep": [[1]]}]),
        "extra": ODD,
    },
)
CHAT = st.fixed_dictionaries({"messages": st.lists(TURN, min_size=1, max_size=3)})
CHAT_LINE = CHAT.map(lambda row: json.dumps(row, ensure_ascii=False).encode())
BROKEN = st.sampled_from(
    [b"", b"  ", b"{", b"[1]", b'"text"', b"\xff", b"[" * 500 + b"]" * 500, b'{"a": ' * 250 + b"1" + b"}" * 250]
)
LINE = st.one_of(CHAT, ROW).map(lambda row: json.dumps(row, ensure_ascii=False).encode()) | BROKEN
SEEN = [b'{"messages": [{"role": "user", "text": "Hi"}]}', b'{"request": [{"role": "user", "content": "Hi"}]}']
DEEP = b'{"messages": [{"role": "user", "text": "Hi"}], "x": ' + b"[" * 300 + b"]" * 300 + b"}"
LONG = b'{"messages": [{"role": "user", "text": "' + b"x" * (5 << 20) + b'"}]}'


# Two lines that only together are JSON, and one that is two values: as many values as lines.
TORN = [b'{"messages": [{}', b'{"role": "user", "text": "Hi"}]}', SEEN[0] + b"," + SEEN[0]]
SAME = st.tuples(LINE, st.integers(1, 5)).map(lambda found: [found[0]] * found[1])


@given(
    st.lists(LINE, max_size=12) | st.lists(CHAT_LINE, max_size=12) | SAME, st.sampled_from([DEFAULTS, PROMPTED])
)
@example([DEEP, DEEP], DEFAULTS)
@example(TORN, DEFAULTS)
@example([SEEN[0], LONG, SEEN[0]], PROMPTED)
def test_all_ways_come_to_the_same(lines: list[bytes], defaults: Defaults) -> None:
    """Rows of every dialect, good and bad, give the same sums many lines at once, line by line and row by row."""
    for data in (b"\n".join(lines), b"\n".join([*SEEN, *lines])):  # with what rows without wishes ask for known
        slow = _row_by_row(data, defaults)
        for fast in (_hurried(data, defaults), _line_by_line(data, defaults)):
            assert {model: share for model, share in fast.shares.items() if share.rows} == slow.shares
            assert (fast.rows, fast.invalid) == (slow.rows, slow.invalid)


@pytest.mark.parametrize("file", [*sorted(SAMPLES.glob("*.jsonl*")), SAMPLES / "chats.ndjson.zst"])
def test_sample_files_come_to_the_same(file: Path) -> None:
    """The sample files, compressed ones too, give the same sums both ways, row by row through the reader."""
    hurried, slow = Tally(PROMPTED), Tally(PROMPTED)
    files = find([str(file)])
    for item in files:
        hurried.add_lines(packs_of(blocks(item)), _read)
    for chunk in open_reader(files, ColumnMapping()).chunks():
        for row in chunk.rows:
            slow.add_row(row)
    assert (hurried.shares, hurried.invalid) == (slow.shares, slow.invalid)


def test_shares_say_what_each_model_is_asked() -> None:
    """Rows fall to the model that they or the run name, with the caps that they or the run set."""
    lines = [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "Hi"}], "completionOptions": {"maxTokens": "7"}},
        {"messages": [{"role": "user", "content": "Hi"}], "modelUri": "gpt://f/qwen"},
        {"messages": []},
    ]
    tally = _hurried(b"\n".join(json.dumps(line).encode() for line in lines), DEFAULTS)
    own, other = tally.shares["yandexgpt-lite"], tally.shares["gpt://f/qwen"]
    assert (own.rows, own.capped, own.cap_tokens, own.counts[:3]) == (2, 2, 107, (2, 2, 4))
    assert (other.rows, other.capped, other.cap_tokens) == (1, 1, 100)
    assert (tally.rows, tally.invalid) == (3, 1)


def test_rows_that_ask_for_ever_new_things_are_flat_in_memory() -> None:
    """Neither many rows nor many different wishes are kept: only sums by model."""
    row = '{"messages": [{"role": "user", "content": "Привет, мир"}], "completionOptions": {"maxTokens": %d}}'
    tally = Tally(DEFAULTS)
    tracemalloc.start()
    try:
        tally.add_lines([(row % number).encode() for number in range(1, 2000)], _read)
        before = tracemalloc.get_traced_memory()[0]
        tally.add_lines(((row % number).encode() for number in range(2000, 5000)), _read)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
    assert tally.rows == 4999
    assert tally.shares["yandexgpt-lite"].cap_tokens == 4999 * 5000 // 2


@pytest.mark.parametrize("wish", [{}, {"completionOptions": {"maxTokens": "5"}}, {"jsonObject": True}])
def test_rows_that_are_alike_need_no_reader(wish: dict[str, object]) -> None:
    """Of a thousand plain rows with the same wishes the reader reads one: that is what makes a million quick."""
    asked: list[bytes | int] = []

    def read(line: bytes | int) -> Row:
        asked.append(line)
        return _read(line)

    rows = [{"messages": [{"role": "user", "text": f"Где заказ № {n}?"}], "id": n, **wish} for n in range(1000)]
    tally = Tally(DEFAULTS)
    tally.add_lines(packs_of([b"\n".join(json.dumps(row).encode() for row in rows)]), read)
    assert (tally.rows, len(asked)) == (1000, 1)
