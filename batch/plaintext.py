"""Text that may be shown: what came from a dataset, a model or a service is hostile until it went through here."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text without control characters: none of what a dataset holds may steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
