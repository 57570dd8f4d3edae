"""The output: one row per input row, in input order, in a fixed schema, and never half a file.

Parquet or JSON Lines, by the name's ending. It is written under a temporary name and then renamed, so the
file that stands under the output's name is always whole.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import ChatbatchError, UsageError
from batch.journal import Stored
from batch.jsontext import Json, JsonObject, encode, encode_text
from batch.parsing import KeptField
from batch.records import Answer, Completion, KeyedChunk, Reply, Request, RequestIds, Row, Status
from batch.storage import python_rows

SCHEMA_VERSION = 1
ROW_GROUP_ROWS = 4096
PREFIX = "chatbatch_"
METADATA_KEY = "chatbatch"

# One entry per column of what came back, in the output's order; the names are `Answer`'s fields.
COLUMNS: dict[str, pa.DataType] = {
    "row_key": pa.string(),
    "status": pa.string(),
    "completion": pa.string(),
    "finish_reason": pa.string(),
    "tool_calls": pa.string(),
    "error_code": pa.string(),
    "error_message": pa.string(),
    "model": pa.string(),
    "model_version": pa.string(),
    "input_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "reasoning_tokens": pa.int64(),
    "total_tokens": pa.int64(),
    "cost": pa.decimal128(18, 6),
    "currency": pa.string(),
    "attempts": pa.int64(),
    "latency_s": pa.float64(),
    "request_id": pa.string(),
    "operation_id": pa.string(),
    "finished_at": pa.timestamp("us", tz="UTC"),
}
_KEPT_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "json": pa.string(),
}
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))
Judge: TypeAlias = Callable[[Reply], Completion]


@dataclass(slots=True)
class Totals:
    """What an output holds: rows by status, and the sums of what the service stated.

    `unstated` answers came without their tokens; `unpriced` ones have no cost.
    """

    rows: dict[str, int] = field(default_factory=lambda: {status.value: 0 for status in Status})
    input_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost: dict[str, Decimal] = field(default_factory=dict)
    unpriced: int = 0
    unstated: int = 0

    def add(self, answer: Answer) -> None:
        """Count one row."""
        self.rows[answer.status.value] += 1
        self.input_tokens += answer.input_tokens or 0
        self.completion_tokens += answer.completion_tokens or 0
        self.total_tokens += answer.total_tokens or 0
        self.unstated += answer.status is Status.OK and None in (answer.input_tokens, answer.completion_tokens)
        if answer.cost is not None and answer.currency is not None:
            self.cost[answer.currency] = self.cost.get(answer.currency, Decimal(0)) + answer.cost
        elif answer.status is Status.OK:
            self.unpriced += 1

    def facts(self) -> JsonObject:
        """Return the totals for the file's metadata."""
        return {
            "rows": dict(self.rows),
            "input_tokens": self.input_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "cost": {currency: f"{amount:f}" for currency, amount in sorted(self.cost.items())},
            "rows_without_cost": self.unpriced,
            "rows_without_tokens": self.unstated,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """The output's columns: the input's own (or those of JSON Lines rows), then the answer's."""

    schema: pa.Schema
    from_parquet: bool
    clashes: tuple[str, ...]

    @classmethod
    def of(cls, own: pa.Schema | None, keep: Sequence[KeptField]) -> Layout:
        """Return the layout for an input's columns, or for JSON Lines with kept fields where None.

        A column of the answer whose name the input has already gets a prefix; raises `UsageError` where even
        that is taken.
        """
        incoming = list(own) if own is not None else _json_lines_columns(keep)
        taken = {column.name for column in incoming}
        clashes = tuple(name for name in COLUMNS if name in taken)
        names = {name: PREFIX + name if name in clashes else name for name in COLUMNS}
        if doubled := taken.intersection(PREFIX + name for name in clashes):
            raise UsageError(
                f"The input has columns {', '.join(sorted(doubled))} already: is it an output?",
                hint="Rename or drop them.",
            )
        answers = [pa.field(names[name], kind) for name, kind in COLUMNS.items()]
        return cls(pa.schema([*incoming, *answers]), own is not None, clashes)

    def batch(self, chunk: KeyedChunk, answers: Sequence[Answer]) -> pa.RecordBatch:
        """Return a chunk's rows with their answers as one batch of the schema."""
        columns = chunk.chunk.columns
        rows = chunk.chunk.rows
        incoming = list(columns.columns) if columns is not None else self._json_lines(rows)
        count = len(self.schema) - len(COLUMNS)
        outgoing = [
            pa.array([_arrow_value(getattr(answer, name)) for answer in answers], kind)
            for name, kind in COLUMNS.items()
        ]
        return pa.RecordBatch.from_arrays([*incoming[:count], *outgoing], schema=self.schema)

    def _json_lines(self, rows: Sequence[Row]) -> list[pa.Array[pa.Scalar[pa.DataType]]]:
        kept = self.schema.types[3 : len(self.schema) - len(COLUMNS)]
        return [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([_turns(row) for row in rows], _MESSAGES),
            pa.array([row.extra for row in rows], pa.string()),
            *(pa.array([row.kept[n] for row in rows], kind) for n, kind in enumerate(kept)),
        ]


def _json_lines_columns(keep: Sequence[KeptField]) -> list[pa.Field[pa.DataType]]:
    columns = [pa.field("id", pa.string()), pa.field("messages", _MESSAGES), pa.field("extra", pa.string())]
    columns += [pa.field(item.name, _KEPT_TYPES[item.type]) for item in keep]
    if len({column.name for column in columns}) != len(columns):
        raise UsageError("--keep names a column twice, or one of id, messages and extra.")
    return columns


def _turns(row: Row) -> list[dict[str, str | None]] | None:
    if not row.messages:
        return None
    return [{"role": message.role, "text": message.text} for message in row.messages]


def _arrow_value(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def assemble(
    row: Row, request: Request | None, key: str | None, stored: Stored | None, judge: Judge, journal: str
) -> Answer:
    """Return what the output says of a row, from what the journal holds of it."""
    if row.problem is not None or request is None or key is None:
        problem = row.problem
        message = f"{row.where}: {problem.reason}; {problem.fix}" if problem else row.where
        return Answer(status=Status.INVALID, error_code="INVALID_ROW", error_message=message)
    if stored is None:
        return Answer(row_key=key, model=request.model)
    result, completion = stored.result, None
    if result.status is Status.OK and stored.reply is not None:
        completion = judge(stored.reply)
    usage = result.usage
    return Answer(
        row_key=key,
        status=result.status,
        completion=completion.text if completion else None,
        finish_reason=completion.finish_reason if completion else None,
        tool_calls=completion.tool_calls if completion else None,
        error_code=result.error_code,
        error_message=result.error_message,
        model=stored.model or request.model,
        model_version=completion.model_version if completion else None,
        input_tokens=usage.input_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_tokens=usage.total_tokens,
        cost=result.cost.amount if result.cost else None,
        currency=result.cost.currency if result.cost else None,
        attempts=result.attempts,
        latency_s=result.latency_s,
        request_id=RequestIds.of(journal, key).client_request_id,
        operation_id=stored.operation_id,
        finished_at=datetime.fromtimestamp(result.finished_at, UTC),
    )


class _Sink(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self, facts: JsonObject) -> None: ...

    def abandon(self) -> None: ...


class _ParquetSink:
    """Row groups of `ROW_GROUP_ROWS`, zstd."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        if sum(held.num_rows for held in self._batches) >= ROW_GROUP_ROWS:
            self._flush()

    def close(self, facts: JsonObject) -> None:
        self._flush()
        self._writer.add_key_value_metadata({METADATA_KEY: encode_text(facts)})
        self._writer.close()

    def abandon(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches = []


class _JsonLinesSink:
    """One object a line, with the columns' names; money, times and other types as text."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("wb")
        self._schema = schema

    def write(self, batch: pa.RecordBatch) -> None:
        for line in python_rows(batch):
            self._file.write(encode({name: _json_value(value) for name, value in line.items()}) + b"\n")

    def close(self, facts: JsonObject) -> None:
        del facts  # JSON Lines has no place for them
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


def _json_value(value: object) -> Json:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):  # a map's entries are tuples
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


_SINKS: dict[str, Callable[[Path, pa.Schema], _Sink]] = {
    ".parquet": _ParquetSink,
    ".jsonl": _JsonLinesSink,
    ".ndjson": _JsonLinesSink,
}


def check_name(output: Path) -> None:
    """Raise `UsageError` where the output's ending names no format."""
    if output.suffix.lower() not in _SINKS:
        raise UsageError(f"{output}: the output's name has to end in {', '.join(_SINKS)}.")


def write(
    output: Path,
    layout: Layout,
    rows: Iterable[tuple[KeyedChunk, Sequence[Answer]]],
    facts: JsonObject,
    *,
    owned: bool = True,
) -> Totals:
    """Write the output and return its totals; `facts` say how it was made and go into Parquet's metadata.

    `owned`: whether the caller holds the output, and so may remove what killed runs left of it.
    The old file stands until the new one is whole and on disk. Raises `ChatbatchError` where it cannot be
    written; the journal still has everything.
    """
    totals = Totals()
    try:
        with _replacing(output, owned=owned) as unfinished:
            sink = _SINKS[output.suffix.lower()](unfinished, layout.schema)
            with ExitStack() as on_failure:
                on_failure.callback(sink.abandon)
                for chunk, answers in rows:
                    for answer in answers:
                        totals.add(answer)
                    sink.write(layout.batch(chunk, answers))
                sink.close({"schema_version": SCHEMA_VERSION, **facts, "totals": totals.facts()})
                on_failure.pop_all()
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ChatbatchError(
            f"The output {output} cannot be written: {reason}.",
            hint="The answers are safe in the journal; mend the cause and run the command again.",
        ) from error
    return totals


@contextmanager
def _replacing(output: Path, *, owned: bool) -> Iterator[Path]:
    for left in leftovers(output) if owned else ():
        if not _in_use(left):
            left.unlink(missing_ok=True)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.unfinished")
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, output)
        _sync(output.parent)
    finally:
        unfinished.unlink(missing_ok=True)
        os.close(descriptor)


def leftovers(output: Path) -> list[Path]:
    """Return the unfinished files of an output: of commands that were killed, or are writing it right now."""
    form = re.compile(re.escape(f".{output.name}.") + r"\d+\.unfinished")
    return sorted(path for path in output.parent.iterdir() if form.fullmatch(path.name))


def _in_use(unfinished: Path) -> bool:
    """Return whether a live process, such as an export, is writing this file."""
    try:
        descriptor = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


assert set(COLUMNS) == {item.name for item in fields(Answer)}  # noqa: S101 - one entry per field
