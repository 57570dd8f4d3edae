"""Bad rows of JSON Lines: each costs itself, and says what is wrong and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import SAMPLES, json_lines, line, row_of, rows_of, template

from batch.readers import ColumnMapping, open_reader
from batch.storage import find

LINES = [
    pytest.param(b'{"id": "cut off', "the line is not JSON", id="cut off"),
    pytest.param(b"{'messages': []}", "the line is not JSON", id="Python and not JSON"),
    pytest.param(b'{"messages": [], "x": NaN}', "the line is not JSON", id="NaN"),
    pytest.param(line().strip() + line(), "the line is not JSON", id="two objects on a line"),
    pytest.param(b'["user", "text"]', "the line is a list, not a JSON object", id="list"),
    pytest.param(b"42", "the line is a number, not a JSON object", id="number"),
    pytest.param(b"null", "the line is null, not a JSON object", id="null"),
    pytest.param(b"true", "the line is true or false, not a JSON object", id="boolean"),
    pytest.param(b'"text"', "the line is a text, not a JSON object", id="text"),
    pytest.param(b'{"a": "\xcf\xf0\xe8"}', "byte 8 of the line is not UTF-8", id="not UTF-8"),
    pytest.param("{}".encode("utf-16"), "byte 1 of the line is not UTF-8", id="UTF-16"),
    pytest.param(b'{"a": "\\ud800"}', "the line is not JSON", id="lone surrogate, escaped"),
    pytest.param(b'{"a": "\xed\xa0\x80"}', "byte 8 of the line is not UTF-8", id="lone surrogate, raw"),
    pytest.param(b'{"a": "\x00"}', "the line is not JSON", id="control character"),
    pytest.param(b"{}", "the row has no messages", id="empty object"),
    pytest.param(b'{"messages": null}', "the row has no messages", id="null messages"),
]

MESSAGES = [
    pytest.param([], '"messages" is an empty list', id="empty list"),
    pytest.param("Where?", '"messages" is a text that is not JSON', id="text"),
    pytest.param({"role": "user"}, '"messages" is an object, not a list of messages', id="object"),
    pytest.param(7, '"messages" is a number, not a list of messages', id="number"),
    pytest.param(["Where?"], "message 1 is a text, not an object", id="message is a text"),
    pytest.param([None], "message 1 is null, not an object", id="message is null"),
    pytest.param([[]], "message 1 is a list, not an object", id="message is a list"),
    pytest.param([{"text": "a"}], "message 1 has no role", id="no role"),
    pytest.param([{"role": None, "text": "a"}], "message 1 has no role", id="null role"),
    pytest.param([{"role": "bot", "text": "a"}], 'message 1 has the unknown role "bot"', id="role"),
    pytest.param([{"role": "User", "text": "a"}], 'unknown role "User"', id="role in capitals"),
    pytest.param([{"role": 1, "text": "a"}], "message 1 has the unknown role 1", id="role is a number"),
    pytest.param([{"role": ["user"], "text": "a"}], "message 1 has the unknown role", id="role is a list"),
    pytest.param([{"role": "user"}], "message 1 has no text", id="no text"),
    pytest.param([{"role": "user", "content": None}], "message 1 has no text", id="null content"),
    pytest.param([{"role": "user", "text": ""}], "message 1 has an empty text", id="empty text"),
    pytest.param([{"role": "user", "text": " \n"}], "message 1 has an empty text", id="blank text"),
    pytest.param([{"role": "user", "content": []}], "message 1 has an empty text", id="no parts"),
    pytest.param([{"role": "user", "text": 5}], 'the "text" of message 1 is a number', id="number"),
    pytest.param([{"role": "user", "text": ["a"]}], 'the "text" of message 1 is a list', id="text list"),
    pytest.param([{"role": "user", "content": {}}], 'the "content" of message 1 is an object', id="object"),
    pytest.param(
        [{"role": "user", "text": "a", "content": "b"}], 'message 1 has both "text" and "content"', id="both"
    ),
    pytest.param(
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}],
        "the content of message 1 has a part that is no text",
        id="picture",
    ),
    pytest.param(
        [{"role": "user", "text": "a"}, {"role": "assistant", "text": ""}],
        "message 2 has an empty text",
        id="the message's number",
    ),
    pytest.param(
        [{"role": "assistant", "toolCallList": {}}], "tool calls or results of a wrong shape", id="no calls"
    ),
    pytest.param(
        [{"role": "assistant", "toolCallList": {"toolCalls": [{"functionCall": {"name": "f"}}]}}],
        "tool calls or results of a wrong shape",
        id="call without arguments",
    ),
    pytest.param(
        [{"role": "user", "toolResultList": {"toolResults": [{"functionResult": {"name": "f"}}]}}],
        "tool calls or results of a wrong shape",
        id="result without content",
    ),
    pytest.param(
        [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}],
        '"arguments" is a text that is not JSON',
        id="arguments cut off",
    ),
    pytest.param(
        [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[]"}}]}],
        "tool calls or results of a wrong shape",
        id="arguments are a list",
    ),
    pytest.param(
        [{"role": "assistant", "tool_calls": "call"}], "tool calls or results of a wrong shape", id="calls"
    ),
    pytest.param(
        [{"role": "tool", "tool_call_id": "other", "content": "7"}],
        "answers no call before it",
        id="result of no call",
    ),
    pytest.param(
        [{"role": "tool", "name": "f", "content": None}], "a tool's result without a text", id="empty result"
    ),
]

SCHEMA = {"schema": {"type": "object"}}
TOOL = {"function": {"name": "f", "parameters": {}}}
OVERRIDES = [
    pytest.param({"modelUri": "yandexgpt"}, '"modelUri" is no model URI', id="model's name"),
    pytest.param({"modelUri": "gpt//f/yandexgpt"}, '"modelUri" is no model URI', id="mistyped URI"),
    pytest.param({"modelUri": "gpt://f"}, '"modelUri" is no model URI', id="URI without a model"),
    pytest.param({"modelUri": 7}, '"modelUri" is no model URI', id="model is a number"),
    pytest.param({"completionOptions": 7}, '"completionOptions" is a number, not an object', id="options"),
    pytest.param({"completionOptions": "x"}, '"completionOptions" is a text that is not JSON', id="text"),
    pytest.param(
        {"completionOptions": {"maxToken": 5}},
        '"completionOptions" has the unknown field "maxToken" (did you mean maxTokens?)',
        id="misspelt option",
    ),
    pytest.param({"completionOptions": {"topP": 0.9}}, 'the unknown field "topP"', id="unknown option"),
    pytest.param(
        {"completionOptions": {"temperature": 1.7}}, '"temperature" is 1.7, outside 0 to 1', id="too hot"
    ),
    pytest.param({"completionOptions": {"temperature": -1}}, "outside 0 to 1", id="too cold"),
    pytest.param(
        {"completionOptions": {"temperature": "warm"}}, '"temperature" is a text, not a number', id="warm"
    ),
    pytest.param(
        {"completionOptions": {"temperature": True}}, '"temperature" is true or false', id="temperature true"
    ),
    pytest.param({"completionOptions": {"maxTokens": "0"}}, '"maxTokens" is 0, not above 0', id="zero"),
    pytest.param({"completionOptions": {"maxTokens": -2}}, '"maxTokens" is -2, not above 0', id="negative"),
    pytest.param({"completionOptions": {"maxTokens": 1.5}}, '"maxTokens" is no whole number', id="half"),
    pytest.param({"completionOptions": {"maxTokens": "many"}}, '"maxTokens" is no whole number', id="many"),
    pytest.param({"completionOptions": {"maxTokens": True}}, '"maxTokens" is no whole number', id="true"),
    pytest.param(
        {"completionOptions": {"maxTokens": 2**63}}, f'"maxTokens" is {2**63}, more than 64 bits', id="huge"
    ),
    pytest.param({"completionOptions": {"stream": "yes"}}, '"stream" is a text, not true or false', id="stream"),
    pytest.param(
        {"completionOptions": {"reasoningOptions": {"mode": "ON"}}},
        '"reasoningOptions.mode" is unknown',
        id="reasoning mode",
    ),
    pytest.param(
        {"completionOptions": {"reasoningOptions": {"modus": "DISABLED"}}},
        '"reasoningOptions" has the unknown field "modus" (did you mean mode?)',
        id="reasoning field",
    ),
    pytest.param({"tools": {"name": "f"}}, '"tools" is an object, not a list of tools', id="tools"),
    pytest.param({"tools": []}, "not a list of tools", id="no tools"),
    pytest.param({"tools": [{"name": "f"}]}, "tool 1 has no function with a name", id="tool"),
    pytest.param(
        {"tools": [TOOL, {"function": {"name": "f", "params": {}}}]},
        '"function of tool 2" has the unknown field "params" (did you mean parameters?)',
        id="field of a tool",
    ),
    pytest.param({"tools": [{"function": {"name": "f", "parameters": "x"}}]}, "no JSON Schema", id="parameters"),
    pytest.param(
        {"tools": [{"function": {"name": "f", "description": 1}}]}, "description of tool 1", id="description"
    ),
    pytest.param({"tools": [{"function": {"name": "f", "strict": "y"}}]}, '"strict" of tool 1', id="strict"),
    pytest.param({"toolChoice": {"mode": "SOMETIMES"}}, '"toolChoice" is unknown', id="tool choice"),
    pytest.param({"toolChoice": "auto"}, '"toolChoice" is a text that is not JSON', id="choice as text"),
    pytest.param(
        {"toolChoice": {"mode": "AUTO", "functionName": "f"}}, '"toolChoice" is unknown', id="two choices"
    ),
    pytest.param({"parallelToolCalls": 1}, '"parallelToolCalls" is a number', id="parallel calls"),
    pytest.param({"jsonObject": "yes"}, '"jsonObject" is a text that is not JSON', id="jsonObject"),
    pytest.param({"jsonSchema": {"type": "object"}}, 'the unknown field "type"', id="bare schema"),
    pytest.param({"jsonSchema": {"schema": None}}, '"jsonSchema" holds no schema', id="null schema"),
    pytest.param({"jsonObject": True, "jsonSchema": SCHEMA}, "are both set", id="two kinds of JSON"),
]


def _assert_invalid(folder: Path, bad: bytes, reason: str, **mapping: object) -> None:
    before, row, after = rows_of(json_lines(folder, line() + bad.rstrip(b"\n") + b"\n" + line(), **mapping))
    assert before.problem is None
    assert after.problem is None
    assert row.problem is not None
    assert reason in row.problem.reason
    assert row.problem.fix
    assert "\n" not in row.problem.reason + row.problem.fix
    assert (row.messages, row.dialect, row.model, row.line, row.position) == ((), None, None, 2, 1)


@pytest.mark.parametrize(("bad", "reason"), LINES)
def test_bad_lines(tmp_path: Path, bad: bytes, reason: str) -> None:
    """A line that is no row of ours is invalid, with a reason and a mend, between two good ones."""
    _assert_invalid(tmp_path, bad, reason)


@pytest.mark.parametrize(("messages", "reason"), MESSAGES)
def test_bad_messages(tmp_path: Path, messages: object, reason: str) -> None:
    """Messages that cannot be sent make the row invalid and name the message."""
    _assert_invalid(tmp_path, line(messages=messages), reason)


@pytest.mark.parametrize(("fields", "reason"), OVERRIDES)
def test_bad_overrides(tmp_path: Path, fields: dict[str, object], reason: str) -> None:
    """What a row asks for itself is checked before anything is paid, and the field is named."""
    _assert_invalid(tmp_path, line(**fields), reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, 'the field "text" is not there'),
        ({"text": None}, 'the field "text" is empty'),
        ({"text": " "}, "the text is empty"),
        ({"text": ["a"]}, 'the field "text" is a list, not a text'),
        ({"text": {"a": 1}}, 'the field "text" is an object, not a text'),
    ],
)
@pytest.mark.parametrize("by", ["column", "template"])
def test_bad_texts(tmp_path: Path, fields: dict[str, object], reason: str, by: str) -> None:
    """A row without the text that the run's columns name is invalid, by column and by template."""
    row = row_of(
        tmp_path,
        line(**fields),
        **({"prompt_column": "text"} if by == "column" else {"template": template("{text}")}),
    )
    assert row.problem is not None
    assert reason in row.problem.reason
    assert row.problem.fix


