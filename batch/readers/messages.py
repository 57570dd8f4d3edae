"""From the messages of any dialect to ours: roles, texts, tool calls and their results.

Accepts the service's own form (`text`, `toolCallList`, `toolResultList`) and the form of chat messages
(`content`, `tool_calls`, role `tool`), message by message.
"""

from __future__ import annotations

import json

from batch.errors import RowInvalid
from batch.jsontext import Json, JsonObject, NotJson, parse
from batch.records import Message

_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "developer": "system", "tool": "user"}
_CONTENTS = ("text", "content", "toolCallList", "toolResultList", "tool_calls")


def read_messages(value: Json, field: str) -> tuple[Message, ...]:
    """Return the messages of a row's `field`; raises `RowInvalid` that says which one is wrong and why."""
    if isinstance(value, str):  # a Parquet column may hold JSON text
        value = _parse(value, field, _SHAPE)
    if not isinstance(value, list):
        raise RowInvalid(f'"{field}" is {kind(value)}, not a list of messages', hint=_SHAPE)
    if not value:
        raise RowInvalid(f'"{field}" is an empty list', hint=_SHAPE)
    names: dict[str, str] = {}
    return tuple(_joined([_message(number, item, names) for number, item in enumerate(value, 1)]))


_SHAPE = 'write [{"role": "user", "text": "…"}]'


def kind(value: Json) -> str:
    """Return what a JSON value is, for a sentence."""
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", dict: "an object"}
    return "null" if value is None else names.get(type(value), "a list")


def _parse(text: str, field: str, shape: str) -> Json:
    try:
        return parse(text)
    except NotJson as error:
        raise RowInvalid(f'"{field}" is a text that is not JSON: {error}', hint=shape) from None


def _message(number: int, value: Json, names: dict[str, str]) -> Message:
    if not isinstance(value, dict):
        raise RowInvalid(f"message {number} is {kind(value)}, not an object", hint=_SHAPE)
    role = _role(number, value)
    given = [name for name in _CONTENTS if value.get(name) is not None]
    if value.get("tool_calls") == []:  # as some servers write it where there are none
        given.remove("tool_calls")
    if value.get("role") == "tool":
        return _openai_result(number, value, names)
    if "tool_calls" in given and value.get("content") in (None, ""):
        return Message("assistant", tool_calls=_openai_calls(number, value["tool_calls"], names))
    if not given:
        raise RowInvalid(f"message {number} has no text", hint='give it a "text" (or "content")')
    if len(given) > 1:
        raise RowInvalid(
            f'message {number} has both "{given[0]}" and "{given[1]}"', hint="keep exactly one of them"
        )
    return _content(number, role, given[0], value[given[0]])


def _role(number: int, value: JsonObject) -> str:
    role = value.get("role")
    if role is None:
        raise RowInvalid(f"message {number} has no role", hint='use "system", "user" or "assistant"')
    if not isinstance(role, str) or role not in _ROLES:
        shown = json.dumps(role, ensure_ascii=False)[:60]
        raise RowInvalid(
            f"message {number} has the unknown role {shown}", hint='use "system", "user" or "assistant"'
        )
    return _ROLES[role]


def _content(number: int, role: str, name: str, value: Json) -> Message:
    if name == "toolCallList":
        return Message(role, tool_calls=_calls(number, value))
    if name == "toolResultList":
        return Message(role, tool_results=_results(number, value))
    text = _parts(number, value) if name == "content" and isinstance(value, list) else value
    if not isinstance(text, str):
        raise RowInvalid(f'the "{name}" of message {number} is {kind(text)}, not a text', hint="put it in quotes")
    if not text.strip():
        raise RowInvalid(f"message {number} has an empty text", hint="remove the message or give it a text")
    return Message(role, text)


def _parts(number: int, parts: list[Json]) -> str:
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise RowInvalid(
                f"the content of message {number} has a part that is no text", hint="only text can be sent"
            )
        texts.append(text)
    return "\n".join(texts)


def _calls(number: int, value: Json) -> JsonObject:
    calls = value.get("toolCalls") if isinstance(value, dict) else None
    if not isinstance(calls, list) or not calls:
        raise _tools_invalid(number, '{"toolCalls": [{"functionCall": {"name": "…", "arguments": {…}}}]}')
    return {"toolCalls": [_function(number, call, "functionCall", "arguments") for call in calls]}


def _results(number: int, value: Json) -> JsonObject:
    results = value.get("toolResults") if isinstance(value, dict) else None
    if not isinstance(results, list) or not results:
        raise _tools_invalid(number, '{"toolResults": [{"functionResult": {"name": "…", "content": "…"}}]}')
    return {"toolResults": [_function(number, item, "functionResult", "content") for item in results]}


def _function(number: int, value: Json, wrapper: str, payload: str) -> JsonObject:
    inner = value.get(wrapper) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise _tools_invalid(number, f'{{"{wrapper}": {{"name": "…", "{payload}": …}}}}')
    content = inner.get(payload)
    if payload == "arguments" and isinstance(content, str):
        content = _parse(content, "arguments", 'write a JSON object, "{}" where there are none')
    if not isinstance(content, dict if payload == "arguments" else str):
        raise _tools_invalid(number, f'{{"{wrapper}": {{"name": "…", "{payload}": …}}}}')
    return {wrapper: {"name": inner["name"], payload: content}}


def _tools_invalid(number: int, shape: str) -> RowInvalid:
    return RowInvalid(f"message {number} has tool calls or results of a wrong shape", hint=f"write {shape}")


def _openai_calls(number: int, value: Json, names: dict[str, str]) -> JsonObject:
    """Translate `[{"id", "function": {"name", "arguments": JSON text}}]`; the service's calls have no ids."""
    calls: list[Json] = []
    for call in value if isinstance(value, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        calls.append(_function(number, {"functionCall": function}, "functionCall", "arguments"))
        if isinstance(call, dict) and isinstance(function, dict):
            names[str(call.get("id"))] = str(function.get("name"))
    if not calls:
        raise _tools_invalid(number, '[{"id": "…", "function": {"name": "…", "arguments": "{…}"}}]')
    return {"toolCalls": calls}


def _openai_result(number: int, value: JsonObject, names: dict[str, str]) -> Message:
    content = value.get("content")
    text = _parts(number, content) if isinstance(content, list) else content
    name = value.get("name") or names.get(str(value.get("tool_call_id")))
    if not isinstance(text, str) or not isinstance(name, str):
        raise RowInvalid(
            f"message {number} is a tool's result without a text, or answers no call before it",
            hint='give it a "content" and the "tool_call_id" of an earlier call',
        )
    result: JsonObject = {"functionResult": {"name": name, "content": text}}
    return Message("user", tool_results={"toolResults": [result]})


def _joined(messages: list[Message]) -> list[Message]:
    """Put neighbouring tool results into one message: the service wants all results of a call together."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last.tool_results is None or message.tool_results is None:
            joined.append(message)
            continue
        earlier, later = last.tool_results["toolResults"], message.tool_results["toolResults"]
        if isinstance(earlier, list) and isinstance(later, list):
            joined[-1] = Message("user", tool_results={"toolResults": [*earlier, *later]})
    return joined
