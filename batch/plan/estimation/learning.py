"""What earlier answers teach an estimate: how many tokens inputs had, how long answers were, how long they took.

From a journal and the inputs that it belongs to, or from an output alone, whose columns say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch import storage
from batch.errors import UsageError
from batch.journal import Inspection, KeyCounter, Stored
from batch.jsontext import Json, NotJson, parse
from batch.parsing import KeptField
from batch.plan.estimation.sampling import Running
from batch.plan.feeding import RowNames
from batch.plan.opening import defaults, journal_of
from batch.plan.rewriting import Remembered
from batch.providers import models_of
from batch.readers import ColumnMapping, Template, open_reader
from batch.records import Chunk, Request, Status
from batch.settings import Settings
from batch.tokens import Calibration, Estimator
from batch.writer import METADATA_KEY

# Fewer answers than this say too little of how long answers are to replace an assumption unasked.
ENOUGH_ANSWERS = 20
# More rows than this make no estimate better that can be seen.
MOST_ROWS = 50_000
_COUNTS = ("input_tokens", "completion_tokens")
_KEPT = (
    *(KeptField(name, "int") for name in _COUNTS),
    KeptField("latency_s", "float"),
    KeptField("model", "string"),
)


@dataclass(slots=True)
class Lengths:
    """Completion tokens and seconds of the answers that one model gave."""

    tokens: Running = field(default_factory=Running)
    latency: Running = field(default_factory=Running)


@dataclass(slots=True)
class Learned:
    """What answered rows said, by the model's identity; `rows` of them, from the places named in `sources`.

    `emulated` says that an earlier output was the emulator's.
    """

    identity: Callable[[str], str]
    sources: list[str] = field(default_factory=list)
    rows: int = 0
    emulated: bool = False
    pooled: Lengths = field(default_factory=Lengths)
    _by_model: dict[str, Lengths] = field(default_factory=dict)  # few: one per model
    _calibrations: dict[str, Calibration] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Return whether more rows would teach nothing."""
        return self.rows >= MOST_ROWS

    def add(
        self, request: Request, model: str, counts: tuple[int | None, int | None], latency_s: float | None
    ) -> None:
        """Take an answered row: input and completion tokens as the service stated them."""
        given, taken = counts
        name = self.identity(model)
        if given is not None:
            known = self._calibrations.get(name)
            if known is None:
                known = self._calibrations[name] = Calibration(name)
            known.add(request, given)
        if taken is None:
            return
        self.rows += 1
        for lengths in (self.pooled, self._by_model.setdefault(name, Lengths())):
            lengths.tokens.add(taken)
            if latency_s is not None:
                lengths.latency.add(latency_s)

    def add_stored(self, request: Request, stored: Stored) -> None:
        """Take a row with what a journal holds of it; nothing where it has no answer."""
        result = stored.result
        if result.status is Status.OK:
            counts = (result.usage.input_tokens, result.usage.completion_tokens)
            self.add(request, stored.model or request.model, counts, result.latency_s)

    def estimator(self, identity: str) -> Estimator:
        """Return the best estimator of a model's input tokens."""
        known = self._calibrations.get(identity)
        return known.estimator() if known else Estimator.for_model(identity)

    def lengths(self, identity: str) -> Lengths:
        """Return how long a model's answers were; those of all models where it gave too few."""
        own = self._by_model.get(identity)
        return own if own is not None and own.tokens.count >= ENOUGH_ANSWERS else self.pooled


def learn_from(output: Path, settings: Settings, learned: Learned) -> None:
    """Take in an earlier output: its journal where that stands beside it, else its own columns.

    Raises `InputError` where neither is there, `UsageError` where it teaches nothing.
    """
    before = learned.rows
    journal_path = journal_of(output)
    if journal_path.exists():
        journal = Inspection.open(journal_path)
        try:
            with journal.snapshot():
                _from_journal(journal, learned)
        finally:
            journal.close()
    else:
        _from_output(output, settings, learned)
    if learned.rows == before:
        raise UsageError(
            f"--calibrate {output}: it holds no answered row with its counts of tokens.",
            hint="Name the output of a run that has finished some rows.",
        )
    learned.sources.append(str(output))


def _from_journal(journal: Inspection, learned: Learned) -> None:
    remembered = Remembered.of(journal)
    settings, source = remembered.settings, remembered.open()
    learned.emulated |= settings.emulate
    names = RowNames(models_of(settings, settings.folder).identity, by_id=settings.id_column is not None)
    counter = KeyCounter(dedupe=settings.dedupe)
    try:
        for keyed in counter.keyed(source.reader.chunks(), defaults(settings), names.name):
            stored = journal.results([key for key in keyed.keys if key])
            for request, key, first in zip(keyed.requests, keyed.keys, keyed.first, strict=True):
                if request is not None and key in stored and first:
                    learned.add_stored(request, stored[key])
            if learned.full:
                break
    finally:
        counter.close()


def _from_output(output: Path, settings: Settings, learned: Learned) -> None:
    """Read an output as an input whose rows say what they were billed; prompts as the settings make them."""
    files = storage.find([str(output)])
    template = Template.parse(settings.template) if settings.template else None
    kept = _KEPT if files[0].format is storage.Format.JSON_LINES else ()
    reader = open_reader(files, ColumnMapping(settings.prompt_column, template, None, kept))
    if reader.columns is not None and (missing := [name for name in _COUNTS if name not in reader.columns.names]):
        raise UsageError(f"--calibrate {output}: it has no column {missing[0]}, so it is no output of ours.")
    learned.emulated |= reader.columns is not None and any(_was_emulated(item.path) for item in files)
    known = defaults(settings)
    for chunk in reader.chunks():
        for row, (given, taken, latency_s, model) in zip(chunk.rows, _told(chunk), strict=True):
            if row.problem is None:
                named = row if not isinstance(model, str) else replace(row, model=model)
                request = known.request(named)
                seconds = float(latency_s) if isinstance(latency_s, int | float) else None
                learned.add(request, request.model, (_count(given), _count(taken)), seconds)
        if learned.full:
            break


def _was_emulated(output: Path) -> bool:
    """Return whether a Parquet output says of itself that the emulator answered it; JSON Lines do not say."""
    _, text = storage.parquet_footer(output, METADATA_KEY)
    try:
        told = parse(text)
    except NotJson:
        return False
    return isinstance(told, dict) and told.get("emulated") is True


def _told(chunk: Chunk) -> Iterable[Sequence[Json]]:
    if chunk.columns is None:
        return [row.kept for row in chunk.rows]
    return list(zip(*(_column(chunk, item.name) for item in _KEPT), strict=True))


def _column(chunk: Chunk, name: str) -> Sequence[Json]:
    there = chunk.columns
    if there is None or name not in there.schema.names:
        return [None] * len(chunk.rows)
    return list(_plain(there.column(name).to_pylist()))


def _plain(values: Iterable[object]) -> Iterator[Json]:
    for value in values:
        yield value if isinstance(value, str | int | float) else None


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
