"""From chunks of rows to tasks: which rows the journal has no answer for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from batch.attempts import Task
from batch.events import RowsSkipped
from batch.harvest import EXPIRED
from batch.journal import Journal, KeyCounter, RowState
from batch.readers import Reader
from batch.records import Defaults, KeyedChunk, Request, Row, Status
from batch.runner import Batch


class RowNames:
    """What names a row: the value of its id column, else everything that determines its answer."""

    def __init__(self, model_identity: Callable[[str], str], *, by_id: bool) -> None:
        self.identity = model_identity
        self._identities: dict[str, str] = {}  # few: one per model
        self.by_id = by_id

    def name(self, row: Row, request: Request) -> str:
        """Return what names a row; rows of equal names are told apart by their occurrence."""
        return row.id if self.by_id and row.id is not None else self.content(request)

    def content(self, request: Request) -> str:
        """Return the fingerprint of everything that determines the answer."""
        identity = self._identities.get(request.model)
        if identity is None:
            identity = self._identities[request.model] = self.identity(request.model)
        return request.fingerprint(identity)


# The error code of a row that was in flight when a run died and that `--unknown skip` leaves.
UNKNOWN_BILLED = "UNKNOWN_BILLED"
_NOTHING_SKIPPED = RowsSkipped(0, 0)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is to be sent: equal rows once, rows in doubt or not, so many rows at most, these keys `only`."""

    dedupe: bool
    skip_unknown: bool
    max_rows: int | None
    only: frozenset[str] | None = None
    retry_expired: bool = False


def is_done(state: RowState | None, skip_unknown: bool, retry_expired: bool = False) -> bool:
    """Return whether a row needs no request any more."""
    if state is None:
        return False
    if state.status is Status.OK or state.is_open:
        return True
    if state.error_code == EXPIRED:
        return not retry_expired
    return skip_unknown and state.error_code == UNKNOWN_BILLED


class Feed:
    """One pass over the input: batches of tasks; afterwards `held_back` rows were beyond `max_rows`."""

    def __init__(
        self, reader: Reader, defaults: Defaults, names: RowNames, journal: Journal, rules: Rules
    ) -> None:
        self._reader = reader
        self._defaults = defaults
        self._names = names
        self._journal = journal
        self._rules = rules
        self._left = rules.max_rows
        self._passes = 0
        self.held_back = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the tasks of each chunk; to be called in a worker thread.

        May be called again for the rows that were asked and have no answer yet.
        """
        self._passes += 1
        counter = KeyCounter(dedupe=self._rules.dedupe)
        try:
            for keyed in counter.keyed(self._reader.chunks(), self._defaults, self._names.name):
                yield self._batch(keyed)
        finally:
            counter.close()

    def _batch(self, keyed: KeyedChunk) -> Batch:
        states = self._journal.states([key for key in keyed.keys if key])
        tasks: list[Task] = []
        answered = invalid = 0
        for row, request, key, first in zip(
            keyed.chunk.rows, keyed.requests, keyed.keys, keyed.first, strict=True
        ):
            if request is None or key is None:
                invalid += 1
                continue
            state = states.get(key)
            if not first or is_done(state, self._rules.skip_unknown, self._rules.retry_expired):
                answered += state is None or not state.is_open  # an operation's row is finished later
                continue
            if self._rules.only is not None and key not in self._rules.only:
                continue
            if self._passes > 1 and (state is None or not state.unfinished):
                continue  # it came to its end in this run, or is beyond the cap
            content = self._names.content(request) if self._names.by_id else None
            attempts = state.attempts if state else 0
            tasks.append(Task(key, request, attempts, row.model is not None, content))
        if self._passes > 1:  # these were told before
            return Batch(self._admitted(tasks), _NOTHING_SKIPPED)
        return Batch(self._admitted(tasks), RowsSkipped(answered, invalid))

    def _admitted(self, tasks: list[Task]) -> list[Task]:
        if self._left is None or self._passes > 1:  # what was asked may be asked again
            return tasks
        admitted = tasks[: self._left]
        self._left -= len(admitted)
        self.held_back += len(tasks) - len(admitted)
        return admitted
