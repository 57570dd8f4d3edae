"""Strict reading of one JSON object, as the service's gateway does it (proto3 JSON mapping).

A field that the message does not define is an error at any level, a field of another type
is an error, and `null` is the same as an absent field. The names are those of the JSON
mapping (lowerCamelCase) alone: the mapping would take the original snake_case names too,
but nobody should write them. Knows nothing of what the fields mean.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from batch.emulator.rejections import gateway_error

INT64: Final = re.compile(r"-?\d{1,19}", re.ASCII)


def load(body: bytes) -> object:
    """Decode a request body.

    Raises:
        Rejected: shape 2 with the words of the gateway's decoder (recorded), for malformed JSON.
    """
    try:
        decoded: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body.strip():
            raise gateway_error("EOF") from error
        try:
            at = body.decode()[error.pos : error.pos + 1]
        except UnicodeDecodeError:
            raise gateway_error("invalid UTF-8 in the request") from error
        if not at:
            raise gateway_error("unexpected EOF") from error
        raise gateway_error(f"invalid character '{at}' looking for beginning of value") from error
    return decoded


class Fields:
    """One JSON object, of which only the named fields may be present.

    Args:
        value: what stood in the body.
        where: the object's own field name, for messages.
        names: the fields that the message defines.

    Raises:
        Rejected: shape 2, where the value is no object or has an unknown field.
    """

    __slots__ = ("_values",)

    def __init__(self, value: object, where: str, names: frozenset[str]) -> None:
        """Check the names."""
        if not isinstance(value, dict):
            raise gateway_error(f"invalid value for {where}: an object is expected")
        for name in value:
            if name not in names:
                raise gateway_error(f'unknown field "{name}"')
        self._values: dict[str, object] = value

    def has(self, name: str) -> bool:
        """Whether the field is set; `null` is not."""
        return self._values.get(name) is not None

    def string(self, name: str) -> str:
        """A string field, "" where it is absent."""
        value = self._values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._mistyped(name, "string")
        return value

    def boolean(self, name: str, default: bool = False) -> bool:
        """A bool field."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._mistyped(name, "bool")
        return value

    def number(self, name: str) -> float | None:
        """A double field, None where it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._mistyped(name, "double")
        return float(value)

    def int64(self, name: str) -> int | None:
        """An int64 field: a JSON string of digits, or a number without a fraction."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, str) and INT64.fullmatch(value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        raise self._mistyped(name, "int64")

    def array(self, name: str) -> list[object]:
        """A repeated field, empty where it is absent."""
        value = self._values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._mistyped(name, "array")
        return value

    def nested(self, name: str, names: frozenset[str]) -> Fields:
        """A message field, read as strictly; where it is absent, a message without fields."""
        value = self._values.get(name)
        return Fields({} if value is None else value, name, names)

    def free(self, name: str) -> dict[str, object]:
        """A free-form object (a JSON Schema, the arguments of a call): any names, any depth."""
        value = self._values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._mistyped(name, "object")
        return value

    def _mistyped(self, name: str, kind: str) -> Exception:
        shown = orjson.dumps(self._values.get(name)).decode()[:80]
        return gateway_error(f"invalid value for {kind} field {name}: {shown}")
