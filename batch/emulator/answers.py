"""What the model says: an answer that depends on the request and on nothing else.

The same request gets the same answer, whenever and however often it is asked. Knows
nothing of money, faults or HTTP; how an answer looks on the wire is in `replies`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import orjson

from batch.emulator import prose
from batch.emulator.examples import example
from batch.emulator.tokenizer import pieces, prompt_tokens
from batch.emulator.wire import CompletionRequest, Message, Tool, ToolCall

#: In the last user message it makes the filter stop the answer.
FILTER_MARK: Final = "[[filter]]"
#: The old cap of the service's documentation, in force where a request names no limit.
DEFAULT_MAX_TOKENS: Final = 2_000
#: What hidden reasoning costs, before `maxTokens` cuts it.
REASONING_TOKENS: Final = (20, 200)

FINAL: Final = "ALTERNATIVE_STATUS_FINAL"
PARTIAL: Final = "ALTERNATIVE_STATUS_PARTIAL"
TRUNCATED: Final = "ALTERNATIVE_STATUS_TRUNCATED_FINAL"
CONTENT_FILTER: Final = "ALTERNATIVE_STATUS_CONTENT_FILTER"
TOOL_CALLS: Final = "ALTERNATIVE_STATUS_TOOL_CALLS"


@dataclass(frozen=True, slots=True)
class Answer:
    """An alternative and its usage.

    `completion_tokens` is one more than the tokens of the text (as recorded) plus
    `reasoning_tokens`, and never more than the request's `maxTokens`.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    status: str
    input_tokens: int
    completion_tokens: int
    reasoning_tokens: int


def prompt(request: CompletionRequest) -> list[str]:
    """The tokens of the whole chat template; a completion is billed for exactly these."""
    extras: list[object] = [[tool.name, tool.description, tool.parameters] for tool in request.tools]
    if request.json_schema is not None:
        extras.append(request.json_schema)
    preamble = orjson.dumps(extras).decode() if extras else ""
    return prompt_tokens([_said(message) for message in request.messages], preamble)


def digest(request: CompletionRequest) -> str:
    """16 hexadecimal digits, the same for the same messages."""
    said = [[message.role, _said(message)] for message in request.messages]
    return blake2b(orjson.dumps(said), digest_size=8).hexdigest()


def generate(
    request: CompletionRequest,
    *,
    input_tokens: int,
    seed: int,
    lengths: tuple[int, int],
    context_tokens: int,
) -> Answer:
    """Answer a request.

    Args:
        request: what is asked.
        input_tokens: the length of its `prompt`.
        seed: the emulator's.
        lengths: the least and the most tokens that prose aims at.
        context_tokens: bounds input and answer together.
    """
    source = random.Random(f"{seed} {request.model.text} {digest(request)}")
    limit = min(request.max_tokens or DEFAULT_MAX_TOKENS, max(1, context_tokens - input_tokens))
    reasoning = min(source.randint(*REASONING_TOKENS), limit // 2) if request.reasoning else 0
    text, calls, status = _say(request, source, lengths)
    kept, tokens, whole = fit(text, limit - reasoning)
    if not whole and status != CONTENT_FILTER:
        calls, status = (), TRUNCATED
    return Answer("" if calls else kept, calls, status, input_tokens, tokens + reasoning, reasoning)


def fit(text: str, limit: int) -> tuple[str, int, bool]:
    """Cut a text to at most `limit` tokens, its end included.

    Returns:
        What is left of it, its tokens, and whether it is whole.
    """
    cut = pieces(text)
    if len(cut) + 1 <= limit:
        return text, len(cut) + 1, True
    # A single token shows one piece and has no end (recorded: "E" is 1).
    kept = max(1, limit - 1)
    return "".join(cut[:kept]), min(kept + 1, limit), False


def _say(
    request: CompletionRequest, source: random.Random, lengths: tuple[int, int]
) -> tuple[str, tuple[ToolCall, ...], str]:
    asked = _last_user_text(request.messages)
    if FILTER_MARK in asked:
        return prose.filtered(asked), (), CONTENT_FILTER
    if chosen := _chosen_tools(request, asked):
        calls = tuple(_call(tool, source) for tool in chosen)
        return _calls_text(calls), calls, TOOL_CALLS
    if request.json_schema is not None:
        return orjson.dumps(example(request.json_schema, source)).decode(), (), FINAL
    text = prose.answer(asked, source.randint(*lengths), source)
    if request.json_object:
        value = {"answer": text, "confidence": round(source.random(), 2)}
        return orjson.dumps(value).decode(), (), FINAL
    return text, (), FINAL


def _chosen_tools(request: CompletionRequest, asked: str) -> list[Tool]:
    """The tools to call: what must be called, or what the user names (unless it was called just now)."""
    if not request.tools or request.tool_mode == "NONE":
        return []
    if request.forced_function is not None:
        return [tool for tool in request.tools if tool.name == request.forced_function]
    named = [tool for tool in request.tools if tool.name in asked]
    if request.tool_mode == "REQUIRED":
        named = named or [request.tools[0]]
    elif request.messages[-1].tool_results:
        return []
    return named if request.parallel_tool_calls else named[:1]


def _call(tool: Tool, source: random.Random) -> ToolCall:
    value = example({"type": "object", **tool.parameters}, source)
    return ToolCall(tool.name, value if isinstance(value, dict) else {})


def _last_user_text(messages: tuple[Message, ...]) -> str:
    return next((m.text for m in reversed(messages) if m.role == "user" and m.text), "")


def _said(message: Message) -> str:
    """A message as the model reads it."""
    if message.tool_calls:
        return _calls_text(message.tool_calls)
    if message.tool_results:
        return orjson.dumps([[result.name, result.content] for result in message.tool_results]).decode()
    return message.text


def _calls_text(calls: tuple[ToolCall, ...]) -> str:
    return orjson.dumps([[call.name, call.arguments] for call in calls]).decode()
