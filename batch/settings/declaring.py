"""How a setting is declared: what it is called everywhere, and how its text becomes a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")
ENVIRONMENT_PREFIX = "CHATBATCH_"

Value: TypeAlias = "str | bool | tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Declared:
    """One declared setting: how it is written, what it means, and how its text becomes a value."""

    name: str
    section: str
    help: str
    short: str
    metavar: str
    many: bool
    switch: bool
    negative: bool
    parse: Callable[[str], object]
    default: object

    @property
    def flag(self) -> str:
        """Return the long flag, such as `--max-tokens`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the environment variable, such as `CHATBATCH_MAX_TOKENS`."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def setting(
    default: T,
    help: str,  # noqa: A002 - the word that every command line uses
    *,
    section: str,
    parse: Callable[[str], object] = str,
    short: str = "",
    metavar: str = "TEXT",
    many: bool = False,
    switch: bool = False,
    negative: bool = False,
) -> T:
    """Declare a field of `Settings`: its default, its help, and what `Declared` says."""
    declared = {
        "section": section,
        "help": help,
        "parse": parse,
        "short": short,
        "metavar": metavar,
        "many": many,
        "switch": switch,
        "negative": negative,
    }
    return field(default=default, metadata=declared)
