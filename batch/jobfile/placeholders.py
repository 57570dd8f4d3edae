"""Placeholders of job files: `{date}`, `{date-1}`, `{hour}`, `{env:NAME}`; `{{` and `}}` are braces.

All are of the moment at which the run began, in local time, so that a run over midnight keeps its names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from batch.parsing import nearest

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DATE = re.compile(r"date(?:([+-])(\d{1,6}))?")
KNOWN = ("date", "date-1", "date+1", "hour", "env:NAME")


def expand(text: str, began: datetime, environment: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled in.

    Raises `ValueError` with half a sentence for one that is unknown, a brace that stands alone, and a variable
    that is not set.
    """

    def filled(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] is None:
            raise ValueError(f"a {match[0]} stands alone; write {match[0] * 2} for the character itself")
        return _value(match[1].strip(), began, environment)

    return _PART.sub(filled, text)


def _value(name: str, began: datetime, environment: Mapping[str, str]) -> str:
    if name == "hour":
        return f"{began:%H}"
    if (date := _DATE.fullmatch(name)) is not None:
        days = int(date[2] or 0) * (-1 if date[1] == "-" else 1)
        try:
            return (began.date() + timedelta(days=days)).isoformat()
        except OverflowError:
            raise ValueError(f"{{{name}}} is no day of the calendar") from None
    if name.startswith("env:"):
        value = environment.get(name.removeprefix("env:"), "")
        if not value:
            raise ValueError(f"{{{name}}}: the environment variable is not set")
        return value
    raise ValueError(
        f"{{{name}}} is no placeholder{nearest(name, KNOWN)}; there are {{date}}, {{date-1}}, {{hour}} and "
        "{env:NAME}, and {{ }} for the characters themselves"
    )
