"""What a row asks for itself: model, options, tools, JSON; in the service's own field names.

Every field is checked here, before anything is paid: the service refuses unknown fields and wrong types, and
would do so row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from batch.errors import RowInvalid
from batch.jsontext import Json, JsonObject, NotJson, parse
from batch.parsing import nearest
from batch.readers.messages import kind
from batch.records import Options

T = TypeVar("T")
OVERRIDES = frozenset(
    ("modelUri", "completionOptions", "tools", "jsonObject", "jsonSchema", "parallelToolCalls", "toolChoice")
)
_OPTIONS = ("stream", "temperature", "maxTokens", "reasoningOptions")
_REASONING = ("DISABLED", "ENABLED_HIDDEN", "REASONING_MODE_UNSPECIFIED")
_CHOICES = ("AUTO", "NONE", "REQUIRED")
# gpt://<folder>/<model>[/<version>[@<suffix>]], or ds://<folder>/<id> of old tuned models.
_MODEL_URI = re.compile(r"(?:gpt|ds)://[^/\s]+/[^\s]+")
_MAX_INT64 = 2**63 - 1


def read_model(fields: Mapping[str, Json]) -> str | None:
    """Return the row's `modelUri`; raises `RowInvalid` where it cannot be one."""
    value = fields.get("modelUri")
    if value is None:
        return None
    if not isinstance(value, str) or not _MODEL_URI.fullmatch(value.strip()):
        raise RowInvalid(
            '"modelUri" is no model URI', hint="write gpt://FOLDER/MODEL or gpt://FOLDER/MODEL/VERSION"
        )
    return value.strip()


def read_options(fields: Mapping[str, Json]) -> Options:
    """Return what the row asks of the model; raises `RowInvalid` that names the field."""
    if OVERRIDES.isdisjoint(fields):
        return _NOTHING
    given = {name: _structure(name, value) for name in OVERRIDES if (value := fields.get(name)) is not None}
    if given.get("jsonObject") is True and "jsonSchema" in given:
        raise RowInvalid('"jsonObject" and "jsonSchema" are both set', hint="keep one of them")
    options = _object("completionOptions", given.get("completionOptions", {}), _OPTIONS)
    reasoning = _object("reasoningOptions", options.get("reasoningOptions") or {}, ("mode",))
    _optional(options, "stream", _boolean)  # an answer is the same streamed or not; it is asked for whole
    return Options(
        temperature=_optional(options, "temperature", _temperature),
        max_tokens=_optional(options, "maxTokens", _max_tokens),
        reasoning_mode=_optional(reasoning, "mode", _reasoning_mode),
        tools=_optional(given, "tools", _tools),
        tool_choice=_optional(given, "toolChoice", _tool_choice),
        parallel_tool_calls=_optional(given, "parallelToolCalls", _boolean),
        json_object=_optional(given, "jsonObject", _boolean),
        json_schema=_optional(given, "jsonSchema", _json_schema),
    )


_NOTHING = Options()


def _structure(name: str, value: Json) -> Json:
    """Parse structured fields that a Parquet column holds as JSON text."""
    if name == "modelUri" or not isinstance(value, str):
        return value
    try:
        return parse(value)
    except NotJson as error:
        raise RowInvalid(f'"{name}" is a text that is not JSON: {error}', hint="write a JSON object") from None


def _optional(fields: Mapping[str, Json], name: str, read: Callable[[str, Json], T]) -> T | None:
    value = fields.get(name)
    return None if value is None else read(name, value)


def _object(name: str, value: Json, known: tuple[str, ...]) -> JsonObject:
    if not isinstance(value, dict):
        raise RowInvalid(f'"{name}" is {kind(value)}, not an object', hint=f"it takes {', '.join(known)}")
    for field in value:
        if field not in known:
            near = nearest(field, known)
            raise RowInvalid(
                f'"{name}" has the unknown field "{field}"{near}', hint=f"it takes {', '.join(known)}"
            )
    return value


def _boolean(name: str, value: Json) -> bool:
    if not isinstance(value, bool):
        raise RowInvalid(f'"{name}" is {kind(value)}, not true or false', hint="write true or false")
    return value


def _temperature(name: str, value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowInvalid(f'"{name}" is {kind(value)}, not a number', hint="write a number from 0 to 1")
    if not 0 <= value <= 1:
        raise RowInvalid(f'"{name}" is {value}, outside 0 to 1', hint="write a number from 0 to 1")
    return float(value)


def _max_tokens(name: str, value: Json) -> int:
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[+-]?\d{1,19}", text):
        raise RowInvalid(f'"{name}" is no whole number', hint='write one above 0, such as "2000"')
    if not 0 < int(text) <= _MAX_INT64:
        wrong = "not above 0" if int(text) <= 0 else "more than 64 bits hold"
        raise RowInvalid(f'"{name}" is {int(text)}, {wrong}', hint='write one above 0, such as "2000"')
    return int(text)


def _reasoning_mode(name: str, value: Json) -> str:
    if not isinstance(value, str) or value not in _REASONING:
        raise RowInvalid(f'"reasoningOptions.{name}" is unknown', hint=f"write one of {', '.join(_REASONING)}")
    return value


def _tools(name: str, value: Json) -> list[Json]:
    shape = 'write [{"function": {"name": "…", "description": "…", "parameters": {JSON Schema}}}]'
    if not isinstance(value, list) or not value:
        raise RowInvalid(f'"{name}" is {kind(value)}, not a list of tools', hint=shape)
    tools: list[Json] = []
    for number, tool in enumerate(value, 1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowInvalid(f"tool {number} has no function with a name", hint=shape)
        _object(f"function of tool {number}", function, ("name", "description", "parameters", "strict"))
        if not isinstance(function.get("parameters") or {}, dict):
            raise RowInvalid(f"the parameters of tool {number} are no JSON Schema", hint=shape)
        if not isinstance(function.get("description") or "", str):
            raise RowInvalid(f"the description of tool {number} is no text", hint=shape)
        if not isinstance(function.get("strict") or False, bool):
            raise RowInvalid(f'"strict" of tool {number} is not true or false', hint=shape)
        tools.append({"function": {key: item for key, item in function.items() if item is not None}})
    return tools


def _tool_choice(name: str, value: Json) -> JsonObject:
    fields = _object(name, value, ("mode", "functionName"))
    known = isinstance(fields.get("functionName"), str) or fields.get("mode") in _CHOICES
    if len(fields) != 1 or not known:
        modes = ", ".join(_CHOICES)
        raise RowInvalid(
            f'"{name}" is unknown', hint=f'write {{"mode": one of {modes}}} or {{"functionName": "…"}}'
        )
    return fields


def _json_schema(name: str, value: Json) -> JsonObject:
    fields = _object(name, value, ("schema",))
    if not isinstance(fields.get("schema"), dict):
        raise RowInvalid(f'"{name}" holds no schema', hint='write {"schema": {JSON Schema}}')
    return fields
