"""Row keys: equal rows are told apart by their occurrence, counted in a table and not in memory."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

from batch.records import Chunk, Defaults, KeyedChunk, Request, Row

_LOOKS_COUNTED = re.compile(r"#\d+\Z")


class KeyCounter:
    """Turns what names a row (an id or a fingerprint) into its key, in one pass over the input.

    The first row of a name gets the name itself, the n-th gets `name#n`; a name that ends in `#n` by itself
    always gets its occurrence, so two rows never share a key. The counts live in a temporary file that SQLite
    removes by itself. With `dedupe` equal rows share the first one's key.
    """

    def __init__(self, *, dedupe: bool = False) -> None:
        self._dedupe = dedupe
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE seen (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")

    def keys(self, names: Sequence[str]) -> list[str]:
        """Return the keys of the next rows, given their names in input order."""
        return [key for key, _ in self.counted(names)]

    def counted(self, names: Sequence[str]) -> list[tuple[str, bool]]:
        """Return the keys of the next rows, and whether each is the first row of this pass to have it."""
        execute = self._connection.execute
        execute("BEGIN")
        try:
            occurrences = [execute(_COUNT, (name,)).fetchone()[0] for name in names]
        finally:
            execute("COMMIT")
        if self._dedupe:
            return [(_key(name, 1), n == 1) for name, n in zip(names, occurrences, strict=True)]
        return [(_key(name, n), True) for name, n in zip(names, occurrences, strict=True)]

    def keyed(
        self, chunks: Iterable[Chunk], defaults: Defaults, name: Callable[[Row, Request], str]
    ) -> Iterator[KeyedChunk]:
        """Yield the chunks of a whole pass with their requests and keys; `name` is what names a row."""
        for chunk in chunks:
            requests = [None if row.problem else defaults.request(row) for row in chunk.rows]
            sendable = [(row, request) for row, request in zip(chunk.rows, requests, strict=True) if request]
            counted = iter(self.counted([name(row, request) for row, request in sendable]))
            pairs = [next(counted) if request else (None, True) for request in requests]
            yield KeyedChunk(chunk, requests, [key for key, _ in pairs], [first for _, first in pairs])

    def close(self) -> None:
        """Forget the counts."""
        self._connection.close()


_COUNT = "INSERT INTO seen VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n"


def _key(name: str, occurrence: int) -> str:
    if occurrence == 1 and not _LOOKS_COUNTED.search(name):
        return name
    return f"{name}#{occurrence}"
