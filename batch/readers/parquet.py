"""Parquet: one row a row, batch by batch; the input's own columns travel along untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import InputError, RowInvalid, UsageError
from batch.jsontext import Json
from batch.parsing import nearest
from batch.readers.base import CHUNK_ROWS, ColumnMapping
from batch.readers.dialects import Place, interpret, row_id
from batch.readers.overrides import OVERRIDES
from batch.records import Chunk, Row
from batch.storage import InputFile, python_rows

_MESSAGES = ("messages", "request")


class ParquetReader:
    """Reads Parquet files as one input; files of different columns are united by name."""

    def __init__(self, files: Sequence[InputFile], mapping: ColumnMapping) -> None:
        """Read the files' footers; raises `InputError` or `UsageError` (exit 6 or 2) before anything else."""
        self._files = files
        self._mapping = mapping
        schemas = []
        self._rows = 0
        for item in files:
            with _open(item) as file:
                schemas.append(file.schema_arrow.remove_metadata())
                self._rows += file.metadata.num_rows
        self._columns = _united(schemas, files)
        self._read = self._needed_columns()

    @property
    def columns(self) -> pa.Schema | None:
        """Return the columns of all files."""
        return self._columns

    def count(self) -> int:
        """Return the number of rows that the footers state."""
        return self._rows

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows of each batch with its columns."""
        position = 0
        for item in self._files:
            number = 1
            for batch, values in self._batches(item):
                rows = [
                    self._row(Place(position + index, item.name, number + index), fields)
                    for index, fields in enumerate(values)
                ]
                position += len(rows)
                number += len(rows)
                yield Chunk(rows, batch)

    def _batches(self, item: InputFile) -> Iterator[tuple[pa.RecordBatch, list[dict[str, object]]]]:
        with _open(item) as file:
            try:
                # One row group after the other: Arrow joins none of nested dictionaries.
                for group in range(file.num_row_groups):
                    for whole in file.iter_batches(batch_size=CHUNK_ROWS, row_groups=[group]):
                        batch = _fit(whole, self._columns)
                        yield batch, python_rows(batch.select(self._read))
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(item, error) from error

    def _row(self, place: Place, values: Mapping[str, object]) -> Row:
        identity = None
        try:
            fields = {name: _plain(name, value) for name, value in values.items()}
            identity = row_id(fields, self._mapping)
            reading = interpret(fields, self._mapping)
        except RowInvalid as error:
            return place.row(error, identity)
        return place.row(reading, identity)

    def _needed_columns(self) -> list[str]:
        there = self._columns.names
        for name in self._mapping.needed():
            if name not in there:
                near = nearest(name, there)
                raise UsageError(f'There is no column "{name}"{near}; there are {", ".join(there)}.')
        text = self._mapping.prompt_column or self._mapping.template
        if not text and not any(name in there for name in _MESSAGES):
            raise UsageError(
                f'There is no column "messages" or "request"; there are {", ".join(there)}.',
                hint="Name the column that holds the text with --prompt-column, or use --template.",
            )
        wanted = {*self._mapping.needed(), *OVERRIDES, *(() if text else _MESSAGES)}
        wanted |= {name for name in ("id", "custom_id") if name in there and not self._is_binary(name)}
        return [name for name in there if name in wanted]

    def _is_binary(self, name: str) -> bool:
        kind = self._columns.field(name).type
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _open(item: InputFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(item.path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(item, error) from error


def _unreadable(item: InputFile, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return InputError(
        f"{item.name} cannot be read as Parquet: {reason}.", hint="It may be cut off; copy it again."
    )


def _united(schemas: Sequence[pa.Schema], files: Sequence[InputFile]) -> pa.Schema:
    try:
        united = pa.unify_schemas(list(schemas))
    except pa.ArrowException as error:
        names = ", ".join(item.name for item in files)
        raise UsageError(
            f"The columns of {names} do not fit together: {str(error).splitlines()[0]}.",
            hint="Process them in separate runs.",
        ) from error
    if len(set(united.names)) != len(united.names):
        raise UsageError("The input has two columns of the same name.", hint="Rename one of them.")
    everywhere = set(united.names).intersection(*(schema.names for schema in schemas))
    return pa.schema([column if column.name in everywhere else column.with_nullable(True) for column in united])


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Give a batch the columns of all files, in their order, with nulls where its file has none."""
    if batch.schema.equals(schema):
        return batch
    arrays = [
        batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _plain(column: str, value: object) -> Json:
    """Return a column's value as JSON would hold it; nulls inside structs were never there."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(column, item) for name, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(column, item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise RowInvalid(f'"{column}" is not UTF-8', hint="write the column in UTF-8") from None
    return str(value)
