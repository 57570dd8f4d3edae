"""What a list of jobs shows: each with its last run, and how that stands now. Reads alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch.errors import ChatbatchError, UsageError
from batch.jobfile import JobFile, load, names, salvaged
from batch.journal import alive_elsewhere, is_held, read_owner
from batch.plan.scheduled.history import RUNNING, History, Record
from batch.plan.scheduled.recording import LOCK, killed


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
            yield Listed(name, _latest(records), job.schedule.next(now))
        except ChatbatchError as error:
            yield Listed(name, error=str(error))


def _latest(records: Sequence[Record]) -> Record | None:
    """Return the run that goes on, or else ended last: not one that found the job running and did nothing."""
    return max(records, key=lambda item: (item.outcome == RUNNING, item.ended_at or item.started_at), default=None)


def readable(path: Path) -> JobFile:
    """Return a job whose history is asked for: of a broken file only what says where that stands."""
    try:
        return load(path)
    except UsageError:
        return salvaged(path)


def remembered(job: JobFile, now: datetime, environment: Mapping[str, str]) -> list[Record]:
    """Return the runs of a job, the oldest first; one that was killed is shown so before another run closes it."""
    rules = job.state(now, environment)
    records = History(rules.folder, rules.keep).records()
    open_ones = [record.id for record in records if record.outcome == RUNNING]
    if not open_ones:
        return records
    lock = read_owner(rules.folder / LOCK)
    going_on = is_held(rules.folder / LOCK) or alive_elsewhere(lock, time.time())
    dead = set(open_ones[:-1] if going_on else open_ones)
    return [killed(record, lock) if record.id in dead else record for record in records]
