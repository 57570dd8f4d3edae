"""From the journal to the output: the input is read once more and joined with the answers, by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batch.accounts import Accounts
from batch.attempts import OUTCOMES, answered
from batch.errors import AttemptFailed, Billed
from batch.journal import IDENTITY, Journal, KeyCounter, Outcome, Result, Stored, Write
from batch.plan.feeding import UNKNOWN_BILLED, RowNames
from batch.plan.portions import Portion, invalid_keys
from batch.plan.reckoning import Reckoning
from batch.providers import Provider
from batch.readers import Reader
from batch.records import NOTHING_CHARGED, Answer, Defaults, KeyedChunk, Status, Usage
from batch.writer import Judge, assemble


def settle(journal: Journal, provider: Provider, accounts: Accounts) -> int:
    """Judge the receipts that a run committed and did not come to judge; returns how many."""
    count = 0
    while leftover := journal.unjudged():
        writes: list[Write] = []
        for item in leftover:
            receipt = item.receipt
            try:
                completion = provider.judge(receipt.reply)
            except AttemptFailed as error:
                charge = NOTHING_CHARGED if error.billed is Billed.NO else None
                writes.append(Outcome(item.attempt, OUTCOMES[error.billed], error.code, charge))
                continue
            charge = accounts.actual(item.model, item.mode, completion.usage)
            writes.append(Outcome(item.attempt, "answered", None, charge))
            writes.append(
                answered(
                    item.row_key,
                    item.attempt,
                    item.number,
                    completion,
                    receipt.latency_s,
                    receipt.received_at,
                    charge,
                )
            )
        journal.apply(writes)
        count += len(leftover)
    return count


def leave_unknown(journal: Journal, row_keys: list[str], now: float) -> None:
    """Record rows that were in flight when a run died as failed, so that they are not bought again unasked."""
    states = journal.states(row_keys)
    journal.apply(
        [
            Result(
                key,
                0,
                Status.FAILED,
                states[key].attempts,
                Usage(),
                UNKNOWN_BILLED,
                "the request was in flight when a run ended, and may have been billed; --unknown retry asks again",
                None,
                now,
            )
            for key in dict.fromkeys(row_keys)
            if states[key].status is not Status.OK
        ]
    )


class Answered(Protocol):
    """What a join asks of a journal: `Records`, or one whose last receipts were judged in memory."""

    def fact(self, name: str) -> str:
        """Return a lasting fact about the journal, or an empty text."""
        ...

    def results(self, row_keys: Sequence[str]) -> dict[str, Stored]:
        """Return the results of rows with their raw replies; those without one are left out."""
        ...


@dataclass(slots=True)
class Join:
    """The input's rows with what the journal holds of them.

    With a `portion` only the rows that it holds. Afterwards `edited` rows have an id whose answer was given to
    another content.
    """

    reader: Reader
    defaults: Defaults
    names: RowNames
    journal: Answered
    judge: Judge
    dedupe: bool
    reckoning: Reckoning | None = None
    portion: Portion | None = None
    edited: int = 0

    def rows(self) -> Iterator[tuple[KeyedChunk, Sequence[Answer]]]:
        """Yield every chunk with one answer per row, in input order."""
        counter = KeyCounter(dedupe=self.dedupe)
        try:
            for keyed in counter.keyed(self.reader.chunks(), self.defaults, self.names.name):
                answers = self._answers(keyed)
                if self.portion is not None:
                    marks = self.journal.results(invalid_keys(keyed.chunk.rows))
                    keyed, answers = self.portion.of_chunk(keyed, answers, marks)
                yield keyed, answers
        finally:
            counter.close()

    def _answers(self, keyed: KeyedChunk) -> list[Answer]:
        identity = self.journal.fact(IDENTITY)
        stored = self.journal.results([key for key in keyed.keys if key])
        if self.names.by_id:
            self._count_edited(keyed, stored)
        answers = [
            assemble(
                row,
                request,
                key,
                stored.get(key) if key else None,
                self.judge,
                identity,
            )
            for row, request, key in zip(keyed.chunk.rows, keyed.requests, keyed.keys, strict=True)
        ]
        if self.reckoning is not None:
            for request, first, answer in zip(keyed.requests, keyed.first, answers, strict=True):
                if request is not None and first:
                    self.reckoning.row(request, answer)
        return answers

    def _count_edited(self, keyed: KeyedChunk, stored: Mapping[str, Stored]) -> None:
        for request, key in zip(keyed.requests, keyed.keys, strict=True):
            known = stored.get(key) if key else None
            if request is not None and known is not None and known.content is not None:
                self.edited += known.content != self.names.content(request)
