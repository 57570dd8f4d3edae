"""One pass over an input for an estimate: what would be sent, by model, and a sample of it where one is wanted.

Memory does not grow with the rows. Plain JSON Lines of which nothing is answered yet are read the short way,
without the keys that only a journal needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from batch.journal import KeyCounter, Records, RowState, check_asked
from batch.jsontext import NotJson, encode, parse
from batch.plan.estimation.learning import Learned
from batch.plan.estimation.sampling import Reservoirs, stratum_of
from batch.plan.feeding import RowNames, is_done
from batch.plan.opening import Input, asked_of, defaults
from batch.readers.dialects import Place
from batch.readers.jsonl import JsonLinesReader, lines_of
from batch.records import Chunk, Defaults, KeyedChunk, Request, Row
from batch.settings import Settings
from batch.storage import Format, blocks
from batch.tokens import Share, Tally, count_request, count_texts, upper_bound
from batch.tokens.bounds import MESSAGE_ROOM, REQUEST_ROOM, text_bound
from batch.tokens.features import extras_of

# What of a row is kept in a sample: its key, where keys were made, and what would be sent.
Drawn = tuple[str | None, Request]


@dataclass(slots=True)
class Part:
    """What one model would be asked; `bound` is the most input tokens that it can be billed."""

    share: Share = field(default_factory=Share)
    bound: int = 0


@dataclass(slots=True)
class Survey:
    """What a pass has found: rows by what would become of them, and by model what would be sent.

    `answered` rows have their answer in the journal, `duplicates` get that of an equal row (`--dedupe`),
    `held_back` ones are beyond `--max-rows`.
    """

    rows: int = 0
    invalid: int = 0
    answered: int = 0
    duplicates: int = 0
    held_back: int = 0
    parts: dict[str, Part] = field(default_factory=dict)  # by the model as rows or run name it; few

    @property
    def to_send(self) -> int:
        """Return how many rows would be sent."""
        return sum(part.share.rows for part in self.parts.values())

    def part(self, model: str) -> Part:
        """Return what falls to a model."""
        return self.parts.setdefault(model, Part())


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass over the input works with.

    `journal` is the file in which answered rows stand, if there is one; `learned` is told of those; `sample`
    draws from the rows that would be sent; with `by_key` their keys are drawn too.
    """

    settings: Settings
    source: Input
    names: RowNames
    journal: Path | None
    learned: Learned
    sample: Reservoirs[Drawn] | None = None
    by_key: bool = False

    def survey(self) -> Survey:
        """Read the input once; raises `InputError`, and `UsageError` for a journal that somebody else answered."""
        if self._plain:
            survey = _ShortPass(self.source, defaults(self.settings)).survey()
            if len(survey.parts) < 2:  # else lines have to be told apart by model: read once more, the long way
                return survey
        with ExitStack() as stack:
            journal = None
            if self.journal is not None:
                journal = stack.enter_context(closing(Records.open(self.journal)))
                check_asked(journal, self.journal, asked_of(self.settings))
            return _LongPass(self, journal).survey()

    @property
    def _plain(self) -> bool:
        """Return whether nothing is needed of a row but its texts."""
        settings, mapping = self.settings, self.source.mapping
        of_rows = settings.dedupe or settings.max_rows is not None or mapping.needed()
        json_lines = all(item.format is Format.JSON_LINES for item in self.source.files)
        return json_lines and self.journal is None and self.sample is None and not of_rows


