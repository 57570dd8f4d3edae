"""Good rows of JSON Lines: dialects, tool calls, what a row asks for itself, and what it carries along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import HI, MESSAGES, SAMPLES, json_lines, line, row_of, rows_of, template, texts

from batch.errors import UsageError
from batch.parsing import KeptField
from batch.readers import ColumnMapping, open_reader
from batch.records import Message, Options
from batch.storage import find

CHAT = [{"role": "user", "content": "Hi"}]
CALL = {"id": "call-1", "type": "function", "function": {"name": "find", "arguments": '{"order": 7}'}}
NO_ARGUMENTS = {"id": "call-2", "function": {"name": "today", "arguments": "{}"}}


def test_dialects_are_recognised_row_by_row(tmp_path: Path) -> None:
    """One file may hold request bodies, dataset rows and chat messages, in any order."""
    data = line() + b'{"request": [{"role": "user", "text": "Hi"}]}\n' + line(messages=CHAT) + line()
    rows = rows_of(json_lines(tmp_path, data))
    assert [row.dialect for row in rows] == [
        "service request",
        "service dataset",
        "chat messages",
        "service request",
    ]
    assert all(row.messages == HI for row in rows)


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"prompt_column": "title"}, "Cat & Co"),
        ({"prompt_column": "pages"}, "12"),
        ({"prompt_column": "draft"}, "false"),
        ({"template": template("Sum up: {title} ({pages})")}, "Sum up: Cat & Co (12)"),
        ({"template": template("{{{title}}} {title}")}, "{Cat & Co} Cat & Co"),
        ({"template": template("{share}")}, "0.5"),
    ],
)
def test_text_columns(tmp_path: Path, mapping: dict[str, object], text: str) -> None:
    """With a prompt column or a template every row is one user's message, whatever else it holds."""
    row = row_of(tmp_path, line(title="Cat & Co", pages=12, draft=False, share=0.5), **mapping)
    assert row.messages == (Message("user", text),)
    assert row.dialect == "text column"


@pytest.mark.parametrize("text", ["plain", "{", "{}", "{a!r}", "{a:>5}", "{0[x]", "{{a}}"])
def test_bad_templates(text: str) -> None:
    """A template that names no plain field is a wrong flag, said before anything is read."""
    with pytest.raises(UsageError, match="--template"):
        template(text)


@pytest.mark.parametrize(
    ("given_message", "message"),
    [
        ({"role": "developer", "content": "Be brief"}, Message("system", "Be brief")),
        ({"role": "system", "text": "Be brief"}, Message("system", "Be brief")),
        ({"role": "assistant", "content": "Yes", "tool_calls": None}, Message("assistant", "Yes")),
        ({"role": "assistant", "content": "Yes", "tool_calls": []}, Message("assistant", "Yes")),
        ({"role": "user", "content": [{"type": "text", "text": t} for t in "ab"]}, Message("user", "a\nb")),
        ({"role": "user", "text": "a", "content": None}, Message("user", "a")),
    ],
)
def test_messages(tmp_path: Path, given_message: dict[str, object], message: Message) -> None:
    """Every accepted way to write a message gives the service's roles and one text."""
    assert row_of(tmp_path, line(messages=[given_message])).messages == (message,)


@pytest.mark.parametrize("content", [None, ""])
def test_openai_tool_calls(tmp_path: Path, content: str | None) -> None:
    """OpenAI's calls and results become the service's; all results of one turn go in one message."""
    messages = [
        {"role": "user", "content": "Where is order 7?"},
        {"role": "assistant", "content": content, "tool_calls": [CALL, NO_ARGUMENTS]},
        {"role": "tool", "tool_call_id": "call-1", "content": "at sea"},
        {"role": "tool", "tool_call_id": "call-2", "content": [{"type": "text", "text": "Monday"}]},
        {"role": "assistant", "content": "At sea."},
    ]
    row = row_of(tmp_path, line(messages=messages))
    assert row.problem is None
    assert [message.role for message in row.messages] == ["user", "assistant", "user", "assistant"]
    assert row.messages[1].tool_calls == {
        "toolCalls": [
            {"functionCall": {"name": "find", "arguments": {"order": 7}}},
            {"functionCall": {"name": "today", "arguments": {}}},
        ]
    }
    assert row.messages[2].tool_results == {
        "toolResults": [
            {"functionResult": {"name": "find", "content": "at sea"}},
            {"functionResult": {"name": "today", "content": "Monday"}},
        ]
    }


