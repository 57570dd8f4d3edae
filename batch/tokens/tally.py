"""The tokens of a whole input, added up: row by row, or line by line for JSON Lines in a hurry.

A line that plainly is a conversation is read here, without what only a run needs of it; every other line goes
to the reader, so both ways come to the same counts and the same rows that cannot be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from batch.jsontext import JsonObject, NotJson, encode, parse
from batch.records import Defaults, Request, Row
from batch.tokens.features import NOTHING, Counts, added, count_request, count_texts, extras_of

# Fields with which a row asks for something itself; the same combination is read once by the reader.
_ASKING = frozenset(
    ("modelUri", "completionOptions", "tools", "jsonObject", "jsonSchema", "parallelToolCalls", "toolChoice")
)
_REMEMBERED = 256  # combinations
# Bytes of lines whose texts wait to be counted together; more would leave the processor's cache.
_HELD = 1 << 15


@dataclass(slots=True)
class Share:
    """What of the input one model is to answer: `capped` rows ask for at most `cap_tokens` together."""

    rows: int = 0
    counts: Counts = NOTHING
    capped: int = 0
    cap_tokens: int = 0

    def add(self, rows: int, counts: Counts, max_tokens: int | None) -> None:
        """Take rows that have these counts together, and the same cap."""
        self.rows += rows
        self.counts = added(self.counts, counts)
        if max_tokens is not None:
            self.capped += rows
            self.cap_tokens += max_tokens * rows


@dataclass(slots=True)
class _Alike:
    """Rows that ask for the same; their texts wait to be counted together."""

    share: Share
    max_tokens: int | None
    rows: int = 0
    texts: list[str] = field(default_factory=list)

    def settle(self) -> None:
        if self.rows:
            self.share.add(self.rows, count_texts(self.rows, self.texts), self.max_tokens)
            self.rows, self.texts = 0, []


class Tally:
    """Adds up an input by model, in memory that does not grow with it; `invalid` rows cannot be sent."""

    def __init__(self, defaults: Defaults) -> None:
        self.shares: dict[str, Share] = {}  # by the name that the rows or the run give the model
        self.invalid = 0
        self._defaults = defaults
        self._known: dict[bytes, _Alike] = {}

    @property
    def rows(self) -> int:
        """Return the number of rows that can be sent."""
        return sum(share.rows for share in self.shares.values())

    def add_request(self, request: Request) -> None:
        """Take a request."""
        self._share(request.model).add(1, count_request(request), request.options.max_tokens)

    def add_row(self, row: Row) -> None:
        """Take a row as the reader gives it."""
        if row.problem is not None:
            self.invalid += 1
        else:
            self.add_request(self._defaults.request(row))

    def add_lines(self, lines: Iterable[bytes | int], read: Callable[[bytes | int], Row]) -> None:
        """Take lines of JSON Lines that are not blank; `read` is the reader's way with one line.

        Only for inputs whose rows are recognised by their own fields, without a prompt column, template or id
        column. A number stands for a line of so many bytes, too long to be held.
        """
        system, held, known = self._defaults.system, 0, self._known
        for line in lines:
            fields = _NO_FIELDS if isinstance(line, int) else _fields(line)
            texts = _plain_texts(fields, system)
            if texts is None or isinstance(line, int):
                self.add_row(read(line))
                continue
            asked = _NOBODY if _ASKING.isdisjoint(fields) else _asked(fields)
            alike = known.get(asked) or self._learn(asked, read(line))
            if alike is None:
                continue
            alike.rows += 1
            alike.texts += texts
            held += len(line)
            if held >= _HELD:
                self._settle()
                held = 0
        self._settle()

    def merge(self, other: Tally) -> None:
        """Take what another tally has added up, such as one of another part of the input in another process."""
        self.invalid += other.invalid
        for model, theirs in other.shares.items():
            own = self._share(model)
            own.rows += theirs.rows
            own.counts = added(own.counts, theirs.counts)
            own.capped += theirs.capped
            own.cap_tokens += theirs.cap_tokens

    def _learn(self, asked: bytes, row: Row) -> _Alike | None:
        """Return where rows wait that ask so; None where this row had to be taken by itself."""
        request = None if row.problem is not None else self._defaults.request(row)
        if request is None or extras_of(request) or len(self._known) >= _REMEMBERED:
            self.add_row(row)
            return None
        alike = _Alike(self._share(request.model), request.options.max_tokens)
        self._known[asked] = alike
        return alike

    def _share(self, model: str) -> Share:
        return self.shares.setdefault(model, Share())

    def _settle(self) -> None:
        for alike in self._known.values():
            alike.settle()


_NOBODY = b""
_NO_FIELDS: JsonObject = {}


def _fields(line: bytes) -> JsonObject:
    """Return what a line says; nothing where it is no row, which the reader will say better."""
    try:
        value = parse(line)
    except NotJson:
        return _NO_FIELDS
    return value if type(value) is dict else _NO_FIELDS


def _plain_texts(fields: JsonObject, system: str | None) -> list[str] | None:
    """Return the texts of a row whose messages are texts and nothing else, with the run's system prompt."""
    turns = fields.get("messages")
    if turns is None:
        turns = fields.get("request")
    if type(turns) is not list or not turns:
        return None
    texts: list[str] = []
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2:
            return None
        text = turn.get("content") or turn.get("text")
        if type(text) is not str or not text or text.isspace():
            return None
        role = turn.get("role")
        if role == "system":
            system = None
        elif role != "user" and role != "assistant":
            return None
        texts.append(text)
    if system:
        texts.append(system)
    return texts


def _asked(fields: JsonObject) -> bytes:
    return encode({name: value for name, value in fields.items() if name in _ASKING})
