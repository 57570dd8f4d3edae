"""What travels through the house: conversations in, requests out, completions back, one answer per row.

Frozen data and nothing else. Knows no file format, no service and no journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import TYPE_CHECKING

from batch.jsontext import Json, JsonObject, canonical
from batch.parsing import Money

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    import pyarrow as pa


class Status(Enum):
    """What became of a row; the values of the output column `status`."""

    OK = "ok"
    FAILED = "failed"
    INVALID = "invalid"
    PENDING = "pending"


class FinishReason(Enum):
    """Why the model stopped; the values of the output column `finish_reason`."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: a role (`system`, `user`, `assistant`) and exactly one of the three contents.

    `tool_calls` and `tool_results` hold the service's `toolCallList` and `toolResultList` objects.
    """

    role: str
    text: str | None = None
    tool_calls: JsonObject | None = None
    tool_results: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run or a single row asks of the model; None means that nobody asked.

    `temperature` 0 to 1; `max_tokens` above 0; `reasoning_mode`, `tools`, `tool_choice` and `json_schema` in
    the service's own form.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_mode: str | None = None
    tools: list[Json] | None = None
    tool_choice: JsonObject | None = None
    parallel_tool_calls: bool | None = None
    json_object: bool | None = None
    json_schema: JsonObject | None = None

    def over(self, defaults: Options) -> Options:
        """Return these options, with `defaults` where nothing was asked."""
        asked = self.asked()
        if not asked:
            return defaults
        if "json_object" in asked or "json_schema" in asked:  # the service takes one of the two
            defaults = replace(defaults, json_object=None, json_schema=None)
        return replace(defaults, **asked)  # type: ignore[arg-type]  # by name from the same class

    def asked(self) -> JsonObject:
        """Return the options that somebody asked for, by name."""
        return {name: value for name in _OPTION_NAMES if (value := getattr(self, name)) is not None}


_OPTION_NAMES = tuple(field.name for field in fields(Options))


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to buy: a model as the user named it (a name or a URI), the messages, the options."""

    model: str
    messages: tuple[Message, ...]
    options: Options

    def fingerprint(self, model_identity: str) -> str:
        """Return 32 hex digits that are equal exactly where everything that determines the answer is.

        `model_identity` is the model without the folder that pays for it. The hash is BLAKE2b of 16 bytes
        (RFC 7693): at a thousand million rows two different ones meet with a probability of about 1e-21.
        """
        turns: list[Json] = [[turn.role, turn.text, turn.tool_calls, turn.tool_results] for turn in self.messages]
        determined: Json = [model_identity, turns, self.options.asked()]
        return hashlib.blake2b(canonical(determined), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be sent, and how to mend it."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Row:
    """One input row, understood or not.

    `position` counts from 0 over all inputs; `file` and `line` (from 1; the row's number in Parquet) are for
    people. A row with a `problem` has no messages. `id`, `extra` and `kept` are what JSON Lines rows carry
    into the output; in Parquet the columns travel by themselves (`Chunk.columns`).
    """

    position: int
    file: str
    line: int
    dialect: str | None
    messages: tuple[Message, ...]
    options: Options
    model: str | None
    problem: Problem | None
    id: str | None = None
    extra: str | None = None
    kept: tuple[Json, ...] = ()

    @property
    def where(self) -> str:
        """Return `file:line`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the run asks where a row asks nothing: a model, a system prompt, options."""

    model: str
    system: str | None
    options: Options

    def request(self, row: Row) -> Request:
        """Return what is to be bought for a row that has no problem."""
        messages = row.messages
        if self.system and not any(message.role == "system" for message in messages):
            messages = (Message("system", self.system), *messages)
        return Request(row.model or self.model, messages, row.options.over(self.options))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of consecutive rows; `columns` are a Parquet input's own columns, untouched, one line per row."""

    rows: Sequence[Row]
    columns: pa.RecordBatch | None = None


@dataclass(frozen=True, slots=True)
class KeyedChunk:
    """A chunk whose rows have their requests and keys; None for rows that cannot be sent.

    `first` is false for a row that shares the key of an earlier one, and so its answer.
    """

    chunk: Chunk
    requests: Sequence[Request | None]
    keys: Sequence[str | None]
    first: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one completion as the service stated them; None where it did not."""

    input_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request was charged, or may be charged at most: tokens in and out, and their price where known."""

    input_tokens: int
    output_tokens: int
    cost: Money | None

    @property
    def tokens(self) -> int:
        """Return the tokens in and out."""
        return self.input_tokens + self.output_tokens


NOTHING_CHARGED = Charge(0, 0, None)


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model answered: a text or tool calls (JSON text), why it stopped, and what it used."""

    text: str | None
    tool_calls: str | None
    finish_reason: FinishReason
    usage: Usage
    model_version: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back over the wire, not yet judged: `retry_after` in seconds, secrets already removed."""

    http_status: int
    body: bytes
    retry_after: float | None = None
    server_request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequestIds:
    """The names under which a row is sent: the same for all its attempts, in this run and the next."""

    client_request_id: str
    idempotency_key: str

    @classmethod
    def of(cls, journal: str, row_key: str) -> RequestIds:
        """Return the ids of a row in a journal (its identity), the same whenever they are asked for.

        A service that honours the idempotency key then charges once, even for a row that is asked again
        because a crash hid its answer. UUIDs of version 8 (RFC 9562): halves of one BLAKE2b of 32 bytes.
        """
        digest = hashlib.blake2b(row_key.encode(), digest_size=32, key=journal.encode()).hexdigest()
        return cls(_uuid8(digest[:32]), _uuid8(digest[32:]))


def _uuid8(digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one output row says; the fields are the output's columns, in their order.

    Counts are int64 or None, never guessed; money is decimal; `latency_s` seconds; `finished_at` UTC.
    """

    row_key: str | None = None
    status: Status = Status.PENDING
    completion: str | None = None
    finish_reason: FinishReason | None = None
    tool_calls: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    model: str | None = None
    model_version: str | None = None
    input_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    cost: Decimal | None = None
    currency: str | None = None
    attempts: int = 0
    latency_s: float | None = None
    request_id: str | None = None
    operation_id: str | None = None
    finished_at: datetime | None = None
