"""The journal as a run holds it: opened once, written by one, never begun anew over something harmed.

Synchronous; whoever awaits calls it in a worker thread. Every group of entries goes onto the tape first, and
is on disk there when SQLite hears of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from batch.errors import UsageError
from batch.journal.connection import connect, sentences
from batch.journal.entries import Outcome, RunBegan, RunEnded, Write
from batch.journal.queries import Records
from batch.journal.recovery import ASKED, IDENTITY, TAPE_END, apply, open_both, play
from batch.journal.tape import Tape


class Journal(Records):
    """An open journal. Methods raise `JournalError` with one sentence for whatever SQLite reports.

    One connection writes and another reads (`Records`), so that a reader's thread and the committing one do
    not meet. `repaired` says what opening had to mend, or is empty.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection, tape: Tape, repaired: str) -> None:
        super().__init__(path, connect(path))
        self._writer = writer
        self._tape = tape
        self.repaired = repaired
        self.identity = self.fact(IDENTITY)
        self.run = 0
        self._behind = False

    @classmethod
    def begin(cls, path: Path, asked: str) -> Journal:
        """Open the journal at `path` for a run that asks `asked`, making one where nothing stands.

        Raises `JournalError` for one that is damaged in both copies, foreign, or of a newer version, and
        `UsageError` for one that holds answers of somebody else.
        """
        with sentences(path):
            opened = open_both(path, asked)
            journal = cls(path, opened.connection, opened.tape, opened.repaired)
        try:
            check_asked(journal, path, asked)
        except UsageError:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Close the files; SQLite folds its log into its file."""
        super().close()
        self._writer.close()
        self._tape.close()

    def apply(self, writes: Sequence[Write]) -> None:
        """Commit entries, in their order, all or none; on disk when it returns."""
        with sentences(self.path):
            if self._behind:  # SQLite could not take a group that the tape has
                play(self._writer, self._tape, int(self._writer_fact(TAPE_END)))
            self._tape.append(writes)
            self._behind = True
            apply(self._writer, writes, self._tape.end)
            self._behind = False

    def _writer_fact(self, name: str) -> str:
        found = self._writer.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0])

    def begin_run(self, started_at: float, version: str, settings: str) -> int:
        """Write down that a run begins, with its settings as JSON without secrets; returns its number."""
        self.run = max((record.run for record in self.runs()), default=0) + 1
        self.apply([RunBegan(self.run, started_at, version, settings)])
        return self.run

    def end_run(self, ended_at: float, exit_code: int) -> None:
        """Write down how the run ended."""
        self.apply([RunEnded(self.run, ended_at, exit_code)])

    def note_unknown(self) -> list[str]:
        """Mark the requests whose end no run saw, and return their rows' keys.

        They may have been billed. To be called after `unjudged` has been worked off, before anything is sent.
        """
        found = self.open_attempts()
        if found:
            self.apply([Outcome(attempt, "unknown", None) for attempt, _ in found])
        return [key for _, key in found]


def check_asked(journal: Records, path: Path, asked: str) -> None:
    """Raise `UsageError` where a journal holds answers of somebody else than a run asks."""
    holds = journal.fact(ASKED)
    if holds != asked:
        raise UsageError(
            f"The journal {path} holds answers of the {holds}, and this run asks the {asked}.",
            hint="Name another output with -o, or delete the output and its journal.",
        )
