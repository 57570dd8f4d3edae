"""A value that satisfies a simple JSON Schema, chosen by a seeded random.

For structured answers and for the arguments of calls. It understands what such schemas
use (types, enum, const, required, bounds, local references, the first of several
alternatives) and nothing of who asks or why.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from batch.emulator.prose import WORDS

#: A recursive schema ends here: deeper arrays are empty and optional properties absent.
MAX_DEPTH: Final = 5


def example(schema: dict[str, object], source: random.Random) -> object:
    """A value for `schema`; an empty schema, which allows anything, gets a string."""
    return _Sampler(schema, source).value(schema, 0)


class _Sampler:
    """One schema being filled in; keeps the root for its references."""

    def __init__(self, root: dict[str, object], source: random.Random) -> None:
        self._root = root
        self._source = source
        self._by_type: dict[str, Callable[[dict[str, object], int], object]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda _schema, _depth: source.random() < 0.5,
            "null": lambda _schema, _depth: None,
        }

    def value(self, schema: object, depth: int) -> object:
        if not isinstance(schema, dict):
            return self._string({}, depth)
        if "const" in schema:
            return schema["const"]
        if choices := _list(schema, "enum"):
            return self._source.choice(choices)
        if isinstance(reference := schema.get("$ref"), str) and depth <= 2 * MAX_DEPTH:
            return self.value(self._resolve(reference), depth + 1)
        for several in ("anyOf", "oneOf", "allOf"):
            if alternatives := _list(schema, several):
                return self.value(alternatives[-1 if depth > MAX_DEPTH else 0], depth + 1)
        return self._by_type.get(_type(schema), self._string)(schema, depth)

    def _resolve(self, reference: str) -> object:
        place: object = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            place = place.get(step) if isinstance(place, dict) else None
        return place

    def _object(self, schema: dict[str, object], depth: int) -> object:
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        required = [name for name in _list(schema, "required") if isinstance(name, str)]
        names = required if depth > MAX_DEPTH else [*known, *(n for n in required if n not in known)]
        return {name: self.value(known.get(name, {}), depth + 1) for name in names}

    def _array(self, schema: dict[str, object], depth: int) -> object:
        least = _integer(schema, "minItems", 0)
        most = _integer(schema, "maxItems", max(least, 3))
        wanted = least if depth > MAX_DEPTH else self._source.randint(max(least, min(1, most)), most)
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(min(wanted, least + 3))]

    def _string(self, schema: dict[str, object], _depth: int) -> object:
        least = _integer(schema, "minLength", 0)
        text = " ".join(self._source.choice(WORDS) for _ in range(2))
        while len(text) < least:
            text += " " + self._source.choice(WORDS)
        return text[: _integer(schema, "maxLength", max(len(text), least))]

    def _integer(self, schema: dict[str, object], _depth: int) -> object:
        low, high = _bounds(schema, step=1)
        return self._source.randint(int(low), max(int(low), int(high)))

    def _number(self, schema: dict[str, object], _depth: int) -> object:
        low, high = _bounds(schema, step=1e-6)
        return min(max(round(self._source.uniform(low, high), 3), low), high)


def _type(schema: dict[str, object]) -> str:
    declared = schema.get("type")
    if isinstance(declared, list):
        declared = next((name for name in declared if name != "null"), "null")
    if isinstance(declared, str):
        return declared
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _list(schema: dict[str, object], name: str) -> list[object]:
    value = schema.get(name)
    return value if isinstance(value, list) else []


def _integer(schema: dict[str, object], name: str, default: int) -> int:
    value = schema.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _bounds(schema: dict[str, object], step: float) -> tuple[float, float]:
    low, high = _number(schema, "minimum"), _number(schema, "maximum")
    above, below = _number(schema, "exclusiveMinimum"), _number(schema, "exclusiveMaximum")
    if low is None and above is not None:
        low = above + step
    if high is None and below is not None:
        high = below - step
    if low is None:
        low = 0.0 if high is None or high >= 0 else high - 100
    return low, (low + 100 if high is None else high)


def _number(schema: dict[str, object], name: str) -> float | None:
    value = schema.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
