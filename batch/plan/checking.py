"""Reading without sending: what is wrong with which row, and what a run would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batch.clock import Clock, SystemClock
from batch.events import News
from batch.plan.estimation.estimates import Estimate
from batch.plan.estimation.estimating import Outer, estimate_of_run
from batch.plan.opening import open_input, prepare
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
    """What a run would do: rows by what would become of them, with what, and what it would take."""

    files: Sequence[str]
    rows: int
    invalid: int
    answered: int
    to_send: int
    output: str
    journal: str
    credential: str
    estimate: Estimate


def dry_run(
    settings: Settings, inputs: Sequence[str], environment: Mapping[str, str], clock: Clock | None = None
) -> Outlook:
    """Return what a run with these settings would do and take; reads the journal if there is one, writes nothing.

    Raises what the run itself would raise before sending.
    """
    prepared = prepare(settings, inputs, environment)
    access, paths = prepared.access, prepared.paths
    source = prepared.source or open_input(settings, inputs)
    Layout.of(source.reader.columns, settings.keep)
    outer = Outer(clock or SystemClock(), News(), lambda: None)
    estimate = estimate_of_run(settings, prepared.accounts, source, paths, outer)
    rows, credential = estimate.rows, access.credentials
    return Outlook(
        files=estimate.files,
        rows=rows.total,
        invalid=rows.invalid,
        answered=rows.answered + rows.duplicates,
        to_send=rows.to_send,
        output=str(paths.output),
        journal=str(paths.journal),
        credential=f"{credential.kind} from {credential.origin}",
        estimate=estimate,
    )
