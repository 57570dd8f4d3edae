"""HTML that cannot be mistaken: what is `Safe` was made here, and everything else is text and is escaped.

The one place of the house where text becomes markup.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import TypeAlias

# Joiners that scripts and emoji need, no-break spaces' kin are no control characters at all.
_KEPT = frozenset("\n\t\u200c\u200d\u00ad")
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_NAME = re.compile(r"[a-z][a-z0-9:-]*", re.IGNORECASE)
_EMPTY = frozenset(("meta", "br", "col"))


@dataclass(frozen=True, slots=True)
class Safe:
    """Markup that this module made, or that holds nothing from a dataset."""

    markup: str


Node: TypeAlias = "Safe | str | None"
Value: TypeAlias = "str | int | float | None"


def cleaned(text: str) -> str:
    """Return a text without what steers its reader: control characters and marks that turn the direction."""
    plain = text.replace("\r\n", "\n")
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if char not in _KEPT and unicodedata.category(char) in _UNSEEN else char
        for char in plain
    )


def escaped(text: str) -> str:
    """Return a text as it may stand between tags and in a quoted attribute."""
    return html.escape(cleaned(text), quote=True)


def tag(name: str, /, *children: Node, **attributes: Value) -> Safe:
    """Return an element; `class_` stands for `class`, `_` for `-`, and None leaves an attribute out."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no element")
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Safe(f"<{name}{said}>")
    return Safe(f"<{name}{said}>{joined(*children).markup}</{name}>")


def joined(*children: Node) -> Safe:
    """Return nodes one after the other."""
    return Safe("".join(item.markup if isinstance(item, Safe) else escaped(item or "") for item in children))


def cut(text: str, most: int) -> tuple[str, int]:
    """Return as much of a text as takes at most so many bytes of markup, and how many characters are left out."""
    if len(text) * 6 <= most:  # no character takes more: &quot;
        return text, 0
    taken = 0
    for place, char in enumerate(text):
        taken += len(escaped(char).encode())
        if taken > most:
            return text[:place], len(text) - place
    return text, 0
