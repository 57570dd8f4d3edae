"""How a run is doing, or how the last one ended: from the journal, its lock and the input, without a write."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from batch.errors import ChatbatchError
from batch.events import ModeShare, Spending
from batch.journal import Inspection, KeyCounter, OpenSum, RunRecord, Sums, alive_elsewhere, is_held, read_owner
from batch.jsontext import JsonObject
from batch.plan.accounting import mode_shares, spending
from batch.plan.feeding import RowNames
from batch.plan.opening import defaults
from batch.plan.rewriting import Remembered
from batch.providers import models_of
from batch.records import Status

MINUTE_S = 60.0
# Beyond so many bytes of input its rows are not read for a glance.
CHEAP_BYTES = 8 << 20
RUNNING, ENDED, KILLED, NEVER = "running", "ended", "killed", "never run"


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows by state; None where only reading a large input would tell, `note` says why.

    `submitted` rows have an open operation, which the next run collects; `in_flight` a request that is open.
    """

    ok: int
    failed: int
    submitted: int
    in_flight: int
    pending: int | None
    invalid: int | None
    input: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class UnknownRow:
    """A request that may have been billed unseen: its row, when it left, and what the row's status is now."""

    row_key: str
    sent_at: float
    status: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that a look at an output tells; rates are rows per second, `left_s` None unless running.

    `open_operations` are as many, the oldest of `oldest_s` seconds; `spending` and `modes` are of all runs.
    """

    now: float
    state: str
    owner: JsonObject
    run: RunRecord | None
    runs: int
    rows: RowCounts
    sums: Sums
    last_minute: int
    over_run: float | None
    left_s: float | None
    unknown: list[UnknownRow]
    open_operations: int
    oldest_s: float | None
    spending: list[Spending]
    modes: list[ModeShare]


def look(journal_path: Path, now: float) -> Standing:
    """Return how an output stands at the time `now`; raises `JournalError` where there is no journal."""
    owner = read_owner(journal_path)
    running = is_held(journal_path) or alive_elsewhere(owner, now)
    journal = Inspection.open(journal_path)
    try:
        with journal.snapshot():
            return _standing(journal, owner, running=running, now=now)
    finally:
        journal.close()


def _standing(journal: Inspection, owner: JsonObject, *, running: bool, now: float) -> Standing:
    runs = journal.runs()
    run = runs[-1] if runs else None
    requests = journal.open_requests()
    unknown = [UnknownRow(*item) for item in journal.unknown()]
    if not running:  # nobody follows them any more
        unknown += [UnknownRow(*item) for item in requests]
    sums = journal.sums()
    opened = journal.open_sum()
    rows = _rows(journal, sums, opened, {key for key, _, _ in requests} if running else set())
    last_minute = journal.finished_since(now - MINUTE_S)
    over_run = _over_run(journal, run, running=running, now=now)
    state = RUNNING if running else NEVER if run is None else KILLED if run.ended_at is None else ENDED
    rate = last_minute / MINUTE_S if run and now - run.started_at > MINUTE_S else over_run
    todo = None if rows.pending is None else rows.pending + rows.in_flight + rows.submitted
    left = todo / rate if running and rate and todo is not None else None
    oldest = None if opened.oldest is None else max(0.0, now - opened.oldest)
    attempts = journal.spending()
    money = (spending(attempts, journal.costs()), mode_shares(attempts))
    pace = (last_minute, over_run, left)
    return Standing(now, state, owner, run, len(runs), rows, sums, *pace, unknown, opened.count, oldest, *money)


def _over_run(journal: Inspection, run: RunRecord | None, *, running: bool, now: float) -> float | None:
    """Return rows per second of the last run: until now, until its end, or its last row where it was killed."""
    if run is None:
        return None
    end = now if running else run.ended_at or journal.last_finished() or run.started_at
    return journal.finished_since(run.started_at) / (end - run.started_at) if end > run.started_at else None


def _rows(journal: Inspection, sums: Sums, opened: OpenSum, in_flight: set[str]) -> RowCounts:
    ok, failed = (sums.results.get(status.value, 0) for status in (Status.OK, Status.FAILED))
    failed, submitted = failed - opened.failed_before, opened.count
    try:
        remembered = Remembered.of(journal)
        source = remembered.open()
        if sum(item.path.stat().st_size for item in source.files) <= CHEAP_BYTES:
            return _read_rows(journal, remembered, in_flight)
        rows = source.reader.count()
    except (ChatbatchError, OSError) as error:
        return RowCounts(ok, failed, submitted, len(in_flight), None, None, None, str(error))
    left = max(0, rows - ok - failed - submitted - len(in_flight))
    note = "the input is large and was only counted: pending holds invalid rows too"
    return RowCounts(ok, failed, submitted, len(in_flight), left, None, rows, note)


def _read_rows(journal: Inspection, remembered: Remembered, in_flight: set[str]) -> RowCounts:
    settings = remembered.settings
    names = RowNames(models_of(settings, settings.folder).identity, by_id=settings.id_column is not None)
    counter, counts = KeyCounter(dedupe=settings.dedupe), Counter[str]()
    try:
        for keyed in counter.keyed(remembered.open().reader.chunks(), defaults(settings), names.name):
            states = journal.states([key for key in keyed.keys if key])
            for key in keyed.keys:
                state = states.get(key) if key else None
                if key is None:
                    counts["invalid"] += 1
                elif state is not None and state.is_open:
                    counts["submitted"] += 1
                elif key in in_flight:
                    counts["in_flight"] += 1
                else:
                    counts[state.status.value if state and state.status else "pending"] += 1
    finally:
        counter.close()
    asked = (counts["ok"], counts["failed"], counts["submitted"], counts["in_flight"])
    return RowCounts(*asked, counts["pending"], counts["invalid"], counts.total())