def test_the_services_tool_calls(tmp_path: Path) -> None:
    """The service's own calls and results pass as they are, arguments as an object or as JSON text."""
    calls = [{"functionCall": {"name": "f", "arguments": arguments}} for arguments in ({"a": 1}, '{"a": 1}')]
    results = {"toolResults": [{"functionResult": {"name": "f", "content": ""}}]}
    messages = [
        {"role": "assistant", "toolCallList": {"toolCalls": calls}},
        {"role": "user", "toolResultList": results},
    ]
    row = row_of(tmp_path, line(messages=messages))
    assert row.messages[0].tool_calls == {"toolCalls": [calls[0]] * 2}
    assert row.messages[1].tool_results == results


TOOL = {"function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}
SCHEMA = {"schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, Options()),
        ({"completionOptions": None, "tools": None}, Options()),
        ({"completionOptions": {}}, Options()),
        ({"completionOptions": {"temperature": 0}}, Options(temperature=0.0)),
        ({"completionOptions": {"temperature": 1, "maxTokens": None}}, Options(temperature=1.0)),
        ({"completionOptions": {"maxTokens": "2000"}}, Options(max_tokens=2000)),
        ({"completionOptions": {"maxTokens": 2**63 - 1}}, Options(max_tokens=2**63 - 1)),
        ({"completionOptions": {"stream": True}}, Options()),
        ({"completionOptions": '{"temperature": 0.5}'}, Options(temperature=0.5)),
        (
            {"completionOptions": {"reasoningOptions": {"mode": "ENABLED_HIDDEN"}}},
            Options(reasoning_mode="ENABLED_HIDDEN"),
        ),
        ({"tools": [TOOL]}, Options(tools=[TOOL])),
        ({"tools": [{"type": "function", **TOOL}]}, Options(tools=[TOOL])),
        ({"toolChoice": {"mode": "NONE"}}, Options(tool_choice={"mode": "NONE"})),
        ({"toolChoice": {"functionName": "f"}}, Options(tool_choice={"functionName": "f"})),
        ({"parallelToolCalls": False}, Options(parallel_tool_calls=False)),
        ({"jsonObject": True}, Options(json_object=True)),
        ({"jsonSchema": SCHEMA}, Options(json_schema=SCHEMA)),
        ({"jsonObject": False, "jsonSchema": SCHEMA}, Options(json_object=False, json_schema=SCHEMA)),
    ],
)
def test_overrides(tmp_path: Path, fields: dict[str, object], options: Options) -> None:
    """What a row asks of the model in the service's own form is read, option by option."""
    row = row_of(tmp_path, line(**fields))
    assert row.problem is None
    assert row.options == options


@pytest.mark.parametrize("uri", ["gpt://f/yandexgpt", "gpt://f/yandexgpt/rc@x", "ds://f/abc", " gpt://f/m "])
def test_model_override(tmp_path: Path, uri: str) -> None:
    """A row may name its model by URI."""
    assert row_of(tmp_path, line(modelUri=uri)).model == uri.strip()


