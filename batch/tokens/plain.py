"""Rows that plainly are conversations, of any JSON dialect: what they say, for many lines at once or for one.

Plain is a row whose messages are texts with a role and nothing else. Whatever is not is for the reader, who knows
what to make of it, or what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import itemgetter
from typing import TypeGuard

from batch.jsontext import Json, JsonObject, NotJson, are_shallow, encode, parse, parse_lines

# Fields with which a row asks for something itself.
_ASKING = frozenset(
    ("completionOptions", "jsonObject", "jsonSchema", "modelUri", "parallelToolCalls", "toolChoice", "tools")
)
_NESTED = frozenset((dict, list))
_ROLES = frozenset(("system", "user", "assistant"))


@dataclass(frozen=True, slots=True)
class Plain:
    """Plain rows that ask for the same: `asked` is that as JSON, `texts` are all of theirs."""

    rows: int
    texts: list[str]
    asked: bytes


def plain_lines(lines: bytes, system: str | None) -> Plain | None:
    """Return what several lines say; None where they have to be looked at one by one.

    Not one statement here is executed row by row: that is what makes a million rows quick. `system` is the run's
    system prompt, for rows without one.
    """
    rows = parse_lines(lines)
    if not rows or not _are_objects(rows):
        return None
    names: set[str] = set().union(*rows)
    field = "messages" if "messages" in names else "request"
    try:
        talks: list[Json] = [*map(itemgetter(field), rows)]
        if not _are_lists(talks) or not all(talks):
            return None
        turns = list(chain.from_iterable(talks))
        if not _are_objects(turns) or set(map(len, turns)) != {2}:
            return None
        texts: list[Json] = [*map(itemgetter("content" if "content" in turns[0] else "text"), turns)]
        roles: set[Json] = {*map(itemgetter("role"), turns)}
        asked = _asked_alike(rows, names)
    except (KeyError, TypeError):  # a field that is not there, a role that is no text, a wish of too many levels
        return None
    if not roles <= _ROLES or not _are_texts(texts) or not all(texts) or any(map(str.isspace, texts)):
        return None
    if asked is None or not (_are_flat(rows, names - _ASKING - {field}) or are_shallow(lines)):
        return None
    if system:
        texts += [system] * (len(rows) - (_prompted(talks) if "system" in roles else 0))
    return Plain(len(rows), texts, asked)


def plain_line(line: bytes, system: str | None) -> Plain | None:
    """Return what one line says; None where it is for the reader."""
    try:
        fields = parse(line)
    except NotJson:
        return None
    if type(fields) is not dict:
        return None
    texts = _plain_texts(fields, system)
    return None if texts is None else Plain(1, texts, _asked(fields))


def _are_objects(values: Sequence[Json]) -> TypeGuard[Sequence[JsonObject]]:
    return set(map(type, values)) == {dict}


def _are_lists(values: Sequence[Json]) -> TypeGuard[Sequence[list[Json]]]:
    return set(map(type, values)) == {list}


def _are_texts(values: list[Json]) -> TypeGuard[list[str]]:
    return set(map(type, values)) == {str}


def _are_flat(rows: Sequence[JsonObject], names: set[str]) -> bool:
    """Return whether nothing is nested in these fields."""
    return all(_NESTED.isdisjoint(map(type, map(dict.get, rows, repeat(name)))) for name in names)


def _asked_alike(rows: Sequence[JsonObject], names: set[str]) -> bytes | None:
    """Return what all of these rows ask for; None where they differ."""
    for name in names & _ASKING:
        values: list[Json] = list(map(dict.get, rows, repeat(name)))
        # As JSON: to Python True is 1, to a service it is not.
        if encode(values) != b"[%b]" % b",".join([encode(values[0])] * len(rows)):
            return None
    return _asked(rows[0])


def _prompted(talks: Iterable[list[Json]]) -> int:
    """Return how many of these have a system prompt of their own."""
    return sum(any(type(turn) is dict and turn["role"] == "system" for turn in turns) for turns in talks)


def _plain_texts(fields: JsonObject, system: str | None) -> list[str] | None:
    """Return the texts of a row whose messages are texts and nothing else, with the run's system prompt."""
    turns = fields.get("messages")
    if turns is None:
        turns = fields.get("request")
    if type(turns) is not list or not turns:
        return None
    texts: list[str] = []
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2:
            return None
        text = turn.get("content") or turn.get("text")
        if type(text) is not str or not text or text.isspace():
            return None
        role = turn.get("role")
        if role == "system":
            system = None
        elif role != "user" and role != "assistant":
            return None
        texts.append(text)
    if system:
        texts.append(system)
    return texts


def _asked(fields: JsonObject) -> bytes:
    asked: JsonObject = {name: value for name in _ASKING if (value := fields.get(name)) is not None}
    return encode(asked) if asked else _NOTHING


_NOTHING = b""
