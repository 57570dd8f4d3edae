"""JSON text and the typed shape of what it holds; the one home of orjson.

Everything that was parsed is a `Json`, never `Any`: whoever reads it asks with `isinstance`. Knows nothing
of conversations.
"""

from __future__ import annotations

import os
from typing import TypeAlias

import orjson

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
# Deeper than anything needs, and less deep than what orjson writes (254; it reads 1024) less what is put around.
MAX_DEPTH = 200
JsonObject: TypeAlias = "dict[str, Json]"
# Stands between lines that are parsed together. No text holds it by chance, and nobody can know it beforehand.
_BETWEEN = 1 << 62 | int.from_bytes(os.urandom(7), "big")
_JOINT = b",%d," % _BETWEEN


class NotJson(ValueError):
    """The text is not JSON; the message says where."""


def parse(text: bytes | str) -> Json:
    """Return the value that a JSON text stands for.

    Raises `NotJson` for anything outside RFC 8259 (NaN, bytes that are not UTF-8, lone surrogates), and for
    what is nested so deeply that it could not be written again. Integers beyond 64 bits become floats, as in
    JavaScript.
    """
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from None
    if len(text) > 2 * MAX_DEPTH and _openings(text) > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise NotJson(f"it is nested more than {MAX_DEPTH} levels deep")
    return value


def parse_lines(lines: bytes) -> list[Json] | None:
    """Return the values of lines, one to a line; None where a line is not exactly one value by itself.

    Several times as fast as `parse`, which is to say what is wrong. How deep they are nested is not looked at:
    see `are_shallow`.
    """
    joined = lines.replace(b"\n", _JOINT)
    joints = (len(joined) - len(lines)) // (len(_JOINT) - 1)
    try:
        found: list[Json] = orjson.loads(b"".join((b"[", joined, b"]")))
    except orjson.JSONDecodeError:
        return None
    # Where every joint stands between two values of the list, no value reaches over one, and none lies beside it.
    return found[::2] if len(found) == 2 * joints + 1 and found[1::2].count(_BETWEEN) == joints else None


def are_shallow(lines: bytes) -> bool:
    """Return whether none of these lines can be nested more deeply than `parse` takes."""
    return _openings(lines) <= MAX_DEPTH or all(_openings(line) <= MAX_DEPTH for line in lines.split(b"\n"))


def _openings(text: bytes | str) -> int:
    return text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")


def _deeper(value: Json, levels: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    items = value if isinstance(value, list) else value.values()
    return levels == 0 or any(_deeper(item, levels - 1) for item in items)


def encode(value: Json) -> bytes:
    """Return compact JSON in UTF-8, keys in the order in which they stand."""
    return orjson.dumps(value)


def encode_text(value: Json) -> str:
    """Return compact JSON as text, for a column or a line of output."""
    return orjson.dumps(value).decode()


def canonical(value: Json) -> bytes:
    """Return compact JSON with sorted keys: equal values give equal bytes, so it can be hashed."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
