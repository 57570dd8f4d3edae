"""From the journal to the output: the input is read once more and joined with the answers, by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batch.client import answered
from batch.errors import AttemptFailed
from batch.journal import Journal, KeyCounter, Outcome, Write
from batch.plan.feeding import RowName
from batch.providers import Provider
from batch.readers import Reader
from batch.records import Answer, Defaults, KeyedChunk
from batch.writer import assemble


def settle(journal: Journal, provider: Provider) -> int:
    """Judge the receipts that a run committed and did not come to judge; returns how many."""
    count = 0
    while leftover := journal.unjudged():
        writes: list[Write] = []
        for item in leftover:
            receipt = item.receipt
            try:
                completion = provider.judge(receipt.reply)
            except AttemptFailed as error:
                writes.append(Outcome(item.attempt, "billed", error.code))
                continue
            writes.append(Outcome(item.attempt, "answered", None))
            writes.append(
                answered(
                    item.row_key,
                    item.attempt,
                    item.number,
                    completion,
                    receipt.latency_s,
                    receipt.received_at,
                )
            )
        journal.apply(writes)
        count += len(leftover)
    return count


@dataclass(frozen=True, slots=True)
class Join:
    """The input's rows with what the journal holds of them."""

    reader: Reader
    defaults: Defaults
    name: RowName
    journal: Journal
    provider: Provider

    def rows(self) -> Iterator[tuple[KeyedChunk, Sequence[Answer]]]:
        """Yield every chunk with one answer per row, in input order."""
        counter = KeyCounter()
        try:
            for keyed in counter.keyed(self.reader.chunks(), self.defaults, self.name):
                yield keyed, self._answers(keyed)
        finally:
            counter.close()

    def _answers(self, keyed: KeyedChunk) -> list[Answer]:
        stored = self.journal.results([key for key in keyed.keys if key])
        return [
            assemble(
                row,
                request,
                key,
                stored.get(key) if key else None,
                self.provider.judge,
                self.journal.identity,
            )
            for row, request, key in zip(keyed.chunk.rows, keyed.requests, keyed.keys, strict=True)
        ]
