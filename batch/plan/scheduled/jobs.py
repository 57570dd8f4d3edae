"""A scheduled job: its file put together with flags and environment, run alone, and remembered.

A job does not overlap itself: it holds a lock in its state, also where its outputs are others every hour. The
lock is the journal's (`batch.journal.Owner`), so it dies with its process, and a killed job is taken over at once.
"""

from __future__ import annotations

import glob
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from batch import __version__, storage
from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode, InputError, JournalError, OutputHeld, UsageError
from batch.jobfile import KEYS, HistoryRules, JobFile, load, names
from batch.journal import BEAT_S, Owner
from batch.jsontext import Json, canonical
from batch.parsing import home_expanded
from batch.plan.opening import journal_of
from batch.plan.scheduled.history import IDLE, KILLED, OUTCOMES, RUNNING, Bought, History, Record
from batch.plan.status import look
from batch.plan.telling import Outcome
from batch.settings import Layer, Resolved, resolve

# Settings that say how one call is shown, or where credentials may stand: no part of what a job is.
_NOT_HASHED = frozenset(
    {"dry_run", "verbose", "quiet", "json", "service_account_key", "ping_url", "webhook", "stats", "log_file"}
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job at a moment: its settings in force with their origins, its inputs, where its state stands."""

    job: JobFile
    resolved: Resolved
    inputs: Sequence[str]
    history: HistoryRules
    began: datetime

    @property
    def journal(self) -> Path | None:
        """Return the journal of this run, or None where there is no output."""
        settings = self.resolved.settings
        return settings.journal or (journal_of(settings.output) if settings.output else None)

    @property
    def fingerprint(self) -> str:
        """Return a hash of the settings without secrets, equal while they are; placeholders count unfilled."""
        told: dict[str, Json] = {"inputs": [str(text) for text in _texts(self.job.values.get(("input", "files")))]}
        for name, origin in self.resolved.origins.items():
            if origin == "default" or name in _NOT_HASHED:
                continue
            text = str(getattr(self.resolved.settings, name))
            stated = self.job.values.get(KEYS[name]) if origin.startswith("job file") else None
            told[name] = stated if isinstance(stated, str) and "{" in stated else text
        return hashlib.sha256(canonical(told)).hexdigest()[:16]

    def there(self) -> list[str]:
        """Return the inputs that there is something to read of; a folder or a glob may still be empty.

        Raises `InputError` for one that names a single file which is missing or of no known kind.
        """
        found = []
        for text in self.inputs:
            try:
                files = storage.find([text], leave_out=self._own())
            except InputError:
                if not _may_be_empty(text):
                    raise
                continue
            found += [text] if files else []
        return found

    def _own(self) -> list[Path]:
        output = self.resolved.settings.output
        return [] if output is None else [output]


def _texts(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _may_be_empty(text: str) -> bool:
    """Return whether an input may hold nothing yet: a glob, a folder, or a missing path without an ending."""
    path = home_expanded(text)
    if path.exists():
        return path.is_dir()
    return "://" not in text and (glob.has_magic(text) or text.endswith("/") or not path.suffix)


def prepare(job: JobFile, above: Sequence[Layer], began: datetime, environment: Mapping[str, str]) -> Prepared:
    """Return the job as it is to be run; `above` are the layers that go before its file, the first wins.

    Raises `UsageError` for a wrong value, a job without input or without output.
    """
    ready = job.at(began, environment)
    resolved = resolve([*above, *ready.layers])
    if not ready.inputs:
        raise job.wrong(("input", "files"), "the job has no input", 'Such as files = ["in/"] in [input].')
    if resolved.settings.output is None:
        raise job.wrong(
            ("output", "path"), "the job has no output", 'Such as path = "answers.parquet" in [output].'
        )
    return Prepared(job, resolved, ready.inputs, ready.history, began)


@dataclass(slots=True)
class Recorded:
    """A run that is being remembered; whoever runs it sets its exit code."""

    record: Record
    code: int | None = None
    idle: bool = field(default=False)


@contextmanager
def recorded(prepared: Prepared, clock: Clock, warn: Callable[[str], None]) -> Iterator[Recorded]:
    """Enclose one run: take the job's lock, close a killed run's record, write this one's beginning and end.

    Raises `OutputHeld` where the job is running already: that is remembered too, as a run that bought nothing.
    """
    history = History(prepared.history.folder, prepared.history.keep)
    record = _begun(prepared, clock)
    try:
        prepared.history.folder.mkdir(parents=True, exist_ok=True)
        owner = Owner.take(prepared.history.folder / "run")
    except OSError as error:
        raise UsageError(
            f"The job's state {prepared.history.folder} cannot be written: {error.strerror}."
        ) from None
    except OutputHeld as held:
        sentence = str(held).replace("Another run holds this output", f"The job {prepared.job.name} is running")
        history.append(_ended(record, clock, Outcome(int(ExitCode.HELD), sentence), Bought()))
        raise OutputHeld(sentence, hint="It is left alone; the next run does what this one would have.") from None
    gone = threading.Event()
    threading.Thread(target=_beat, args=(owner, gone), daemon=True).start()
    try:
        _close_killed(history, clock)
        record = replace(record, before=_holds(record, history))
        history.append(record)
        yield from _enclosed(prepared, history, record, clock, warn)
    finally:
        gone.set()
        owner.close()


def _enclosed(
    prepared: Prepared, history: History, record: Record, clock: Clock, warn: Callable[[str], None]
) -> Iterator[Recorded]:
    run = Recorded(record)
    try:
        yield run
    except BaseException as error:  # also an interrupt, and an exit by SIGTERM
        _remember(prepared, history, run, clock, Outcome.of(error), warn)
        raise
    _remember(prepared, history, run, clock, Outcome(run.code or 0), warn)


def _remember(
    prepared: Prepared,
    history: History,
    run: Recorded,
    clock: Clock,
    outcome: Outcome,
    warn: Callable[[str], None],
) -> None:
    """Write how a run ended; that never fails the run."""
    try:
        held = outcome.code == ExitCode.HELD  # the output is another's: what its journal gains is not ours
        gained = Bought() if held or run.idle else _holds(run.record, history).minus(run.record.before)
        record = replace(_ended(run.record, clock, outcome, gained), rows={} if held else _rows(prepared, clock))
        if outcome.code == ExitCode.OK and not gained.answered and not gained.doubtful:
            record = replace(record, outcome=IDLE)
        history.append(record)
    except ChatbatchError as error:
        warn(f"The run is not in the job's history: {error}")


def _begun(prepared: Prepared, clock: Clock) -> Record:
    settings, journal = prepared.resolved.settings, prepared.journal
    now, pid = clock.time(), os.getpid()
    return Record(
        id=f"{now:.6f}-{socket.gethostname()}-{pid}",
        started_at=now,
        version=__version__,
        host=socket.gethostname(),
        pid=pid,
        settings=prepared.fingerprint,
        output=str(settings.output),
        journal=str(journal),
        before=Bought(),
    )


def _holds(record: Record, history: History) -> Bought:
    """Return what a record's journal holds; where it is damaged, what it held when it was last read."""
    try:
        return Bought.of_journal(Path(record.journal))
    except JournalError:
        known = [item.after for item in history.records() if item.journal == record.journal]
        return known[-1] if known else Bought()


def _close_killed(history: History, clock: Clock) -> None:
    """Write the end of runs that have none: we hold the job, so they are dead."""
    for item in history.records():
        if item.outcome == RUNNING:
            gained = _holds(item, history).minus(item.before)
            history.append(replace(item, ended_at=clock.time(), outcome=KILLED, gained=gained))


def _ended(record: Record, clock: Clock, outcome: Outcome, gained: Bought) -> Record:
    word = OUTCOMES.get(outcome.code, f"ended with {outcome.code}")
    told = {"outcome": word, "exit_code": outcome.code, "error": outcome.error}
    return replace(record, ended_at=clock.time(), gained=gained, **told)  # type: ignore[arg-type]  # each its own


def _rows(prepared: Prepared, clock: Clock) -> dict[str, int]:
    """Return how the job's rows stand, as far as it is known without reading a large input."""
    journal = prepared.journal
    if journal is None or not journal.exists():
        return {}
    rows = look(journal, clock.time()).rows
    states = {"ok": rows.ok, "failed": rows.failed, "pending": rows.pending, "invalid": rows.invalid}
    return {name: count for name, count in states.items() if count is not None}


def _beat(owner: Owner, gone: threading.Event) -> None:
    while not gone.wait(BEAT_S):
        owner.beat()


@dataclass(frozen=True, slots=True)
class Listed:
    """A job as a list shows it: its last run, when it is due next; or what is wrong with its file."""

    name: str
    last: Record | None = None
    next: datetime | None = None
    error: str = ""


def listed(folder: Path, now: datetime, environment: Mapping[str, str]) -> Iterator[Listed]:
    """Yield the jobs of a folder by name; a broken file is listed with its error."""
    for name in names(folder):
        try:
            job = load(folder / (name + ".toml"))
            records = remembered(job, now, environment)
            yield Listed(name, records[-1] if records else None, job.schedule.next(now))
        except ChatbatchError as error:
            yield Listed(name, error=str(error))


def remembered(job: JobFile, now: datetime, environment: Mapping[str, str]) -> list[Record]:
    """Return the runs of a job, the oldest first."""
    rules = job.state(now, environment)
    return History(rules.folder, rules.keep).records()
