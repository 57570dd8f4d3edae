"""What of a request its tokens depend on, counted: thirteen whole numbers, added up without loss.

Counted on bytes, by C loops of the standard library, because a million rows must take seconds: one pass drops
all letters, and the rest is short. Counts of texts that are joined by line feeds are, less those line feeds,
the sums of their counts; so many rows may be counted at once.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from batch.jsontext import Json, encode_text
from batch.records import Request

# In the order of `NAMES`; whole numbers for requests, and for sums of them.
Counts: TypeAlias = "tuple[int, ...]"

NAMES = (
    "requests",
    "messages",
    "latin",  # ASCII letters
    "cyrillic",  # characters of U+0400 to U+047F
    "words",  # runs of spaces, and the beginning of each text, where SentencePiece puts a space of its own
    "digits",
    "marks",  # ASCII punctuation and control characters
    "lines",  # line feeds
    "two_bytes",  # other characters of two bytes in UTF-8: accents, Greek, Arabic, «»
    "three_bytes",  # typographic marks, Chinese, Japanese, Korean
    "four_bytes",  # emoji
    "json",  # characters of JSON: tools, tool calls, tool results, schemas
    "tools",  # requests with tools or a schema
)
SIZE = len(NAMES)
NOTHING: Counts = (0,) * SIZE

_LEADS = {2: range(0xC2, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0xF5)}
_CYRILLIC = b"\xd0\xd1"
_CONTINUATIONS = bytes(range(0x80, 0xC0))
_LETTERS = string.ascii_letters.encode() + _CONTINUATIONS + _CYRILLIC
_DIGITS = string.digits.encode()
_NOT_WIDE = bytes(byte for byte in range(256) if byte < _LEADS[2].start)
_TWO = bytes(_LEADS[2])
_THREE = bytes(_LEADS[3])


@dataclass(frozen=True, slots=True)
class Weighed:
    """Texts that were counted: `size` is their bytes in UTF-8, `narrow` that they are ASCII and Cyrillic alone."""

    counts: Counts
    size: int
    narrow: bool


def count_request(request: Request) -> Counts:
    """Return the counts of one request."""
    texts, written = [], 0
    for message in request.messages:
        if message.text is not None:
            texts.append(message.text)
        for structure in (message.tool_calls, message.tool_results):
            if structure is not None:
                written += len(encode_text(structure))
    extras = extras_of(request)
    written += sum(len(encode_text(extra)) for extra in extras)
    return (1, len(request.messages), *_weighed(texts).counts, written, 1 if extras else 0)


def count_texts(requests: int, texts: Sequence[str]) -> Counts:
    """Return the counts of that many requests whose messages, all of them plain, have these texts."""
    return weigh_texts(requests, texts).counts


def weigh_texts(requests: int, texts: Sequence[str]) -> Weighed:
    """Return the same counts, and what a bound of the tokens of these texts needs."""
    found = _weighed(texts)
    return Weighed((requests, len(texts), *found.counts, 0, 0), found.size, found.narrow)


def count_text(text: str) -> Counts:
    """Return the counts of a text by itself: no request, no message."""
    return (0, 0, *_weighed((text,)).counts, 0, 0)


def extras_of(request: Request) -> list[Json]:
    """Return what stands in the template besides the messages: the tools, the schema."""
    options = request.options
    return [extra for extra in (options.tools, options.json_schema) if extra is not None]


def added(one: Counts, other: Counts) -> Counts:
    """Return the counts of both."""
    return tuple(map(int.__add__, one, other))


def _weighed(texts: Sequence[str]) -> Weighed:
    """Return the counts from `latin` to `four_bytes`."""
    if not texts:
        return Weighed((0,) * 9, 0, True)
    text = "\n".join(texts)
    characters, data = len(text), text.encode("utf-8", "surrogatepass")
    rest = data.translate(None, _LETTERS)
    two = three = four = 0
    if len(data) != characters:
        wide = rest.translate(None, _NOT_WIDE)
        if wide:
            beyond = wide.translate(None, _TWO)
            four = len(beyond.translate(None, _THREE))
            two, three = len(wide) - len(beyond), len(beyond) - four
    cyrillic = len(data) - characters - two - 2 * three - 3 * four
    latin = characters - len(rest) - cyrillic
    blanks, feeds = rest.count(b" "), rest.count(b"\n")
    digits = len(rest) - len(rest.translate(None, _DIGITS))
    marks = len(rest) - blanks - feeds - digits - two - three - four
    words = len(texts) + (_runs(data) if "  " in text else blanks)
    feeds -= len(texts) - 1
    counts = (latin, cyrillic, words, digits, marks, feeds, two, three, four)
    return Weighed(counts, len(data) - len(texts) + 1, not (two or three or four))


def _runs(data: bytes) -> int:
    """Return the number of runs of spaces: each is halved until it is a single one."""
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.count(b" ")
