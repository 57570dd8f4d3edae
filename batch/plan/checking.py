"""Reading without sending: what is wrong with which row, and what a run would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batch.journal import Journal, KeyCounter
from batch.plan.feeding import RowName, row_names
from batch.plan.opening import Paths, defaults, find_access, open_input
from batch.providers.yandex import Models
from batch.records import Row, Status
from batch.settings import Settings


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
    paths = Paths.of(settings)
    access = find_access(settings, environment)
    source = open_input(settings, inputs)
    models = Models(access.folder)
    models.uri(settings.model)
    source.reader.count()
    journal = Journal.open(paths.journal) if paths.journal.exists() else None
    counter = KeyCounter()
    invalid = answered = to_send = 0
    name: RowName = row_names(models.identity, by_id=settings.id_column is not None)
    try:
        for keyed in counter.keyed(source.reader.chunks(), defaults(settings), name):
            keys = [key for key in keyed.keys if key]
            states = journal.states(keys) if journal else {}
            done = sum(1 for state in states.values() if state.status is Status.OK)
            invalid += len(keyed.keys) - len(keys)
            answered += done
            to_send += len(keys) - done
    finally:
        counter.close()
        if journal:
            journal.close()
    credential = access.credentials
    return Outlook(
        files=[item.name for item in source.files],
        rows=invalid + answered + to_send,
        invalid=invalid,
        answered=answered,
        to_send=to_send,
        output=str(paths.output),
        journal=str(paths.journal),
        credential=f"{credential.kind} from {credential.origin}",
    )
