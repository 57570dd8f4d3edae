"""The search for secrets in everything that was written or printed, however it is stored."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq

SQLITE = b"SQLite format 3\x00"


def spellings(secret: str) -> set[bytes]:
    """Return how a secret may be spelt: plain, in JSON, in an address, in hex, in base64 wherever it begins."""
    plain = secret.encode()
    found = {plain, json.dumps(secret)[1:-1].encode(), quote(secret, safe="").encode(), plain.hex().encode()}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + plain)
        found.add(coded[4 if shift else 0 : -4])  # what depends on the neighbours is left out
    return found


def found_in(folder: Path, texts: Iterable[str], secrets: Iterable[str]) -> list[str]:
    """Return where secrets stand: below a folder, in its SQLite and Parquet files' values too, and in texts."""
    wanted = [(secret[:12], spelling) for secret in secrets for spelling in spellings(secret)]
    return [
        f"{secret}… in {where}"
        for where, data in (*_files(folder), *((f"text {n}", text.encode()) for n, text in enumerate(texts)))
        for secret, spelling in wanted
        if spelling in data
    ]


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield str(path), data
        if data.startswith(SQLITE):
            yield f"{path}, read as SQLite", _sqlite(path)
        if data.startswith(b"PAR1"):
            yield f"{path}, read as Parquet", _parquet(path)


def _sqlite(path: Path) -> bytes:
    """Return all values, also of large ones that are spread over pages."""
    connection = sqlite3.connect(path)  # plays the log that a killed process left
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        values = [value for name in names for row in connection.execute(f"SELECT * FROM {name}") for value in row]
    finally:
        connection.close()
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


def _parquet(path: Path) -> bytes:
    """Return all values, which are compressed in the file, and the metadata."""
    with pq.ParquetFile(path) as file:
        table, metadata = file.read(), file.metadata.metadata or {}
    parts = [part for pair in metadata.items() for part in pair]
    return b"\n".join([*parts, json.dumps(table.to_pylist(), default=str, ensure_ascii=False).encode()])