def test_a_text_longer_than_any_model_reads(tmp_path: Path) -> None:
    """A template that makes a monstrous text of a row makes it invalid, not a request."""
    row = row_of(tmp_path, line(text="x" * 1_500_000), template=template("{text}{text}{text}"))
    assert row.problem is not None
    assert "longer than any model reads" in row.problem.reason


def test_a_row_of_texts_gets_advice(tmp_path: Path) -> None:
    """A row without messages but with a text field is told of `--prompt-column` by that name."""
    row = row_of(tmp_path, b'{"id": "7", "rating": 5, "review": "Good", "modelUri": "gpt://f/m"}')
    assert row.problem is not None
    assert '--prompt-column "review"' in row.problem.fix


def test_the_broken_sample() -> None:
    """The sample of one fault per row has exactly its six good rows, and each bad one its own reason."""
    rows = rows_of(open_reader(find([str(SAMPLES / "broken.jsonl")]), ColumnMapping()))
    good = [row.id for row in rows if row.problem is None]
    bad = [row.problem for row in rows if row.problem is not None]
    assert good == [f"good-{n}" for n in range(1, 7)]
    assert len(bad) == 27
    assert all(problem.reason and problem.fix for problem in bad)
    assert len({problem.reason for problem in bad}) >= 25
    assert all(row.id is None or row.id.startswith("bad-") for row in rows if row.problem)
