"""One pass over an input for an estimate: what would be sent, by model, and a sample of it where one is wanted.

Memory does not grow with the rows. Plain JSON Lines of which nothing is answered yet are read the short way,
without the keys that only a journal needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from batch.journal import KeyCounter, Records, RowState, check_asked
from batch.plan.estimation.learning import Learned
from batch.plan.estimation.sampling import Reservoirs, stratum_of
from batch.plan.feeding import RowNames, is_done
from batch.plan.opening import Input, asked_of, defaults
from batch.readers.dialects import Place
from batch.readers.jsonl import JsonLinesReader, packs_of
from batch.records import Chunk, Defaults, KeyedChunk, Request
from batch.settings import Settings
from batch.storage import Format, blocks
from batch.tokens import Alike, Share, Tally, upper_bound
from batch.tokens.features import extras_of

# What of a row is kept in a sample: its key, where keys were made, and what would be sent.
Drawn = tuple[str | None, Request]


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
    parts: dict[str, Share] = field(default_factory=dict)  # by the model as rows or run name it; few

    @property
    def to_send(self) -> int:
        """Return how many rows would be sent."""
        return sum(share.rows for share in self.parts.values())

    def share(self, model: str) -> Share:
        """Return what falls to a model."""
        return self.parts.setdefault(model, Share())


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
            return self._short()
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

    def _short(self) -> Survey:
        """Read many lines at once."""
        reader, tally = JsonLinesReader(self.source.files, self.source.mapping), Tally(defaults(self.settings))
        nowhere = Place(0, "", 1)
        for item in self.source.files:
            tally.add_lines(packs_of(blocks(item)), partial(reader.row, nowhere))
        return Survey(tally.rows + tally.invalid, tally.invalid, parts=tally.shares)


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
        groups: dict[tuple[str, bool, int | None], Alike] = {}
        for key, request in wanted:
            share, sample = self._survey.share(request.model), self._asked.sample
            if sample is not None:
                bound = upper_bound(request)
                weight = 1.0 if self._asked.by_key else bound
                sample.add((request.model, stratum_of(bound)), (key, request), weight)
            texts = [message.text for message in request.messages if message.text is not None]
            if len(texts) < len(request.messages) or extras_of(request):
                share.add_request(request)
                continue
            options = request.options
            same = (request.model, bool(options.json_object), options.max_tokens)
            if same not in groups:
                groups[same] = Alike.of(share, request)
            groups[same].add(1, texts)
        for group in groups.values():
            group.settle()