@pytest.mark.parametrize(
    ("fields", "id_column", "name"),
    [
        ({"id": "a"}, None, "a"),
        ({"id": 7}, None, "7"),
        ({"custom_id": "c"}, None, "c"),
        ({"id": "a", "custom_id": "c"}, None, "a"),
        ({"id": True}, None, None),
        ({"id": ["a"]}, None, None),
        ({}, None, None),
        ({"id": "a", "sku": "s"}, "sku", "s"),
        ({"sku": 12}, "sku", "12"),
        ({"sku": 0}, "sku", "0"),
    ],
)
def test_ids(tmp_path: Path, fields: dict[str, object], id_column: str | None, name: str | None) -> None:
    """A row's id is its id column's value, else its `id`, else its `custom_id`."""
    row = row_of(tmp_path, line(**fields), id_column=id_column)
    assert row.problem is None
    assert row.id == name


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_an_id_column_without_an_id(tmp_path: Path, value: object) -> None:
    """A row without a value in the id column that was asked for is invalid: it could not be found again."""
    row = row_of(tmp_path, line(id="a", sku=value), id_column="sku")
    assert row.problem is not None
    assert '"sku" names no id' in row.problem.reason
    assert row.id == "a"
    assert json.loads(row.extra or "")["sku"] == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["id", "sku", "custom_id", "messages", "request", "text", "a"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(NAMES, JSON | st.just(MESSAGES)),
    id_column=st.none() | st.just("sku"),
    keep=st.lists(NAMES, max_size=1),
)
def test_nothing_is_lost(
    tmp_path: Path, fields: dict[str, object], id_column: str | None, keep: list[str]
) -> None:
    """Each field of a row, good or bad, is in its id, its messages, a kept column or `extra`."""
    kept = tuple(KeptField(name, "string") for name in keep)
    row = row_of(tmp_path, json.dumps(fields).encode(), id_column=id_column, keep=kept)
    extra = json.loads(row.extra or "{}")
    for name, value in fields.items():
        if name in extra:
            assert extra[name] == value
        elif name in keep and row.kept[0] is not None:
            assert row.kept[0] == value
        elif name in ("id", "sku") and row.id is not None:
            assert row.id == str(value)
        else:
            assert row.problem is None
            assert name in ("messages", "request")
            assert texts([row]) != [None]


def test_messages_with_tool_calls_are_carried(tmp_path: Path) -> None:
    """The output's `messages` have roles and texts only, so those with tool calls stay in `extra`."""
    plain = row_of(tmp_path, line(a=1))
    with_calls = row_of(tmp_path, line(messages=[*CHAT, {"role": "assistant", "tool_calls": [CALL]}], a=1))
    assert json.loads(plain.extra or "") == {"a": 1}
    assert json.loads(with_calls.extra or "")["messages"][1]["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("string", "s", "s"),
        ("string", 7, None),
        ("int", 7, 7),
        ("int", -(2**63), -(2**63)),
        ("int", 2**63, None),
        ("int", 7.0, None),
        ("int", True, None),
        ("int", "7", None),
        ("float", 0.5, 0.5),
        ("float", 7, 7.0),
        ("float", "0.5", None),
        ("bool", False, False),
        ("bool", 0, None),
        ("json", [1, {"a": None}], '[1,{"a":null}]'),
        ("json", "s", '"s"'),
        ("json", None, None),
    ],
)
def test_kept_fields(tmp_path: Path, kind: str, value: object, kept: object) -> None:
    """A kept field is lifted where it is of its type; another value stays in `extra`."""
    row = row_of(tmp_path, line(field=value), keep=(KeptField("field", kind),))
    assert row.kept == (kept,)
    assert type(row.kept[0]) is type(kept)
    if kept is None:
        assert json.loads(row.extra or "") == {"field": value}
    else:
        assert row.extra is None


def test_kept_fields_that_are_missing(tmp_path: Path) -> None:
    """A row that lacks a kept field, or is no JSON at all, has null in its place."""
    keep = (KeptField("a", "int"), KeptField("b", "string"))
    rows = rows_of(json_lines(tmp_path, line(b="x") + b"nonsense\n", keep=keep))
    assert [row.kept for row in rows] == [(None, "x"), (None, None)]


def test_articles_by_template() -> None:
    """The sample of articles is read by a template, and its ids are kept."""
    mapping = ColumnMapping(template=template("Sum up {title}: {text}"))
    rows = rows_of(open_reader(find([str(SAMPLES / "articles.jsonl")]), mapping))
    assert len(rows) == 30
    assert all(row.problem is None and row.id for row in rows)
