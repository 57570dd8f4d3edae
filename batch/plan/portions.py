"""Which rows an output holds where several outputs share one journal: each row stands in one of them.

A row belongs to the output of the run in which it came to its end; a run that was killed wrote none, so its rows
belong to the output of the next one. Nothing is kept for that but the journal.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from batch import storage
from batch.journal import Result, RunRecord, Stored
from batch.jsontext import NotJson, parse
from batch.records import Answer, Chunk, KeyedChunk, Row, Status, Usage

INVALID_PREFIX = "invalid:"


@dataclass(frozen=True, slots=True)
class Portion:
    """The rows that one output holds; `note` keeps what is written of invalid rows, which no request stands for.

    `began` and `mine` are, run by run, when it began and whether what ended in it belongs to this output.
    """

    began: Sequence[float]
    mine: Sequence[bool]
    now: float
    note: Callable[[Sequence[Result]], None]

    @classmethod
    def of(
        cls, runs: Sequence[RunRecord], output: str, now: float, note: Callable[[Sequence[Result]], None]
    ) -> Portion:
        """Return the portion of an output, of a journal's runs, the oldest first; the last one may go on."""
        mine, later = [], output
        for run in reversed(runs):
            if run.ended_at is not None or run is runs[-1]:
                later = _output_of(run) or output
            mine.append(later == output)
        return cls([run.started_at for run in runs], mine[::-1], now, note)

    def holds(self, finished_at: float) -> bool:
        """Return whether a row that came to its end then stands in this output."""
        run = bisect_right(self.began, finished_at) - 1
        return self.mine[max(run, 0)] if self.mine else True

    def of_chunk(
        self, keyed: KeyedChunk, answers: Sequence[Answer], known: Mapping[str, Stored]
    ) -> tuple[KeyedChunk, list[Answer]]:
        """Return what of a chunk stands in this output; `known` holds earlier marks of its invalid rows."""
        kept, fresh = [], []
        for number, (row, answer) in enumerate(zip(keyed.chunk.rows, answers, strict=True)):
            if answer.finished_at is not None:
                if self.holds(answer.finished_at.timestamp()):
                    kept.append(number)
            elif answer.status is Status.INVALID:
                mark = known.get(invalid_key(row))
                if mark is None:
                    fresh.append(_mark(row, answer, self.now))
                if mark is None or self.holds(mark.result.finished_at):
                    kept.append(number)
        if fresh:
            self.note(fresh)
        return _taken(keyed, kept), [answers[number] for number in kept]


def invalid_keys(rows: Sequence[Row]) -> list[str]:
    """Return the keys under which a journal knows the invalid ones of these rows."""
    return [invalid_key(row) for row in rows if row.problem is not None]


def invalid_key(row: Row) -> str:
    """Return what names an invalid row: where it stands, and what is wrong with it."""
    reason = row.problem.reason if row.problem else ""
    return INVALID_PREFIX + hashlib.blake2b(f"{row.where}\0{reason}".encode(), digest_size=16).hexdigest()


def _mark(row: Row, answer: Answer, now: float) -> Result:
    told = (answer.error_code, answer.error_message)
    return Result(invalid_key(row), 0, Status.INVALID, 0, Usage(), *told, None, now)


def _taken(keyed: KeyedChunk, kept: Sequence[int]) -> KeyedChunk:
    chunk = keyed.chunk
    columns = None if chunk.columns is None else storage.taken(chunk.columns, kept)
    return replace(
        keyed,
        chunk=Chunk([chunk.rows[number] for number in kept], columns),
        requests=[keyed.requests[number] for number in kept],
        keys=[keyed.keys[number] for number in kept],
        first=[keyed.first[number] for number in kept],
    )


def _output_of(run: RunRecord) -> str | None:
    try:
        told = parse(run.settings)
    except NotJson:
        return None
    output = told.get("output") if isinstance(told, dict) else None
    return output if isinstance(output, str) else None
