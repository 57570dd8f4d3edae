"""Which dialect a row speaks, and what it says: from a row's fields to a conversation.

Each dialect is one entry of `_DIALECTS`, tried in order: the field by which it is recognised, and its name
for people. A run that names a prompt column or a template makes the text dialect of every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from batch.errors import RowInvalid
from batch.jsontext import Json, encode_text
from batch.readers.base import MAX_ROW_BYTES, ColumnMapping
from batch.readers.messages import kind, read_messages
from batch.readers.overrides import OVERRIDES, read_model, read_options
from batch.records import Message, Options, Problem, Row

TEXT_COLUMN = "text column"
_DIALECTS = {"messages": "service request", "request": "service dataset"}
_CHAT = "chat messages"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a row says, before it has a place: `consumed` is the field that its messages came from."""

    dialect: str
    messages: tuple[Message, ...]
    options: Options
    model: str | None
    consumed: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its position over all inputs from 0, its file, its line (or row) from 1."""

    position: int
    file: str
    line: int

    def row(
        self,
        reading: Reading | RowInvalid,
        identity: str | None,
        extra: str | None = None,
        kept: tuple[Json, ...] = (),
    ) -> Row:
        """Return the row that stands here: what was read of it, or what is wrong with it."""
        problem = Problem(str(reading), reading.hint) if isinstance(reading, RowInvalid) else None
        said = _NOTHING_SAID if isinstance(reading, RowInvalid) else reading
        return Row(
            self.position,
            self.file,
            self.line,
            said.dialect or None,
            said.messages,
            said.options,
            said.model,
            problem,
            identity,
            extra,
            kept,
        )


_NOTHING_SAID = Reading("", (), Options(), None, None)


def interpret(fields: Mapping[str, Json], mapping: ColumnMapping) -> Reading:
    """Return what a row says; raises `RowInvalid` with the reason and the mend."""
    if mapping.prompt_column or mapping.template:
        dialect, consumed = TEXT_COLUMN, None if mapping.template else mapping.prompt_column
        messages: tuple[Message, ...] = (Message("user", _text(fields, mapping)),)
    else:
        consumed = next((name for name in _DIALECTS if fields.get(name) is not None), None)
        if consumed is None:
            raise _no_messages(fields)
        messages = read_messages(fields[consumed], consumed)
        dialect = _CHAT if _speaks_chat(fields[consumed]) else _DIALECTS[consumed]
    if sum(len(message.text or "") for message in messages) > MAX_ROW_BYTES:
        raise RowInvalid("the conversation is longer than any model reads", hint="shorten or split it")
    return Reading(dialect, messages, read_options(fields), read_model(fields), consumed)


def row_id(fields: Mapping[str, Json], mapping: ColumnMapping) -> str | None:
    """Return what names the row: its id column, else a field `id` or `custom_id`; None where there is none.

    Raises `RowInvalid` where an id column was named and the row has no value in it.
    """
    if mapping.id_column is None:
        value = fields.get("id", fields.get("custom_id"))
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    value = fields.get(mapping.id_column)
    if value is None or value == "" or isinstance(value, list | dict):
        raise RowInvalid(f'"{mapping.id_column}" names no id', hint="give every row an id, or drop --id-column")
    return str(value)


def _speaks_chat(messages: Json) -> bool:
    if isinstance(messages, str):
        return '"content"' in messages
    first = messages[0] if isinstance(messages, list) else None
    return isinstance(first, dict) and "content" in first and first.get("content") is not None


def _no_messages(fields: Mapping[str, Json]) -> RowInvalid:
    texts = [name for name, value in fields.items() if isinstance(value, str) and name not in OVERRIDES]
    advice = 'give it "messages" or "request"'
    if texts:
        advice += f', or name the field that holds the text, such as --prompt-column "{texts[-1][:40]}"'
    return RowInvalid("the row has no messages", hint=advice)


def _text(fields: Mapping[str, Json], mapping: ColumnMapping) -> str:
    if mapping.template is not None:
        text = "".join(literal + _field(fields, name) for literal, name in mapping.template.parts)
    else:
        text = _field(fields, mapping.prompt_column)
    if not text.strip():
        raise RowInvalid("the text is empty", hint="leave the row out, or give it a text")
    return text


def _field(fields: Mapping[str, Json], name: str | None) -> str:
    if name is None:
        return ""
    value = fields.get(name)
    if value is None or (isinstance(value, float) and not isfinite(value)):  # NaN: Parquet's other "nothing"
        raise RowInvalid(f'the field "{name}" is {"empty" if name in fields else "not there"}', hint=_FIELD)
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        raise RowInvalid(f'the field "{name}" is {kind(value)}, not a text', hint=_FIELD)
    return encode_text(value)


_FIELD = "every row needs the fields that --prompt-column or --template name"
