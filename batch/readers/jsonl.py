"""JSON Lines: one row a line, one line at a time, whatever the compression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from batch.errors import RowInvalid
from batch.jsontext import Json, JsonObject, NotJson, encode_text, parse
from batch.readers.base import CHUNK_ROWS, MAX_ROW_BYTES, ColumnMapping
from batch.readers.dialects import Place, Reading, interpret, row_id
from batch.readers.messages import kind
from batch.records import Chunk, Message, Row
from batch.storage import InputFile, blocks

if TYPE_CHECKING:
    import pyarrow as pa

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Lines that are looked at together: enough to be worth it, and few enough to stay in the processor's cache.
PACK_BYTES = 1 << 16


class JsonLinesReader:
    """Reads files of JSON Lines as one input; blank lines are no rows."""

    columns: pa.Schema | None = None

    def __init__(self, files: Sequence[InputFile], mapping: ColumnMapping) -> None:
        self._files = files
        self._mapping = mapping

    def count(self) -> int:
        """Return the number of lines that are not blank."""
        return sum(1 for item in self._files for _ in lines_of(blocks(item)))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows, `CHUNK_ROWS` at a time."""
        rows: list[Row] = []
        position = 0
        for item in self._files:
            for number, line in lines_of(blocks(item)):
                rows.append(self.row(Place(position, item.name, number), line))
                position += 1
                if len(rows) == CHUNK_ROWS:
                    yield Chunk(rows)
                    rows = []
        if rows:
            yield Chunk(rows)

    def row(self, place: Place, line: bytes | int) -> Row:
        """Return what one line holds, understood or not; an int is the length of a line that is too long."""
        fields: JsonObject = {}
        identity = None
        try:
            fields = _object(line)
            identity = row_id(fields, self._mapping)
            reading = interpret(fields, self._mapping)
        except RowInvalid as error:
            identity = identity or _id(fields)
            return place.row(error, identity, *self._carried(fields, None, identity))
        return place.row(reading, identity, *self._carried(fields, reading, identity))

    def _carried(
        self, fields: JsonObject, reading: Reading | None, identity: str | None
    ) -> tuple[str | None, tuple[Json, ...]]:
        """Return what the row carries into the output: its other fields as JSON, and the kept ones."""
        kept = tuple(_fitting(fields.get(item.name), item.type) for item in self._mapping.keep)
        lifted: set[str | None] = {
            item.name for item, value in zip(self._mapping.keep, kept, strict=True) if value is not None
        }
        names = (self._mapping.id_column, "id")
        lifted.add(next((name for name in names if name and _says(fields, name, identity)), None))
        if reading is not None and all(_is_plain(message) for message in reading.messages):
            lifted.add(reading.consumed)
        extra: JsonObject = {name: value for name, value in fields.items() if name not in lifted}
        return encode_text(extra) if extra else None, kept


def _says(fields: JsonObject, name: str, identity: str | None) -> bool:
    """Return whether the row's `id` in the output holds all that this field says."""
    value = fields.get(name)
    return value is not None and not isinstance(value, list | dict) and str(value) == identity


def _fitting(value: Json, kind: str) -> Json:
    """Return a kept value where it is of its column's type; others stay in `extra`, so nothing is lost."""
    if value is None:
        return None
    if kind == "json":
        return encode_text(value)
    if isinstance(value, bool) or kind == "bool":
        return value if isinstance(value, bool) and kind == "bool" else None
    if kind == "string":
        return value if isinstance(value, str) else None
    if kind == "int":
        return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None
    return float(value) if isinstance(value, int | float) else None


def _is_plain(message: Message) -> bool:
    return message.text is not None


def _id(fields: JsonObject) -> str | None:
    value = fields.get("id")
    return value if isinstance(value, str) else None


def _object(line: bytes | int) -> JsonObject:
    if isinstance(line, int):
        raise RowInvalid(
            f"the row is longer than {MAX_ROW_BYTES >> 20} MB",
            hint="no model reads so much; shorten or split it",
        )
    try:
        value = parse(line)
    except NotJson as error:
        raise _unreadable(line, error) from None
    if not isinstance(value, dict):
        raise RowInvalid(f"the line is {kind(value)}, not a JSON object", hint='write {"messages": […]}')
    return value


def _unreadable(line: bytes, error: NotJson) -> RowInvalid:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return RowInvalid(f"byte {wrong.start + 1} of the line is not UTF-8", hint="save the file in UTF-8")
    return RowInvalid(f"the line is not JSON: {error}", hint="write one JSON object on each line")


def lines_of(stream: Iterable[bytes]) -> Iterator[tuple[int, bytes | int]]:
    """Yield (number from 1, line) for every line that is not blank.

    A line longer than `MAX_ROW_BYTES` is not held: its length comes in its place.
    """
    number = 0
    for pack in packs_of(stream):
        if isinstance(pack, int):
            number += 1
            yield number, pack
            continue
        for line in pack.split(b"\n"):
            number += 1
            if line and not line.isspace():
                yield number, line


def packs_of(stream: Iterable[bytes]) -> Iterator[bytes | int]:
    """Yield all lines, blank ones too, some at once: about `PACK_BYTES`, without their last line feed.

    A line longer than `MAX_ROW_BYTES` is not held: its length comes in its place.
    """
    rest, skipped = b"", 0
    for block in _unmarked(stream):
        data, start = rest + block, 0
        if skipped:
            start = data.find(b"\n") + 1
            if not start:
                skipped += len(data)
                continue
            yield skipped + start - 1
            skipped = 0
        last = data.rfind(b"\n", start)
        while start <= last:
            end = data.rfind(b"\n", start, start + PACK_BYTES)
            if end < 0:  # a line longer than a pack
                end = data.find(b"\n", start)
            yield data[start:end] if end - start <= MAX_ROW_BYTES else end - start
            start = end + 1
        rest = data[start:]
        if len(rest) > MAX_ROW_BYTES:
            skipped, rest = len(rest), b""
    if skipped:
        yield skipped
    elif rest:
        yield rest


def _unmarked(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a file's blocks without the byte order mark before the first line."""
    blocks_left, head = iter(stream), b""
    while len(head) < len(_BYTE_ORDER_MARK) and (block := next(blocks_left, b"")):
        head += block
    yield head.removeprefix(_BYTE_ORDER_MARK)
    yield from blocks_left
