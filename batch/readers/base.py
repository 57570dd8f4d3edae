"""What a reader is, and what it is told about the columns; no format is known here."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from batch.errors import UsageError
from batch.parsing import KeptField

if TYPE_CHECKING:
    import pyarrow as pa

    from batch.records import Chunk

CHUNK_ROWS = 512
# A context of 32,000 tokens is a few hundred kilobytes of text; beyond this a row is a mistake.
MAX_ROW_BYTES = 4 << 20


class Reader(Protocol):
    """Reads the inputs, as often as it is asked to; every pass gives the same rows in the same order."""

    @property
    def columns(self) -> pa.Schema | None:
        """Return the input's own columns, which go into the output untouched; None for JSON Lines."""
        ...

    def count(self) -> int:
        """Return the number of rows, having read as much as it takes to know that the files are whole.

        Raises `InputError` for a file that cannot be read or is cut off.
        """
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows in order, readable or not; flat in memory. Raises `InputError`."""
        ...


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{field}` in it; `{{` and `}}` stand for braces."""

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Return the template that a text stands for; raises `UsageError` where it is not well-formed."""
        try:
            found = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UsageError(f"--template: {error}; write {{{{ and }}}} for braces.") from None
        for _, name, form, conversion in found:
            if name is not None and (form or conversion or not name):
                raise UsageError('--template: write fields as plain names, such as "Summarise: {text}".')
        if not any(name for _, name, _, _ in found):
            raise UsageError('--template names no field, such as {text} in "Summarise: {text}".')
        return cls(tuple((literal, name) for literal, name, _, _ in found))

    @property
    def fields(self) -> list[str]:
        """Return the names of the fields, in their order."""
        return [name for _, name in self.parts if name is not None]


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which fields or columns hold what: `--prompt-column`, `--template`, `--id-column`, `--keep`."""

    prompt_column: str | None = None
    template: Template | None = None
    id_column: str | None = None
    keep: Sequence[KeptField] = ()

    def needed(self) -> list[str]:
        """Return the columns that must be there."""
        named = [self.prompt_column, self.id_column, *(self.template.fields if self.template else [])]
        return [name for name in dict.fromkeys(named) if name is not None]
