"""The journal as a run holds it: opened once, written by one, never begun anew over something harmed.

Synchronous; whoever awaits calls it in a worker thread. Every group of entries is put to SQLite, which may
refuse it, then onto the tape, and committed by SQLite when it is on disk there.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from batch.errors import UsageError
from batch.journal.connection import connect, sentences
from batch.journal.entries import Outcome, RunBegan, RunEnded, Write
from batch.journal.queries import Records
from batch.journal.recovery import ASKED, IDENTITY, TAPE_END, apply, mark, open_both, play
from batch.journal.tape import Tape, lines


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
        self._inode = os.stat(path).st_ino
        self._behind = False

    @classmethod
    def begin(cls, path: Path, asked: str) -> Journal:
        """Open the journal at `path` for a run that asks `asked`, making one where nothing stands.

        Raises `JournalError` for one that is damaged in both copies, foreign, or of a newer version, and
        `UsageError` for one that holds answers of somebody else.
        """
        with sentences(path):
            opened = open_both(path, asked)
            try:
                mark(opened.connection, in_use=True)
                journal = cls(path, opened.connection, opened.tape, opened.repaired)
            except BaseException:
                opened.connection.close()
                opened.tape.close()
                raise
        try:
            check_asked(journal, path, asked)
        except UsageError:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Close the files, safe to repeat; SQLite folds its log into its file."""
        try:
            with sentences(self.path):
                super().close()
                # A full disk: then the next run makes the file again from its tape. Or closed before.
                with suppress(sqlite3.OperationalError, sqlite3.ProgrammingError):
                    mark(self._writer, in_use=False)
                self._writer.close()
        finally:
            self._tape.close()

    def apply(self, writes: Sequence[Write]) -> None:
        """Commit entries, in their order, all or none; on disk when it returns.

        Raises `JournalError`. What SQLite refuses for what it says is then nowhere; where SQLite only could not
        write (a full disk), the tape may have it, and it is played back with the next group or by the next run.
        """
        with sentences(self.path):
            if os.stat(self.path).st_ino != self._inode:  # else a removed file would be written to unseen
                raise FileNotFoundError(errno.ENOENT, "the journal was moved or removed")
            data, before = lines(writes), self._tape.end
            try:
                if self._behind:  # SQLite could not take a group that the tape has
                    play(self._writer, self._tape, int(self._writer_fact(TAPE_END)))
                apply(self._writer, writes, before + len(data), lambda: self._onto_tape(data))
            except sqlite3.OperationalError:
                if self._tape.end == before:
                    self._onto_tape(data)
                raise
            self._behind = False

    def _onto_tape(self, data: bytes) -> None:
        self._tape.append(data)
        self._behind = True

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