class _LongPass:
    """Row by row, with keys where somebody asks for them."""

    def __init__(self, asked: Pass, journal: Records | None) -> None:
        self._asked = asked
        self._journal = journal
        self._survey = Survey()
        self._left = asked.settings.max_rows

    def survey(self) -> Survey:
        """Read every row."""
        asked = self._asked
        for keyed in self._keyed(asked.source.reader.chunks(), defaults(asked.settings)):
            self._survey.rows += len(keyed.requests)
            wanted = list(self._wanted(keyed))
            if self._left is not None:
                self._survey.held_back += len(wanted[self._left :])
                wanted = wanted[: self._left]
                self._left -= len(wanted)
            self._take(wanted)
        return self._survey

    def _keyed(self, chunks: Iterable[Chunk], known: Defaults) -> Iterator[KeyedChunk]:
        asked = self._asked
        if self._journal is None and not asked.by_key and not asked.settings.dedupe:
            for chunk in chunks:
                requests = [None if row.problem else known.request(row) for row in chunk.rows]
                yield KeyedChunk(chunk, requests, [None] * len(requests), [True] * len(requests))
            return
        counter = KeyCounter(dedupe=asked.settings.dedupe)
        try:
            yield from counter.keyed(chunks, known, asked.names.name)
        finally:
            counter.close()

    def _wanted(self, keyed: KeyedChunk) -> Iterator[Drawn]:
        """Yield the rows that have to be sent, and count the others."""
        states, skip = self._states(keyed), self._asked.settings.unknown == "skip"
        for request, key, first in zip(keyed.requests, keyed.keys, keyed.first, strict=True):
            if request is None:
                self._survey.invalid += 1
            elif not first:
                self._survey.duplicates += 1
            elif key is not None and is_done(states.get(key), skip):
                self._survey.answered += 1
            else:
                yield key, request

    def _states(self, keyed: KeyedChunk) -> dict[str, RowState]:
        """Return what the journal knows of a chunk's rows; what it has of their answers is learned."""
        keys = [key for key in keyed.keys if key]
        if self._journal is None or not keys:
            return {}
        learned = self._asked.learned
        if not learned.full:
            stored = self._journal.results(keys)
            for request, key, first in zip(keyed.requests, keyed.keys, keyed.first, strict=True):
                if request is not None and key in stored and first:
                    learned.add_stored(request, stored[key])
        return self._journal.states(keys)

    def _take(self, wanted: Sequence[Drawn]) -> None:
        groups: dict[tuple[str, int | None], _Group] = {}
        for key, request in wanted:
            bound = upper_bound(request)
            model, cap = request.model, request.options.max_tokens
            self._survey.part(model).bound += bound
            sample = self._asked.sample
            if sample is not None:
                sample.add((model, stratum_of(bound)), (key, request), 1.0 if self._asked.by_key else bound)
            texts = [message.text for message in request.messages if message.text is not None]
            if len(texts) == len(request.messages) and not extras_of(request):
                groups.setdefault((model, cap), _Group()).add(texts)
            else:
                self._survey.part(model).share.add(1, count_request(request), cap)
        for (model, cap), group in groups.items():
            self._survey.part(model).share.add(group.rows, count_texts(group.rows, group.texts), cap)


@dataclass(slots=True)
class _Group:
    """Plain rows of a chunk that ask the same model for answers of the same length."""

    rows: int = 0
    texts: list[str] = field(default_factory=list)

    def add(self, texts: Sequence[str]) -> None:
        """Take a row's texts."""
        self.rows += 1
        self.texts += texts


class _ShortPass:
    """Line by line, by `Tally`; a line's bytes bound the tokens of its texts, where they all ask one model."""

    def __init__(self, source: Input, known: Defaults) -> None:
        self._source = source
        self._known = known
        self._tally = Tally(known)
        self._lines = self._bound = self._read_rows = self._read_messages = 0

    def survey(self) -> Survey:
        """Read every line."""
        self._tally.add_lines(self._every_line(), self._read)
        shares = self._tally.shares
        survey = Survey(self._lines, self._tally.invalid)
        survey.parts = {model: Part(share) for model, share in shares.items()}
        rows, messages = (sum(share.counts[index] for share in shares.values()) for index in (0, 1))
        plain = rows - self._read_rows
        room = REQUEST_ROOM * plain + MESSAGE_ROOM * (messages - self._read_messages)
        system = text_bound(self._known.system) * plain if self._known.system else 0
        for part in survey.parts.values():
            part.bound = self._bound + room + system
        return survey

    def _every_line(self) -> Iterator[bytes | int]:
        for item in self._source.files:
            for _, line in lines_of(blocks(item)):
                self._lines += 1
                self._bound += _line_bound(line)
                yield line

    def _read(self, line: bytes | int) -> Row:
        """Read a line as the reader does; what is known of it exactly replaces the bound of its bytes."""
        row = self._reader.row(Place(0, "", 1), line)
        self._bound -= _line_bound(line)
        if row.problem is None:
            request = self._known.request(row)
            self._bound += upper_bound(request)
            self._read_rows += 1
            self._read_messages += len(request.messages)
        return row

    @property
    def _reader(self) -> JsonLinesReader:
        return JsonLinesReader(self._source.files, self._source.mapping)


def _line_bound(line: bytes | int) -> int:
    """Return a bound of the tokens of a line's texts: JSON only lengthens them, but for its escapes of NFKC's."""
    if isinstance(line, int):
        return 0
    if b"\\u" in line:
        try:
            line = encode(parse(line))
        except NotJson:
            return 0  # no row
    return len(line) if line.isascii() else text_bound(line.decode("utf-8", "replace"))
