"""What a report says, gathered from a job's journal and one pass over its inputs; nothing is sent or changed."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from batch import parsing, pricing, storage
from batch.accounts import Accounts
from batch.errors import ChatbatchError, UsageError
from batch.events import Spending
from batch.journal import RunRecord, alive_elsewhere, is_held, read_owner
from batch.journal.timeline import Bin, Measure, Notable, RunEnd, Timeline
from batch.jsontext import Json, NotJson, parse
from batch.parsing import Money
from batch.plan.accounting import spending
from batch.plan.feeding import RowNames
from batch.plan.reckoning import Reckoning
from batch.plan.rewriting import Remembered, joined
from batch.providers import models_of
from batch.records import Answer, KeyedChunk, Request, Row, Status
from batch.report import (
    ENDED,
    KILLED,
    RUNNING,
    Entry,
    Facts,
    RunSpan,
    Scale,
    Series,
    Spread,
    render,
    require_library,
)
from batch.settings import Settings
from batch.writer import Totals

EXPENSIVE, FAILED = 20, 50
_BINS = 48
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
# Characters of a text that are kept for a page: what it can show of one, and more.
_KEPT = 4000


def report(output: Path, journal_path: Path, now: float, page: Path | None) -> Facts:
    """Return what a job came to, and write it to `page` where one is named.

    Raises `UsageError` where that page cannot be drawn or written, and `JournalError` without a journal.
    """
    if page is None:
        return gather(output, journal_path, now, with_series=False)
    _check_page(page)
    require_library()
    facts = gather(output, journal_path, now, with_series=True)
    _write(page, render(facts).encode())
    return facts


def _check_page(page: Path) -> None:
    """Refuse, before the work is done, what cannot be written; a name of another kind may be somebody's data."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--html {page}: the page's name has to end in .html.", hint="Such as --html report.html."
        )
    storage.check_folder(page)


