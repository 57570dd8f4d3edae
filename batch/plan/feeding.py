"""From chunks of rows to tasks: which rows the journal has no answer for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from batch.client import Task
from batch.events import RowsSkipped
from batch.journal import Journal, KeyCounter
from batch.providers import Provider
from batch.readers import Reader
from batch.records import Defaults, KeyedChunk, Request, Row, Status
from batch.runner import Batch

RowName = Callable[[Row, Request], str]


def row_names(provider_identity: Callable[[str], str], *, by_id: bool) -> RowName:
    """Return what names a row: the value of its id column, else everything that determines its answer."""
    identities: dict[str, str] = {}  # few: one per model

    def by_content(_row: Row, request: Request) -> str:
        identity = identities.get(request.model)
        if identity is None:
            identity = identities[request.model] = provider_identity(request.model)
        return request.fingerprint(identity)

    return _by_id if by_id else by_content


def _by_id(row: Row, request: Request) -> str:
    return row.id or request.fingerprint(request.model)


class Feed:
    """One pass over the input: batches of tasks; afterwards `held_back` rows were beyond `max_rows`."""

    def __init__(
        self, reader: Reader, defaults: Defaults, name: RowName, journal: Journal, max_rows: int | None
    ) -> None:
        self._reader = reader
        self._defaults = defaults
        self._name = name
        self._journal = journal
        self._left = max_rows
        self.held_back = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the tasks of each chunk; to be called in a worker thread."""
        counter = KeyCounter()
        try:
            for keyed in counter.keyed(self._reader.chunks(), self._defaults, self._name):
                yield self._batch(keyed)
        finally:
            counter.close()

    def _batch(self, keyed: KeyedChunk) -> Batch:
        states = self._journal.states([key for key in keyed.keys if key])
        tasks: list[Task] = []
        answered = invalid = 0
        for row, request, key in zip(keyed.chunk.rows, keyed.requests, keyed.keys, strict=True):
            if request is None or key is None:
                invalid += 1
                continue
            state = states.get(key)
            if state is not None and state.status is Status.OK:
                answered += 1
                continue
            tasks.append(Task(key, request, state.attempts if state else 0, row.model is not None))
        return Batch(self._admitted(tasks), RowsSkipped(answered, invalid))

    def _admitted(self, tasks: list[Task]) -> list[Task]:
        if self._left is None:
            return tasks
        admitted = tasks[: self._left]
        self._left -= len(admitted)
        self.held_back += len(tasks) - len(admitted)
        return admitted


def provider_names(provider: Provider, *, by_id: bool) -> RowName:
    """Return the row names of a run that asks this provider."""
    return row_names(provider.identity, by_id=by_id)
