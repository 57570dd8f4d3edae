"""Request bodies: exactly the documented form, and understood by a reader that is independent of it."""

from __future__ import annotations

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.auth import for_emulator
from batch.emulator.wire import parse_completion
from batch.errors import UsageError
from batch.jsontext import Json, JsonObject
from batch.providers.yandex import HOST, Models, YandexProvider
from batch.records import Message, Options, Request

URI = "gpt://b1g/yandexgpt-lite"
CLIENT = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
USER = Message("user", "Сколько будет 2+2? 😊")
SCHEMA: JsonObject = {"type": "object", "properties": {"город": {"type": "string"}}, "required": ["город"]}
TOOL: JsonObject = {"function": {"name": "weather", "description": "Погода", "parameters": SCHEMA}}
STRICT: JsonObject = {"function": {"name": "time", "description": "", "parameters": {}, "strict": True}}
CALLS: JsonObject = {"toolCalls": [{"functionCall": {"name": "weather", "arguments": {"город": "Пиза"}}}]}
RESULTS: JsonObject = {"toolResults": [{"functionResult": {"name": "weather", "content": "+20"}}]}


def _provider(folder: str | None = "b1g") -> YandexProvider:
    """Return a provider for its pure methods; the client is never opened."""
    return YandexProvider(CLIENT, for_emulator(), Models(folder), base_url=None, timeout_s=1, data_logging=True)


def _encoded(options: Options, *messages: Message) -> dict[str, Json]:
    body = _provider().encode(Request("yandexgpt-lite", messages or (USER,), options))
    parse_completion(body)  # raises where the service would refuse it
    decoded: dict[str, Json] = orjson.loads(body)
    return decoded


@pytest.mark.parametrize(
    ("options", "completion_options"),
    [
        (Options(), {}),
        (Options(temperature=0.0), {"temperature": 0.0}),
        (Options(temperature=0.3), {"temperature": 0.3}),
        (Options(temperature=1), {"temperature": 1}),
        (Options(max_tokens=1), {"maxTokens": "1"}),
        (Options(max_tokens=2**63 - 1), {"maxTokens": "9223372036854775807"}),
        (Options(reasoning_mode="DISABLED"), {"reasoningOptions": {"mode": "DISABLED"}}),
        (Options(reasoning_mode="ENABLED_HIDDEN"), {"reasoningOptions": {"mode": "ENABLED_HIDDEN"}}),
    ],
)
def test_completion_options(options: Options, completion_options: JsonObject) -> None:
    """What was asked stands in `completionOptions`, an int64 as a string; what was not asked is left out."""
    assert _encoded(options) == {
        "modelUri": URI,
        "completionOptions": {"stream": False, **completion_options},
        "messages": [{"role": "user", "text": "Сколько будет 2+2? 😊"}],
    }


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (Options(tools=[TOOL]), {"tools": [TOOL]}),
        (Options(tools=[TOOL, STRICT]), {"tools": [TOOL, STRICT]}),
        (
            Options(tools=[TOOL], tool_choice={"mode": "REQUIRED"}),
            {"tools": [TOOL], "toolChoice": {"mode": "REQUIRED"}},
        ),
        (
            Options(tools=[TOOL], tool_choice={"functionName": "weather"}),
            {"tools": [TOOL], "toolChoice": {"functionName": "weather"}},
        ),
        (
            Options(tools=[TOOL], parallel_tool_calls=False),
            {"tools": [TOOL], "parallelToolCalls": False},
        ),
        (Options(parallel_tool_calls=True), {"parallelToolCalls": True}),
        (Options(json_object=True), {"jsonObject": True}),
        (Options(json_object=False), {"jsonObject": False}),
        (Options(json_schema={"schema": SCHEMA}), {"jsonSchema": {"schema": SCHEMA}}),
        (Options(json_object=True, json_schema={"schema": SCHEMA}), {"jsonSchema": {"schema": SCHEMA}}),
    ],
)
def test_fields_beside_the_completion_options(options: Options, fields: JsonObject) -> None:
    """Tools and JSON answers are asked for in fields of their own, and a schema goes before `jsonObject`."""
    assert _encoded(options) == {
        "modelUri": URI,
        "completionOptions": {"stream": False},
        "messages": [{"role": "user", "text": "Сколько будет 2+2? 😊"}],
        **fields,
    }


def test_a_conversation_with_tools() -> None:
    """Calls and their results are sent back as the service gave them, each in place of a text."""
    turns = (
        Message("system", "Отвечай кратко."),
        USER,
        Message("assistant", tool_calls=CALLS),
        Message("user", tool_results=RESULTS),
    )
    assert _encoded(Options(tools=[TOOL]), *turns)["messages"] == [
        {"role": "system", "text": "Отвечай кратко."},
        {"role": "user", "text": "Сколько будет 2+2? 😊"},
        {"role": "assistant", "toolCallList": CALLS},
        {"role": "user", "toolResultList": RESULTS},
    ]