def _write(page: Path, data: bytes) -> None:
    """Write the page under a temporary name and rename it: whoever looks sees an old page or a whole new one."""
    unfinished = page.with_name(f".{page.name}.{os.getpid()}.unfinished")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        unfinished.replace(page)
    except OSError as error:
        raise UsageError(
            f"The page {page} cannot be written: {error.strerror or error}.", hint="Name another file with --html."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def gather(output: Path, journal_path: Path, now: float, *, with_series: bool) -> Facts:
    """Return everything that a report tells, as of one moment; raises `JournalError` without a journal.

    `with_series` adds what only a page shows: how the time went, and the rows that stand out.
    """
    running = is_held(journal_path) or alive_elsewhere(read_owner(journal_path), now)
    journal = Timeline.open(journal_path)
    try:
        with journal.snapshot():
            return _facts(journal, output, now, running=running, with_series=with_series)
    finally:
        journal.close()


def _facts(journal: Timeline, output: Path, now: float, *, running: bool, with_series: bool) -> Facts:
    records = journal.runs()
    spans = _spans(journal, records, now, running=running)
    remembered = Remembered.of(journal)
    sums = journal.sums()
    seen = _Pass(journal, remembered, notable=with_series)
    seen.read()
    totals = seen.totals
    rows: dict[str, int | None] = dict(totals.rows)
    if seen.note:
        known = {name: sums.results.get(name, 0) for name in ("ok", "failed")}
        rows = {**known, "invalid": None, "pending": None}
    requests, retries = journal.requests()
    unknown = sums.attempts.get("unknown", 0)
    in_flight = sums.attempts.get(None, 0)
    latency, lengths = _spread(journal, "latency_s"), _spread(journal, "completion_tokens")
    source = sums if seen.note else totals
    return Facts(
        output=str(output),
        now=now,
        state=spans[-1].state,
        emulated=remembered.settings.emulate,
        version=records[-1].version,
        model=pricing.short_name(remembered.settings.model),
        inputs=list(remembered.names),
        runs=spans,
        rows=rows,
        note=seen.note,
        input_tokens=source.input_tokens,
        completion_tokens=source.completion_tokens,
        total_tokens=source.total_tokens,
        spending=_spending(journal, None if seen.note else totals),
        max_cost=_max_cost(remembered.told.get("max_cost")),
        max_total_tokens=_whole(remembered.told.get("max_total_tokens")),
        requests=requests,
        retries=retries,
        in_flight=in_flight,
        unknown=unknown,
        latency=latency,
        lengths=lengths,
        losses=journal.losses(),
        finished_by=dict(seen.finished_by),
        estimated=seen.reckoning.estimated,
        needs=seen.reckoning.needs(),
        expensive=[seen.expensive[item.row_key] for item in seen.dearest],
        failed=seen.failed,
        series=_series(journal, records, spans, (latency, lengths)) if with_series else None,
    )


def _spans(journal: Timeline, records: Sequence[RunRecord], now: float, *, running: bool) -> list[RunSpan]:
    spans = []
    for place, run in enumerate(records):
        last = place == len(records) - 1
        following = math.inf if last else records[place + 1].started_at
        if run.ended_at is not None:
            spans.append(RunSpan(run.run, run.started_at, run.ended_at, ENDED, run.exit_code))
        elif last and running:
            spans.append(RunSpan(run.run, run.started_at, max(now, run.started_at), RUNNING, None))
        else:
            until = journal.last_finished_between(run.started_at, following) or run.started_at
            spans.append(RunSpan(run.run, run.started_at, until, KILLED, None))
    return spans


def _spending(journal: Timeline, totals: Totals | None) -> list[Spending]:
    if totals is not None:
        return spending(journal.spending(), totals.cost)
    return spending(journal.spending(), {cost.currency: cost.amount for cost in journal.answers_cost()})


def _max_cost(told: Json) -> Money | None:
    """Return the cap that the last run was given; None where what was written down is no amount."""
    try:
        return parsing.money(told) if isinstance(told, str) else None
    except ValueError:
        return None


def _whole(told: Json) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def _spread(journal: Timeline, measure: Measure) -> Spread | None:
    found = journal.quantiles(measure, (0.5, 0.95, 0.99, 1.0))
    return None if found is None else Spread(*found)


def _timeout_of(run: RunRecord) -> float | None:
    """Return how long a run waited for an answer, as far as it has written that down."""
    try:
        told = parse(run.settings)
    except NotJson:
        return None
    timeout = told.get("timeout") if isinstance(told, dict) else None
    return float(timeout) if isinstance(timeout, int | float) and not isinstance(timeout, bool) else None


def _series(
    journal: Timeline,
    records: Sequence[RunRecord],
    spans: Sequence[RunSpan],
    spreads: tuple[Spread | None, Spread | None],
) -> Series:
    latency, lengths = spreads
    ends = [RunEnd(run.run, span.until, _timeout_of(run)) for run, span in zip(records, spans, strict=True)]
    scale = Scale.of([(span.started_at, span.until) for span in spans])
    width = scale.width
    return Series(
        scale,
        journal.finished(width),
        journal.charged(width),
        journal.lost(width),
        journal.underway(width, ends),
        journal.limits(width),
        journal.waited(width),
        _histogram(journal, "latency_s", latency, 0.001),
        _histogram(journal, "completion_tokens", lengths, 1.0),
    )


def _histogram(journal: Timeline, measure: Measure, spread: Spread | None, finest: float) -> list[Bin]:
    """Return bins of a round width that reach beyond the 99th percentile: a few stragglers squeeze nothing."""
    if spread is None:
        return []
    reach = min(spread.highest, spread.p99 * 1.25) or finest
    raw = max(reach / _BINS, finest)
    size = 10.0 ** math.floor(math.log10(raw))
    width = max(finest, next(nice * size for nice in _NICE if nice * size >= raw * 0.999))
    width = float(math.ceil(width)) if finest == 1.0 else width
    return journal.histogram(measure, width, max(1, math.floor(reach / width) + 1))


@dataclass(slots=True)
class _Pass:
    """One pass over the inputs with their answers: what adds up, and the texts of the rows that stand out."""

    journal: Timeline
    remembered: Remembered
    notable: bool
    totals: Totals = field(default_factory=Totals)
    finished_by: Counter[str] = field(default_factory=Counter)
    dearest: list[Notable] = field(default_factory=list)
    expensive: dict[str, Entry] = field(default_factory=dict)
    failed: list[Entry] = field(default_factory=list)
    note: str = ""
    reckoning: Reckoning = field(init=False)

    def __post_init__(self) -> None:
        settings = self.remembered.settings
        names = RowNames(models_of(settings, settings.folder).identity, by_id=settings.id_column is not None)
        self.reckoning = Reckoning(_accounts(settings, names.identity))
        if self.notable:
            self.dearest = self.journal.expensive(EXPENSIVE)
            self.expensive = {item.row_key: Entry(item) for item in self.dearest}

    def read(self) -> None:
        """Read the inputs; where one is gone or changed its kind, the journal alone has to do."""
        try:
            join = joined(self.remembered, self.remembered.open(), self.journal)
            for keyed, answers in replace(join, reckoning=self.reckoning).rows():
                self._chunk(keyed, answers)
        except (ChatbatchError, OSError) as error:
            self.note = f"The inputs could not be read, so this is what the journal alone tells: {error}"
            self.totals, self.finished_by = Totals(), Counter()
            self.reckoning = Reckoning(self.reckoning.accounts)
            if self.notable:
                self.failed = [Entry(item) for item in self.journal.failed(FAILED)]

    def _chunk(self, keyed: KeyedChunk, answers: Sequence[Answer]) -> None:
        for row, request, key, answer in zip(keyed.chunk.rows, keyed.requests, keyed.keys, answers, strict=True):
            self.totals.add(answer)
            if answer.finish_reason is not None:
                self.finished_by[answer.finish_reason.value] += 1
            if not self.notable:
                continue
            if key in self.expensive and not self.expensive[key].where:
                self.expensive[key] = _entry(self.expensive[key].row, row, request, answer)
            elif answer.status in (Status.FAILED, Status.INVALID) and len(self.failed) < FAILED:
                self.failed.append(_entry(_failure(answer), row, request, answer))


def _accounts(settings: Settings, identity: Callable[[str], str]) -> Accounts:
    """Return accounts with the prices in force; with none where the price list of the run is gone."""
    try:
        table = pricing.load(settings)
    except ChatbatchError:
        table = pricing.PriceTable("nowhere", {})
    return Accounts(table, identity)


def _failure(answer: Answer) -> Notable:
    cost = None if answer.cost is None or answer.currency is None else Money(Decimal(answer.cost), answer.currency)
    counts = (answer.attempts, answer.input_tokens, answer.completion_tokens)
    code = answer.error_code or answer.status.value
    return Notable(answer.row_key or "", *counts, cost, answer.latency_s, code, answer.error_message)


def _entry(known: Notable, row: Row, request: Request | None, answer: Answer) -> Entry:
    turns = request.messages if request is not None else row.messages
    texts = [turn.text for turn in turns if turn.text]
    question = "".join(texts)
    if len(texts) > 1:
        question = "\n\n".join(f"{turn.role}: {turn.text}" for turn in turns if turn.text)
    return Entry(known, row.where, question[:_KEPT], (answer.completion or answer.tool_calls or "")[:_KEPT])
