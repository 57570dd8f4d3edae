"""The tokens of a whole input, added up: row by row, or by many lines at once for JSON Lines in a hurry.

A line that plainly is a conversation is counted without what only a run needs of it; every other line goes to the
reader, so both ways come to the same counts and the same rows that cannot be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from batch.records import Defaults, Request, Row
from batch.tokens.bounds import JSON_ROOM, texts_bound, upper_bound
from batch.tokens.features import NOTHING, Counts, added, count_request, extras_of, weigh_texts
from batch.tokens.plain import plain_line, plain_lines

_REMEMBERED = 256  # combinations of what rows ask for
# Bytes of lines whose texts wait to be counted together; more would leave the processor's cache.
_HELD = 1 << 15


@dataclass(slots=True)
class Share:
    """What of the input one model is to answer: `capped` rows ask for at most `cap_tokens` together.

    `bound` is the most input tokens that they can be billed.
    """

    rows: int = 0
    counts: Counts = NOTHING
    capped: int = 0
    cap_tokens: int = 0
    bound: int = 0

    def add(self, rows: int, counts: Counts, max_tokens: int | None, bound: int) -> None:
        """Take rows that have these counts and this bound together, and the same cap."""
        self.rows += rows
        self.counts = added(self.counts, counts)
        self.bound += bound
        if max_tokens is not None:
            self.capped += rows
            self.cap_tokens += max_tokens * rows

    def add_request(self, request: Request) -> None:
        """Take a request."""
        self.add(1, count_request(request), request.options.max_tokens, upper_bound(request))


@dataclass(slots=True)
class Alike:
    """Requests of texts alone that ask for the same, but for tools and schemas, which are counted one by one.

    Their texts wait to be counted together; `room` is what each may be billed beside them.
    """

    share: Share
    max_tokens: int | None
    room: int
    rows: int = 0
    texts: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, share: Share, request: Request) -> Alike:
        """Return where requests like this one wait; it is not among them."""
        return cls(share, request.options.max_tokens, JSON_ROOM if request.options.json_object else 0)

    def add(self, rows: int, texts: Iterable[str]) -> None:
        """Take the texts of so many rows."""
        self.rows += rows
        self.texts += texts

    def settle(self) -> None:
        """Count what waits."""
        if self.rows:
            weighed = weigh_texts(self.rows, self.texts)
            bound = self.room * self.rows + texts_bound(self.rows, self.texts, weighed)
            self.share.add(self.rows, weighed.counts, self.max_tokens, bound)
            self.rows, self.texts = 0, []


class Tally:
    """Adds up an input by model, in memory that does not grow with it; `invalid` rows cannot be sent."""

    def __init__(self, defaults: Defaults) -> None:
        self.shares: dict[str, Share] = {}  # by the name that the rows or the run give the model
        self.invalid = 0
        self._defaults = defaults
        self._known: dict[bytes, Alike] = {}
        self._held = 0

    @property
    def rows(self) -> int:
        """Return the number of rows that can be sent."""
        return sum(share.rows for share in self.shares.values())

    def add_request(self, request: Request) -> None:
        """Take a request."""
        self._share(request.model).add_request(request)

    def add_row(self, row: Row) -> None:
        """Take a row as the reader gives it."""
        if row.problem is not None:
            self.invalid += 1
        else:
            self.add_request(self._defaults.request(row))

    def add_lines(self, lines: Iterable[bytes | int], read: Callable[[bytes | int], Row]) -> None:
        """Take lines of JSON Lines, one or many at a time; `read` is the reader's way with one line.

        Only for inputs whose rows are recognised by their own fields, without a prompt column, template or id
        column. A number stands for a line of so many bytes, too long to be held.
        """
        for item in lines:
            if isinstance(item, int):
                self.add_row(read(item))
                continue
            if not self._add_together(item, read):
                for line in item.split(b"\n"):
                    if line and not line.isspace():
                        self._add_one(line, read)
            self._held += len(item)
            if self._held >= _HELD:
                self._settle()
        self._settle()

    def _add_together(self, lines: bytes, read: Callable[[bytes | int], Row]) -> bool:
        """Take lines that are all plain and ask for the same; returns whether they are."""
        plain = plain_lines(lines, self._defaults.system)
        if plain is None:
            return False
        alike = self._known.get(plain.asked) or self._learn(plain.asked, read(lines.partition(b"\n")[0]))
        if alike is None:
            return False
        alike.add(plain.rows, plain.texts)
        return True

    def _add_one(self, line: bytes, read: Callable[[bytes | int], Row]) -> None:
        plain = plain_line(line, self._defaults.system)
        if plain is not None and (alike := self._known.get(plain.asked)) is not None:
            alike.add(1, plain.texts)
            return
        row = read(line)
        if plain is not None and (alike := self._learn(plain.asked, row)) is not None:
            alike.add(1, plain.texts)
        else:
            self.add_row(row)

    def _learn(self, asked: bytes, row: Row) -> Alike | None:
        """Return where rows wait that ask for what this one does; None where each has to be taken by itself."""
        request = None if row.problem is not None else self._defaults.request(row)
        if request is None or extras_of(request) or len(self._known) >= _REMEMBERED:
            return None
        return self._known.setdefault(asked, Alike.of(self._share(request.model), request))

    def _share(self, model: str) -> Share:
        return self.shares.setdefault(model, Share())

    def _settle(self) -> None:
        self._held = 0
        for alike in self._known.values():
            alike.settle()
