"""How many input tokens a request can be billed at the very most: what a hard cap has to set aside.

A token stands for at least one byte: vocabularies of pieces and of bytes both fall back to single bytes, and
never to less. What is added is room for what the service puts around a text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from batch.jsontext import Json, encode
from batch.records import Request
from batch.tokens.features import Weighed, extras_of

# Room for the template. Recorded: YandexGPT adds at most 8 tokens to a request and 5 to each message, tools
# 100 to 200 of instructions (Gemma). Newer templates may say more.
REQUEST_ROOM = 64
MESSAGE_ROOM = 64
JSON_ROOM = 512


def upper_bound(request: Request) -> int:
    """Return a number of input tokens that no bill for this request exceeds."""
    bound, structured = REQUEST_ROOM + MESSAGE_ROOM * len(request.messages), bool(request.options.json_object)
    for message in request.messages:
        if message.text is not None:
            bound += text_bound(message.text)
        for structure in (message.tool_calls, message.tool_results):
            if structure is not None:
                bound += _json_bound(structure)
                structured = True
    for extra in extras_of(request):
        bound += _json_bound(extra)
        structured = True
    return bound + JSON_ROOM if structured else bound


def texts_bound(requests: int, texts: Sequence[str], weighed: Weighed) -> int:
    """Return the bound of that many requests whose messages, all of them plain, have these texts together."""
    room = REQUEST_ROOM * requests + MESSAGE_ROOM * len(texts)
    # NFKC leaves ASCII and the Cyrillic characters of two bytes as they are.
    if weighed.narrow or _is_longest("\n".join(texts)):
        return room + weighed.size
    return room + sum(map(text_bound, texts))


def text_bound(text: str) -> int:
    """Return the bytes of a text in UTF-8, as it stands or as NFKC makes it, whichever are more.

    SentencePiece may normalise before it cuts, and NFKC can lengthen: U+FDFA, 3 bytes, becomes 33.
    """
    if text.isascii():
        return len(text)
    given = len(text.encode("utf-8", "surrogatepass"))
    if _is_longest(text):
        return given
    return max(given, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def _is_longest(text: str) -> bool:
    """Return whether NFKC plainly does not lengthen a text; what it makes of it takes long to find out.

    The marks are taken out: they become no longer, and nothing that is composed is longer than its parts.
    """
    for mark in FREQUENT_MARKS:
        text = text.replace(mark, ".")
    return unicodedata.is_normalized("NFKC", text)


# Frequent characters that NFKC replaces by others of no more bytes: spaces that do not break, ², ³, …, №.
FREQUENT_MARKS = "\u00a0\u00b2\u00b3\u2009\u2011\u2026\u202f\u2116"


def _json_bound(value: Json) -> int:
    """Return a bound for JSON that the template may write in its own way.

    Characters beyond ASCII may be escaped (`\\u0434` for 2 bytes, 6 for each pair of 4: three times as many),
    and white space may be put between all parts: twice as many.
    """
    text = encode(value).decode()
    return 2 * (len(text) if text.isascii() else 3 * text_bound(text))
