"""A deterministic tokenizer of the emulator's own, close to the service's in its counts.

Not the service's vocabulary: only counts matter, and these were fitted to recorded pairs
of text and count of the model version 07.03.2024. Pieces put together again give the text,
and cutting between two pieces never changes how the part before is cut, so that a truncated
answer counts exactly as many tokens as it was allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

MODEL_VERSION: Final = "07.03.2024"

# Word lengths were fitted to the recorded counts: most Russian and English words are one token.
_PIECE: Final = re.compile(
    r"\n"
    r"| ?[А-Яа-яЁё]{1,11}"
    r"| ?[A-Za-z]{1,6}"
    r"| ?\d"
    r"| ?[^\W\d_]{1,2}"
    r"| ?[^\w\s]{1,3}"
    r"| {1,4}"
    r"|[\s_]"
    r"|."
)

_START: Final = "<s>"
_NEWLINE: Final = "[NL]"
# Eight marks before the conversation, three per message, two that open the answer and <s> itself:
# a conversation of one message costs 14 tokens beyond its text, as recorded.
_OPENING: Final = ("[BOS]", "[SYS]", "[INST]", "[MODE]", "[LANG]", "[STYLE]", "[SEP]", "[NL]")
_TURN: Final = ("[ROLE]", "[SEP]", "[END]")
_ANSWER: Final = ("[ROLE]", "[SEP]")
_SPECIAL: Final = {
    piece: str(number) for number, piece in enumerate(dict.fromkeys([_START, *_OPENING, *_TURN]), start=1)
}
_FIRST_ORDINARY: Final = len(_SPECIAL) + 1
_VOCABULARY: Final = 128_000


def pieces(text: str) -> list[str]:
    """Cut a text into pieces; a piece begins with the space before its word."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """The number of tokens of a text by itself, without `<s>`."""
    return len(_PIECE.findall(text))


def text_tokens(text: str) -> list[str]:
    """What `tokenize` lists: `<s>`, then the pieces."""
    return [_START, *_shown(text)]


def prompt_tokens(turns: Sequence[str], preamble: str = "") -> list[str]:
    """What `tokenizeCompletion` lists, and a completion of it is billed as its input.

    Args:
        turns: the text of each message.
        preamble: what stands before the conversation: tools, a JSON Schema.
    """
    tokens = [_START, *_OPENING, *_shown(preamble)]
    for text in turns:
        tokens += _TURN
        tokens += _shown(text)
    tokens += _ANSWER
    return tokens


@lru_cache(maxsize=4096)
def describe(token: str) -> dict[str, object]:
    """One token as the service lists it: `{"id": "7", "text": "▁to", "special": false}`."""
    special = _SPECIAL.get(token)
    identifier = special or str(_FIRST_ORDINARY + crc32(token.encode()) % _VOCABULARY)
    return {"id": identifier, "text": token.replace(" ", "▁"), "special": special is not None}


def _shown(text: str) -> list[str]:
    found = _PIECE.findall(text)
    return [_NEWLINE if piece == "\n" else piece for piece in found] if "\n" in text else found
