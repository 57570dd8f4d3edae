"""Readers: one module per format, and the registry that knows them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batch.errors import UsageError
from batch.readers.base import ColumnMapping, Reader, Template
from batch.readers.jsonl import JsonLinesReader
from batch.readers.parquet import ParquetReader
from batch.storage import Format, InputFile

_READERS: dict[Format, Callable[[Sequence[InputFile], ColumnMapping], Reader]] = {
    Format.JSON_LINES: JsonLinesReader,
    Format.PARQUET: ParquetReader,
}

__all__ = ["ColumnMapping", "Reader", "Template", "open_reader"]


def open_reader(files: Sequence[InputFile], mapping: ColumnMapping) -> Reader:
    """Return the reader of these files, all of one format.

    Raises `UsageError` where the formats differ or a column is missing, `InputError` where a file cannot be
    read.
    """
    formats = {item.format for item in files}
    if len(formats) > 1:
        raise UsageError(
            "The inputs are of two kinds, JSON Lines and Parquet, whose rows have different columns.",
            hint="Process them in two runs with two outputs.",
        )
    return _READERS[formats.pop()](files, mapping)