@pytest.mark.parametrize(
    ("model", "uri", "identity"),
    [
        ("yandexgpt-lite", "gpt://b1g/yandexgpt-lite", "gpt:yandexgpt-lite/latest"),
        ("yandexgpt-lite/latest", "gpt://b1g/yandexgpt-lite/latest", "gpt:yandexgpt-lite/latest"),
        ("yandexgpt/rc", "gpt://b1g/yandexgpt/rc", "gpt:yandexgpt/rc"),
        ("gpt://b1g/yandexgpt-lite", "gpt://b1g/yandexgpt-lite", "gpt:yandexgpt-lite/latest"),
        ("gpt://other/yandexgpt-lite", "gpt://other/yandexgpt-lite", "gpt:yandexgpt-lite/latest"),
        ("gpt://<folder_ID>/yandexgpt/rc", "gpt://b1g/yandexgpt/rc", "gpt:yandexgpt/rc"),
        ("gpt://${FOLDER_ID}/yandexgpt", "gpt://b1g/yandexgpt", "gpt:yandexgpt/latest"),
        ("gpt://b1g/llama/latest@tuned", "gpt://b1g/llama/latest@tuned", "gpt:llama/latest@tuned"),
        ("ds://b1g/tuned", "ds://b1g/tuned", "ds:tuned"),
    ],
)
def test_names_of_models(model: str, uri: str, identity: str) -> None:
    """A model becomes the URI of the folder that pays, and its identity is the same for every folder."""
    provider = _provider()
    assert provider.model_uri(model) == uri
    assert provider.identity(model) == identity
    body = provider.encode(Request(model, (USER,), Options()))
    assert parse_completion(body).model.text == uri


@pytest.mark.parametrize("model", ["yandexgpt", "yandexgpt/rc", "gpt://<folder_ID>/yandexgpt"])
def test_a_model_without_a_folder(model: str) -> None:
    """Where nobody names a folder, the sentence says how to name one; a whole URI needs none."""
    with pytest.raises(UsageError, match="FOLDER_ID or --folder") as failed:
        _provider(None).encode(Request(model, (USER,), Options()))
    assert "gpt://" in failed.value.hint
    assert _provider(None).model_uri("gpt://b1g/yandexgpt") == "gpt://b1g/yandexgpt"


def test_the_service_is_the_default() -> None:
    """Nothing but the documented host is asked, unless somebody says so."""
    assert HOST == "https://llm.api.cloud.yandex.net"


TEXTS = st.one_of(
    st.sampled_from(["Привет, мир!", "ping", '"\\\n\t', "👩‍👩‍👧 ёлка", "\u2028\x00\x7f"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
OBJECTS = st.dictionaries(
    TEXTS, st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2), max_leaves=4), max_size=3
)
NAMES = st.sampled_from(["weather", "время", "f_1"])
ALL_CALLS = st.builds(
    lambda name, arguments: {"toolCalls": [{"functionCall": {"name": name, "arguments": arguments}}]},
    NAMES,
    OBJECTS,
)
ALL_RESULTS = st.builds(
    lambda name, content: {"toolResults": [{"functionResult": {"name": name, "content": content}}]},
    NAMES,
    TEXTS,
)
MESSAGES = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS),
    st.builds(lambda calls: Message("assistant", tool_calls=calls), ALL_CALLS),
    st.builds(lambda results: Message("user", tool_results=results), ALL_RESULTS),
)
TOOLS = st.builds(
    lambda name, about, schema: {"function": {"name": name, "description": about, "parameters": schema}},
    NAMES,
    TEXTS,
    OBJECTS,
)
OPTIONS = st.builds(
    Options,
    temperature=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(1, 2**63 - 1),
    reasoning_mode=st.none() | st.sampled_from(["DISABLED", "ENABLED_HIDDEN", "REASONING_MODE_UNSPECIFIED"]),
    tools=st.none() | st.lists(TOOLS, max_size=2),
    tool_choice=st.none() | st.sampled_from([{"mode": "AUTO"}, {"mode": "NONE"}, {"mode": "REQUIRED"}]),
    parallel_tool_calls=st.none() | st.booleans(),
    json_object=st.none() | st.booleans(),
    json_schema=st.none() | st.builds(lambda schema: {"schema": schema}, OBJECTS),
)


@settings(max_examples=200, deadline=None)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=4), options=OPTIONS)
def test_every_body_is_one_that_the_service_takes(messages: list[Message], options: Options) -> None:
    """Whatever a row holds, a strict reader of the wire format understands its body as it was meant."""
    read = parse_completion(_provider().encode(Request("yandexgpt-lite", tuple(messages), options)))
    assert [(turn.role, turn.text) for turn in read.messages] == [(m.role, m.text or "") for m in messages]
    for turn, message in zip(read.messages, messages, strict=True):
        if message.tool_calls is not None:
            assert [
                {"functionCall": {"name": call.name, "arguments": call.arguments}} for call in turn.tool_calls
            ] == message.tool_calls["toolCalls"]
        assert bool(turn.tool_results) is (message.tool_results is not None)
    assert read.temperature == (0.3 if options.temperature is None else options.temperature)
    assert read.max_tokens == options.max_tokens
    assert read.reasoning is (options.reasoning_mode == "ENABLED_HIDDEN")
    assert len(read.tools) == len(options.tools or [])
    assert read.stream is False
    assert read.json_schema == (options.json_schema or {}).get("schema")
