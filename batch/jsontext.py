"""JSON text and the typed shape of what it holds; the one home of orjson.

Everything that was parsed is a `Json`, never `Any`: whoever reads it asks with `isinstance`. Knows nothing
of conversations.
"""

from __future__ import annotations

from typing import TypeAlias

import orjson

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
# Deeper than anything needs, and less deep than what orjson writes (254; it reads 1024) less what is put around.
MAX_DEPTH = 200
JsonObject: TypeAlias = "dict[str, Json]"


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
    data = text.encode() if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise NotJson(f"it is nested more than {MAX_DEPTH} levels deep")
    return value


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
