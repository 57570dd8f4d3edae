"""Reading without sending: what is wrong with which row, and what a run would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batch.journal import KeyCounter, Records, check_asked
from batch.plan.feeding import RowNames, is_done
from batch.plan.opening import Input, Paths, asked_of, defaults, open_input, prepare
from batch.providers import models_of
from batch.records import Row
from batch.settings import Settings
from batch.writer import Layout


@dataclass(slots=True)
class Findings:
    """What a check has counted so far: rows that can be sent by dialect, and rows that cannot."""

    dialects: Counter[str] = field(default_factory=Counter)
    invalid: int = 0

    @property
    def valid(self) -> int:
        """Return how many rows can be sent."""
        return self.dialects.total()


def check(settings: Settings, inputs: Sequence[str], findings: Findings) -> Iterator[Row]:
    """Read every row, count it in `findings`, and yield those that cannot be sent."""
    source = open_input(settings, inputs)
    source.reader.count()
    for chunk in source.reader.chunks():
        for row in chunk.rows:
            if row.problem is None:
                findings.dialects[row.dialect or ""] += 1
            else:
                findings.invalid += 1
                yield row


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would do: rows by what would become of them, and with what."""

    files: Sequence[str]
    rows: int
    invalid: int
    answered: int
    to_send: int
    output: str
    journal: str
    credential: str


def dry_run(settings: Settings, inputs: Sequence[str], environment: Mapping[str, str]) -> Outlook:
    """Return what a run with these settings would do; reads the journal where there is one, writes nothing.

    Raises what the run itself would raise before sending.
    """
    prepared = prepare(settings, inputs, environment)
    access, paths = prepared.access, prepared.paths
    source = prepared.source or open_input(settings, inputs)
    Layout.of(source.reader.columns, settings.keep)
    source.reader.count()
    names = RowNames(models_of(settings, access.folder).identity, by_id=settings.id_column is not None)
    rows, invalid, answered = _count(settings, source, names, paths)
    to_send = rows - invalid - answered
    credential = access.credentials
    return Outlook(
        files=[item.name for item in source.files],
        rows=rows,
        invalid=invalid,
        answered=answered,
        to_send=min(to_send, settings.max_rows) if settings.max_rows is not None else to_send,
        output=str(paths.output),
        journal=str(paths.journal),
        credential=f"{credential.kind} from {credential.origin}",
    )


def _count(settings: Settings, source: Input, names: RowNames, paths: Paths) -> tuple[int, int, int]:
    """Return how many rows there are, how many are invalid, and how many need no request."""
    journal = Records.open(paths.journal) if paths.journal.exists() else None
    counter = KeyCounter(dedupe=settings.dedupe)
    rows = invalid = answered = 0
    try:
        if journal is not None:
            check_asked(journal, paths.journal, asked_of(settings))
        for keyed in counter.keyed(source.reader.chunks(), defaults(settings), names.name):
            keys = [(key, first) for key, first in zip(keyed.keys, keyed.first, strict=True) if key]
            states = journal.states([key for key, _ in keys]) if journal else {}
            rows += len(keyed.keys)
            invalid += len(keyed.keys) - len(keys)
            answered += sum(
                1 for key, first in keys if not first or is_done(states.get(key), settings.unknown == "skip")
            )
    finally:
        counter.close()
        if journal:
            journal.close()
    return rows, invalid, answered
