"""The request bodies of the service, read strictly: JSON bytes in, frozen data out.

Pure, so that any test can prove with it that a body it holds is one the service takes.
An independent reading of the service's documentation; it knows nothing of how the
program under test writes its requests, nor of HTTP, quotas or models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from batch.emulator.fields import Fields, load
from batch.emulator.rejections import INVALID_ARGUMENT, gateway_error, model_error, session_error

#: From the service's documentation.
MAX_TEXT_CHARACTERS: Final = 100_000
ROLES: Final = frozenset({"system", "user", "assistant"})
REASONING_MODES: Final = frozenset({"REASONING_MODE_UNSPECIFIED", "DISABLED", "ENABLED_HIDDEN"})
TOOL_CHOICE_MODES: Final = frozenset({"TOOL_CHOICE_MODE_UNSPECIFIED", "NONE", "AUTO", "REQUIRED"})

GPT_URI: Final = re.compile(r"gpt://([^/\s]+)/([^/\s]+)(?:/([^/\s]+))?")
TUNED_URI: Final = re.compile(r"ds://([^/\s]+)/([^/\s]+)")

_REQUEST = frozenset(
    {
        *("modelUri", "completionOptions", "messages", "tools"),
        *("jsonObject", "jsonSchema", "parallelToolCalls", "toolChoice"),
    }
)
_OPTIONS = frozenset({"stream", "temperature", "maxTokens", "reasoningOptions"})
_MESSAGE = frozenset({"role", "text", "toolCallList", "toolResultList"})


@dataclass(frozen=True, slots=True)
class ModelUri:
    """`gpt://<folder>/<name>[/<version>]`, or `ds://<folder>/<name>` of an old tuned model."""

    text: str
    folder: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is a JSON object, and there is no id."""

    name: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a called function returned, as text."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: text, or calls, or results; never two of them."""

    role: str
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str
    parameters: dict[str, object]


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request as the service understands it, its defaults filled in.

    `max_tokens` is None where the request leaves it to the model; `forced_function` is the
    function named by `toolChoice`.
    """

    model: ModelUri
    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int | None
    stream: bool
    reasoning: bool
    tools: tuple[Tool, ...]
    tool_mode: str
    forced_function: str | None
    parallel_tool_calls: bool
    json_object: bool
    json_schema: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """A text to be cut into the tokens of a model."""

    model: ModelUri
    text: str


def parse_completion(body: bytes) -> CompletionRequest:
    """Read the body of `completion` and of `tokenizeCompletion`.

    Raises:
        Rejected: 400 in shape 2 (the gateway: malformed JSON, unknown field, wrong type) or
            in shape 1 (the service: model URI, roles, ranges, lengths).
    """
    fields = Fields(load(body), "request", _REQUEST)
    options = fields.nested("completionOptions", _OPTIONS)
    tools = tuple(_tool(item) for item in fields.array("tools"))
    mode, forced = _tool_choice(fields, tools)
    schema = _json_schema(fields)
    return CompletionRequest(
        model=model_uri(fields.string("modelUri")),
        messages=_messages(fields),
        temperature=_temperature(options),
        max_tokens=_max_tokens(options),
        stream=options.boolean("stream"),
        reasoning=_reasoning(options),
        tools=tools,
        tool_mode=mode,
        forced_function=forced,
        parallel_tool_calls=fields.boolean("parallelToolCalls", default=True),
        json_object=fields.boolean("jsonObject"),
        json_schema=schema,
    )


def parse_tokenize(body: bytes) -> TokenizeRequest:
    """Read the body of `tokenize`; refuses as `parse_completion` does."""
    fields = Fields(load(body), "request", frozenset({"modelUri", "text"}))
    text = fields.string("text")
    _check_length(text)
    return TokenizeRequest(model=model_uri(fields.string("modelUri")), text=text)


def model_uri(text: str) -> ModelUri:
    """Take a model URI apart; the version is "latest" unless the URI says otherwise."""
    if match := GPT_URI.fullmatch(text):
        return ModelUri(text, match[1], match[2], match[3] or "latest")
    if match := TUNED_URI.fullmatch(text):
        return ModelUri(text, match[1], match[2], "latest")
    raise model_error(INVALID_ARGUMENT, "Failed to parse model URI")


def _messages(fields: Fields) -> tuple[Message, ...]:
    items = fields.array("messages")
    if not items:
        raise session_error("empty messages")
    return tuple(_message(item) for item in items)


def _message(value: object) -> Message:
    fields = Fields(value, "messages", _MESSAGE)
    role, text = fields.string("role"), fields.string("text")
    set_fields = [name for name in ("text", "toolCallList", "toolResultList") if fields.has(name)]
    if len(set_fields) > 1:
        raise gateway_error(f'error parsing "{set_fields[1]}", oneof Content is already set')
    if role not in ROLES:
        raise session_error(f"invalid message role '{role}'")
    if fields.has("toolCallList"):
        calls = fields.nested("toolCallList", frozenset({"toolCalls"}))
        return Message(role, "", tool_calls=tuple(_call(item) for item in calls.array("toolCalls")))
    if fields.has("toolResultList"):
        results = fields.nested("toolResultList", frozenset({"toolResults"}))
        return Message(role, "", tool_results=tuple(_result(item) for item in results.array("toolResults")))
    _check_length(text)
    return Message(role, text)


def _check_length(text: str) -> None:
    if not 0 < len(text) <= MAX_TEXT_CHARACTERS:
        raise session_error(f"text length is {len(text)}, which is outside the range (0, {MAX_TEXT_CHARACTERS}]")


def _call(value: object) -> ToolCall:
    outer = Fields(value, "toolCalls", frozenset({"functionCall"}))
    inner = outer.nested("functionCall", frozenset({"name", "arguments"}))
    return ToolCall(_function_name(inner), inner.free("arguments"))


def _result(value: object) -> ToolResult:
    outer = Fields(value, "toolResults", frozenset({"functionResult"}))
    inner = outer.nested("functionResult", frozenset({"name", "content"}))
    return ToolResult(_function_name(inner), inner.string("content"))


def _tool(value: object) -> Tool:
    outer = Fields(value, "tools", frozenset({"function"}))
    names = frozenset({"name", "description", "parameters", "strict"})
    inner = outer.nested("function", names)
    inner.boolean("strict")
    return Tool(_function_name(inner), inner.string("description"), inner.free("parameters"))


def _function_name(function: Fields) -> str:
    name = function.string("name")
    if not name:
        raise session_error("function name is empty")
    return name


def _tool_choice(fields: Fields, tools: tuple[Tool, ...]) -> tuple[str, str | None]:
    """The mode, and the function that must be called."""
    if not fields.has("toolChoice"):
        return "AUTO", None
    choice = fields.nested("toolChoice", frozenset({"mode", "functionName"}))
    if choice.has("mode") and choice.has("functionName"):
        raise gateway_error('error parsing "functionName", oneof ToolChoice is already set')
    if choice.has("functionName"):
        name = choice.string("functionName")
        if name not in {tool.name for tool in tools}:
            raise session_error(f"invalid tool choice: {name}")
        return "REQUIRED", name
    mode = choice.string("mode")
    if mode not in TOOL_CHOICE_MODES:
        raise gateway_error(f'invalid value for enum field mode: "{mode}"')
    return ("AUTO" if mode == "TOOL_CHOICE_MODE_UNSPECIFIED" else mode), None


def _json_schema(fields: Fields) -> dict[str, object] | None:
    if not fields.has("jsonSchema"):
        return None
    if fields.has("jsonObject"):
        raise gateway_error('error parsing "jsonSchema", oneof ResponseFormat is already set')
    return fields.nested("jsonSchema", frozenset({"schema"})).free("schema")


def _temperature(options: Fields) -> float:
    value = options.number("temperature")
    if value is None:
        return 0.3
    if not 0 <= value <= 1:
        raise session_error(f"temperature is {value:g}, which is outside the range [0, 1]")
    return value


def _max_tokens(options: Fields) -> int | None:
    value = options.int64("maxTokens")
    if value is not None and value <= 0:
        raise session_error(f"max tokens is {value}, which must be greater than 0")
    return value


def _reasoning(options: Fields) -> bool:
    if not options.has("reasoningOptions"):
        return False
    mode = options.nested("reasoningOptions", frozenset({"mode"})).string("mode")
    if mode and mode not in REASONING_MODES:
        raise gateway_error(f'invalid value for enum field mode: "{mode}"')
    return mode == "ENABLED_HIDDEN"
