"""The strict reading of request bodies: what is taken, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from batch.emulator.rejections import Rejected
from batch.emulator.wire import parse_completion, parse_tokenize

GATEWAY, SERVICE = "gateway", "service"
Body = Callable[..., dict[str, object]]


def user(**fields: object) -> list[object]:
    return [{"role": "user", **fields}]


def function(**fields: object) -> list[object]:
    return [{"function": {"name": "f", **fields}}]


REFUSED = {
    "unknown field": ({"foo": 1}, GATEWAY, 'unknown field "foo"'),
    "snake case": ({"model_uri": "gpt://f/m"}, GATEWAY, 'unknown field "model_uri"'),
    "unknown option": ({"completionOptions": {"topP": 1}}, GATEWAY, 'unknown field "topP"'),
    "unknown message field": ({"messages": user(content="x")}, GATEWAY, 'unknown field "content"'),
    "unknown tool field": ({"tools": [{"type": "function"}]}, GATEWAY, 'unknown field "type"'),
    "options no object": ({"completionOptions": 0}, GATEWAY, "completionOptions"),
    "messages no array": ({"messages": {"role": "user"}}, GATEWAY, "messages"),
    "text no string": ({"messages": user(text=5)}, GATEWAY, "text"),
    "stream no bool": ({"completionOptions": {"stream": "true"}}, GATEWAY, "stream"),
    "temperature a string": ({"completionOptions": {"temperature": "0.3"}}, GATEWAY, "temperature"),
    "temperature a bool": ({"completionOptions": {"temperature": True}}, GATEWAY, "temperature"),
    "max tokens a word": ({"completionOptions": {"maxTokens": "many"}}, GATEWAY, "maxTokens"),
    "max tokens a fraction": ({"completionOptions": {"maxTokens": 1.5}}, GATEWAY, "maxTokens"),
    "max tokens a bool": ({"completionOptions": {"maxTokens": True}}, GATEWAY, "maxTokens"),
    "reasoning mode": ({"completionOptions": {"reasoningOptions": {"mode": "ON"}}}, GATEWAY, "mode"),
    "text and calls": ({"messages": user(text="x", toolCallList={})}, GATEWAY, "oneof"),
    "calls and results": ({"messages": user(toolCallList={}, toolResultList={})}, GATEWAY, "oneof"),
    "call with id": (
        {"messages": user(toolCallList={"toolCalls": [{"id": "1", "functionCall": {"name": "f"}}]})},
        GATEWAY,
        'unknown field "id"',
    ),
    "arguments as text": (
        {"messages": user(toolCallList={"toolCalls": [{"functionCall": {"name": "f", "arguments": "{}"}}]})},
        GATEWAY,
        "arguments",
    ),
    "both formats": ({"jsonObject": True, "jsonSchema": {"schema": {}}}, GATEWAY, "oneof"),
    "bare schema": ({"jsonSchema": {"type": "object"}}, GATEWAY, 'unknown field "type"'),
    "tool choice a word": ({"toolChoice": "auto"}, GATEWAY, "toolChoice"),
    "tool choice mode": ({"toolChoice": {"mode": "auto"}}, GATEWAY, "mode"),
    "tool choice twice": ({"toolChoice": {"mode": "AUTO", "functionName": "f"}}, GATEWAY, "oneof"),
    "tool choice unknown": ({"toolChoice": {"functionName": "foo"}}, SERVICE, "invalid tool choice: foo"),
    "strict no bool": ({"tools": function(strict="yes")}, GATEWAY, "strict"),
    "nameless function": ({"tools": [{"function": {}}]}, SERVICE, "name"),
    "no messages": ({"messages": []}, SERVICE, "messages"),
    "role": ({"messages": [{"role": "boss", "text": "x"}]}, SERVICE, "invalid message role 'boss'"),
    "no role": ({"messages": [{"text": "x"}]}, SERVICE, "invalid message role ''"),
    "empty text": (
        {"messages": user(text="")},
        SERVICE,
        "text length is 0, which is outside the range (0, 100000]",
    ),
    "no content": ({"messages": user()}, SERVICE, "text length is 0"),
    "long text": ({"messages": user(text="ю" * 100_001)}, SERVICE, "text length is 100001"),
    "temperature above": ({"completionOptions": {"temperature": 1.01}}, SERVICE, "temperature"),
    "temperature below": ({"completionOptions": {"temperature": -1}}, SERVICE, "temperature"),
    "max tokens zero": ({"completionOptions": {"maxTokens": "0"}}, SERVICE, "max tokens"),
    "no model": ({"modelUri": None}, SERVICE, "Failed to parse model URI"),
    "bare model": ({"modelUri": "yandexgpt"}, SERVICE, "Failed to parse model URI"),
    "no folder": ({"modelUri": "gpt:///yandexgpt"}, SERVICE, "Failed to parse model URI"),
    "no name": ({"modelUri": "gpt://folder/"}, SERVICE, "Failed to parse model URI"),
    "long URI": ({"modelUri": "gpt://f/m/latest/x"}, SERVICE, "Failed to parse model URI"),
}


@pytest.mark.parametrize(("changes", "shape", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(body: Body, changes: dict[str, object], shape: str, words: str) -> None:
    """Each wrong field is a 400 in the shape of the part of the service that finds it."""
    with pytest.raises(Rejected) as caught:
        parse_completion(orjson.dumps(body(**changes)))
    assert caught.value.http_status == 400
    assert words in caught.value.message
    error = caught.value.body["error"]
    if shape == GATEWAY:
        assert caught.value.body == {"error": error, "code": 3, "message": error, "details": []}
    else:
        assert isinstance(error, dict)
        assert {**error, "message": ""} == {
            "grpcCode": 3,
            "httpCode": 400,
            "message": "",
            "httpStatus": "Bad Request",
            "details": [],
        }


ACCEPTED: dict[str, dict[str, object]] = {
    "no options": {"completionOptions": None},
    "max tokens as number": {"completionOptions": {"maxTokens": 2000}},
    "bounds of temperature": {"completionOptions": {"temperature": 1}},
    "null is absent": {"completionOptions": {"maxTokens": None, "temperature": None}},
    "model version": {"modelUri": "gpt://folder/yandexgpt/rc"},
    "tuned model": {"modelUri": "gpt://folder/yandexgpt-lite/latest@tuned1"},
    "old tuned model": {"modelUri": "ds://folder/abc"},
    "longest text": {"messages": user(text="ю" * 100_000)},
    "reasoning": {"completionOptions": {"reasoningOptions": {"mode": "ENABLED_HIDDEN"}}},
    "json object": {"jsonObject": True},
    "schema is free": {"jsonSchema": {"schema": {"anything": [{"goes": 1}]}}},
    "tool": {"tools": function(description="d", parameters={"any": {}}, strict=True)},
    "tool choice": {"tools": function(), "toolChoice": {"functionName": "f"}},
    "no parallel calls": {"parallelToolCalls": False},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts(body: Body, changes: dict[str, object]) -> None:
    """Every documented form of every field is taken."""
    parse_completion(orjson.dumps(body(**changes)))


def test_reads_a_conversation_with_tools(body: Body) -> None:
    """Calls and results keep their names, arguments and contents."""
    call = {"functionCall": {"name": "f", "arguments": {"n": [1, 2]}}}
    result = {"functionResult": {"name": "f", "content": "3"}}
    messages = [
        {"role": "user", "text": "add"},
        {"role": "assistant", "toolCallList": {"toolCalls": [call]}},
        {"role": "user", "toolResultList": {"toolResults": [result]}},
    ]
    request = parse_completion(orjson.dumps(body(messages=messages, tools=function())))
    assert request.messages[1].tool_calls[0].arguments == {"n": [1, 2]}
    assert (request.messages[2].tool_results[0].name, request.messages[2].tool_results[0].content) == (
        "f",
        "3",
    )
    assert request.max_tokens == 500
    assert (request.model.folder, request.model.name, request.model.version) == (
        "folder",
        "yandexgpt-lite",
        "latest",
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": }', "invalid character '}' looking for beginning of value"),
        (b"", "EOF"),
        (b'{"modelUri": "gpt', "unexpected EOF"),
        (b"[]", "an object is expected"),
        (b"\xff", "invalid UTF-8"),
    ],
)
def test_refuses_malformed_json(raw: bytes, message: str) -> None:
    """A body that is not a JSON object is refused in the words of the gateway (recorded)."""
    with pytest.raises(Rejected) as caught:
        parse_completion(raw)
    assert message in caught.value.message
    assert caught.value.body["code"] == 3


def test_reads_a_tokenizer_body() -> None:
    """The tokenizer takes a model and a text, and nothing else."""
    assert parse_tokenize(b'{"modelUri": "gpt://f/m", "text": "a"}').text == "a"
    with pytest.raises(Rejected, match="messages"):
        parse_tokenize(b'{"modelUri": "gpt://f/m", "messages": []}')
