"""What can still be read of a job file that cannot be used: whom it tells, and where its state stands.

A job that fails under a clock has nobody in front of it, so a mistake anywhere else in its file must not keep the
health check from hearing of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from batch.jobfile.cron import Schedule
from batch.jobfile.keys import TABLES
from batch.jobfile.reading import JobFile
from batch.settings import Value

_TABLES = ("notify", "history")
_HEADER = re.compile(r"^[ \t]*\[[^\n]*$", re.MULTILINE)


def salvaged(path: Path) -> JobFile:
    """Return a job file's [notify] and [history], as far as they can be read; nothing of the rest."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        text = ""
    values: dict[tuple[str, str], Value] = {}
    for table in _TABLES:
        for key, value in _content(text, table).items():
            if key in TABLES[table] and isinstance(value, str | int):
                values[table, key] = str(value)
    return JobFile(path.stem, path, values, Schedule())


def _content(text: str, table: str) -> Mapping[str, object]:
    """Return a table: of the whole file, or where that is not TOML, of the lines up to the next header."""
    header = re.search(rf"^[ \t]*\[[ \t]*{table}[ \t]*\][^\n]*$", text, re.MULTILINE)
    following = _HEADER.search(text, header.end()) if header else None
    part = text[header.start() : following.start() if following else len(text)] if header else ""
    for candidate in (text, part):
        try:
            content = tomllib.loads(candidate).get(table)
        except tomllib.TOMLDecodeError:
            continue
        return content if isinstance(content, dict) else {}
    return {}
