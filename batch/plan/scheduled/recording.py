"""A job's run, alone and remembered: its lock, its record, and the records of runs that were killed before.

A job does not overlap itself: it holds a lock in its state, also where its outputs are others every hour. The
lock is the journal's (`batch.journal.Owner`), so it dies with its process, and a killed job is taken over at once.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch import __version__
from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode, JournalError, OutputHeld, UsageError
from batch.events import Event, RunFinished, RunStarted
from batch.journal import BEAT_S, Owner, last_seen, read_owner
from batch.jsontext import JsonObject
from batch.plan.scheduled.bought import Bought, Place
from batch.plan.scheduled.history import IDLE, KILLED, OUTCOMES, RUNNING, History, Record
from batch.plan.scheduled.jobs import Prepared
from batch.plan.telling import Outcome

LOCK = "run"


@dataclass(slots=True)
class Recorded:
    """A run that is being remembered; whoever runs it sets its exit code, and passes on what it tells."""

    record: Record
    history: History
    prepared: Prepared
    code: int | None = None
    _total: int | None = field(default=None)
    _finished: RunFinished | None = field(default=None)

    def note(self, event: Event) -> None:
        """Take in an event: which run of its journal this one is, before anything is sent; and how it ended.

        Raises `UsageError` where the history cannot be written, `JournalError` where the journal cannot be read.
        """
        match event:
            case RunStarted() if self.prepared.journal is not None:
                self._total = event.rows
                place = Place.latest(self.prepared.journal)
                self.record = replace(self.record, run=place.run, identity=place.identity, emulated=event.emulated)
                self.history.append(self.record)
            case RunFinished():
                self._finished = event

    def rows(self) -> dict[str, int]:
        """Return how the job's rows stand, as far as run and journal know; nothing of a run that never began."""
        if self._finished is not None:
            return dict(self._finished.rows)
        if self._total is None or self.record.place is None:
            return {}
        return self.record.place.rows(self._total)


@contextmanager
def recorded(prepared: Prepared, clock: Clock, warn: Callable[[str], None]) -> Iterator[Recorded]:
    """Enclose one run: take the job's lock, close killed runs' records, write this one's beginning and end.

    Raises `OutputHeld` where the job is running already: that is remembered too, as a run that bought nothing.
    """
    history = History(prepared.history.folder, prepared.history.keep)
    output, journal = str(prepared.resolved.settings.output), str(prepared.journal)
    record = begun(clock, settings=prepared.fingerprint, output=output, journal=journal)
    before = read_owner(prepared.history.folder / LOCK)
    try:
        owner = _taken(prepared.history.folder)
    except OutputHeld as held:
        sentence = str(held).replace("Another run holds this output", f"The job {prepared.job.name} is running")
        history.append(ended(record, clock, Outcome(int(ExitCode.HELD), sentence)))
        raise OutputHeld(sentence, hint="It is left alone; the next run does what this one would have.") from None
    gone = threading.Event()
    threading.Thread(target=_beat, args=(owner, gone), daemon=True).start()
    try:
        for item in history.records():
            if item.outcome == RUNNING:  # we hold the job, so it is dead
                history.append(killed(item, before))
        history.append(record)
        yield from _enclosed(Recorded(record, history, prepared), clock, warn)
    finally:
        gone.set()
        owner.close()


def _taken(folder: Path) -> Owner:
    """Take the job's lock; raises `OutputHeld`, and `UsageError` where its state cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Owner.take(folder / LOCK)
    except (OSError, JournalError) as error:
        what = (
            f"cannot be written: {error.strerror}." if isinstance(error, OSError) else f"cannot be used. {error}"
        )
        raise UsageError(
            f"The job's state {folder} {what}",
            hint="Mend its permissions, or name another folder with folder in [history] of the job file.",
        ) from None


def _enclosed(run: Recorded, clock: Clock, warn: Callable[[str], None]) -> Iterator[Recorded]:
    try:
        yield run
    except BaseException as error:  # also an interrupt, and an exit by SIGTERM
        _remember(run, clock, Outcome.of(error), warn)
        raise
    _remember(run, clock, Outcome(run.code or 0), warn)


def _remember(run: Recorded, clock: Clock, outcome: Outcome, warn: Callable[[str], None]) -> None:
    """Write how a run ended, and what it found out about those before it; that never fails the run."""
    try:
        run.history.append(_closed(run, clock, outcome))
        if run.record.run:
            _settle(run.history)
    except ChatbatchError as error:
        warn(f"The run is not in the job's history: {error}")


def _closed(run: Recorded, clock: Clock, outcome: Outcome) -> Record:
    record = replace(ended(run.record, clock, outcome), rows=run.rows())
    gained = record.gained
    idle = gained is not None and not (gained.sent or gained.answered or gained.doubtful)
    return replace(record, outcome=IDLE) if outcome.code == ExitCode.OK and idle else record


def begun(clock: Clock, *, settings: str = "", output: str = "", journal: str = "") -> Record:
    """Return the record of a run that begins now."""
    now, host, pid = clock.time(), socket.gethostname(), os.getpid()
    return Record(
        id=f"{now:.6f}-{host}-{pid}",
        started_at=now,
        version=__version__,
        host=host,
        pid=pid,
        settings=settings,
        output=output,
        journal=journal,
    )


def ended(record: Record, clock: Clock, outcome: Outcome) -> Record:
    """Return the record of a run that ended just now."""
    word = OUTCOMES.get(outcome.code, f"ended with {outcome.code}")
    counted = _counted(record)
    return replace(counted, ended_at=clock.time(), outcome=word, exit_code=outcome.code, error=outcome.error)


def _counted(record: Record) -> Record:
    """Return a record with what its run bought, as far as its journal knows by now."""
    if record.place is None:  # it never came to send anything
        return replace(record, gained=Bought(), settled=True)
    gained = Bought.by(record.place)
    return replace(record, gained=gained, settled=gained is not None and not gained.unjudged)


def killed(record: Record, lock: JsonObject) -> Record:
    """Return the record of a run that was killed; `lock` is what the last one left in the job's lock.

    It ended when it was last seen alive, or sent its last request. It is not settled where it began to send: the
    journal's SQLite file may lack what its tape has, until a run opens it.
    """
    own = lock.get("pid") == record.pid and lock.get("host") == record.host
    counted = _counted(record)
    signs = [last_seen(lock) if own else None, counted.gained.last_sent if counted.gained else None]
    at = max((sign for sign in signs if sign is not None), default=None)
    at = None if at is None else max(at, record.started_at)
    return replace(counted, outcome=KILLED, ended_at=at, settled=not record.run)


def _settle(history: History) -> None:
    """Count once more what was not settled: a run has opened the journal since, and taken in what was left."""
    for item in history.records():
        if item.settled or item.outcome == RUNNING:
            continue
        now = _counted(item)
        if now.gained is not None and now != item:
            history.append(now)


def _beat(owner: Owner, gone: threading.Event) -> None:
    while not gone.wait(BEAT_S):
        owner.beat()
