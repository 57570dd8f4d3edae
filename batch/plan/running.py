"""The main job: answer a file, then write the output; the same call again continues.

Everything that can be wrong with inputs, outputs, settings and credentials is found before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial

import anyio
import anyio.to_thread

from batch import __version__, storage
from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode, NothingToDo
from batch.events import Exporting, News, Notice, RunStarted, Stopping, Tally, UnknownBilled
from batch.journal import ASYNC, SYNC, Journal, Owner
from batch.jsontext import JsonObject, encode_text
from batch.plan.accounting import mode_shares, price_facts, spending
from batch.plan.answering import Answering
from batch.plan.ending import End, Spent, Written, outcome, summary, told
from batch.plan.exporting import Join, leave_unknown, settle
from batch.plan.feeding import RowNames
from batch.plan.job import Job, Outside, Ticker, ticking
from batch.plan.opening import asked_of, defaults, open_input, prepare, reached
from batch.plan.portions import Portion
from batch.plan.reckoning import Reckoning
from batch.providers import Provider, open_provider, service_address
from batch.runner import listen
from batch.settings import Settings
from batch.stopping import Stop
from batch.transport import open_client
from batch.writer import Layout, write


def run(
    settings: Settings,
    inputs: Sequence[str],
    environment: Mapping[str, str],
    *,
    news: News,
    clock: Clock,
    tick: Ticker,
    only: frozenset[str] | None = None,
) -> ExitCode:
    """Answer the inputs' rows and write the output; returns the exit code that the README lists.

    A pilot sends the rows of the keys in `only`; it journals their answers and writes no output.
    Raises `ChatbatchError` for whatever keeps the run from beginning, or breaks it off.
    """
    with ExitStack() as stack:
        prepared = prepare(settings, inputs, environment, clock)
        paths = prepared.paths
        for path in paths.held:
            storage.ready_folder(path)
        owners = [stack.enter_context(closing(Owner.take(path))) for path in paths.held]
        source = prepared.source or open_input(settings, inputs, paths)
        layout = Layout.of(source.reader.columns, settings.keep)
        rows = source.reader.count()
        access = stack.enter_context(reached(prepared.access))
        journal = stack.enter_context(closing(Journal.begin(paths.journal, asked_of(settings))))
        job = Job(access, paths, source, layout, journal, owners, rows, prepared.accounts, only)
        return anyio.run(partial(_execute, job, Outside(news, clock, tick)))


async def _execute(job: Job, outside: Outside) -> ExitCode:
    settings, news, clock = job.settings, outside.news, outside.clock
    began, tally = clock.monotonic(), Tally()
    news.subscribers.insert(0, tally.note)
    auth = job.access.credentials.auth(job.access.folder)
    stop = Stop(lambda reason, code: news.publish(Stopping(reason, code)))
    url = service_address(settings)
    async with open_client(url, settings.timeout, auth, use_proxies=not settings.emulate) as http:
        provider = open_provider(settings, http, job.access.credentials, job.access.folder)
        provider.model_uri(settings.model)
        unknown = _take_stock(job, provider, news, clock)
        answering = Answering(job, provider, stop, news, clock)
        error, written = None, None
        async with anyio.create_task_group() as beside:
            beside.start_soon(listen, stop, news, beside.cancel_scope)
            beside.start_soon(ticking, outside.tick)
            error, written = await _answer_and_export(answering, job, provider, outside)
            beside.cancel_scope.cancel()
        if stop.at_once:  # without an end in the journal: no output holds what this run brought
            return stop.exit_code or ExitCode.INTERRUPTED
    if written is None and error is None and job.only is not None:
        return _end_pilot(job, stop, clock)
    if written is None:
        raise error or ChatbatchError("The output was not written.")
    code, reason = outcome(settings, stop, answering, written.totals, tally)
    job.journal.end_run(clock.time(), code)
    # Of the journal: what the end of the run cut off in the middle of its end has been judged since.
    still_open = sum(1 for _ in job.journal.open_operations()) if answering.open_operations else 0
    end = End(str(job.paths.output), len(unknown), still_open, clock.monotonic() - began, reason, code)
    attempts = job.journal.spending()
    spent = Spent(spending(attempts, written.totals.cost), mode_shares(attempts))
    news.publish(summary(settings, written, spent, tally, answering.limits, end))
    if error is not None:
        raise error
    if code is ExitCode.NOTHING_TO_DO:
        raise NothingToDo("There was nothing to do: every row has its answer.")
    return code


def _end_pilot(job: Job, stop: Stop, clock: Clock) -> ExitCode:
    code = stop.exit_code or ExitCode.OK
    job.journal.end_run(clock.time(), code)
    return code


def _take_stock(job: Job, provider: Provider, news: News, clock: Clock) -> list[str]:
    """Bring the journal to where the last run left it, begin a run in it, and say what there is.

    Returns the keys of the rows whose requests may have been billed unseen.
    """
    settings, journal = job.settings, job.journal
    settle(journal, provider, job.accounts)
    unknown = journal.note_unknown()
    if settings.unknown == "skip":
        leave_unknown(journal, unknown, clock.time())
    journal.begin_run(clock.time(), __version__, encode_text(told(settings, job.input, job.paths)))
    news.publish(
        RunStarted(
            job.rows,
            journal.answered(),
            settings.model,
            str(settings.concurrency),
            str(job.paths.output),
            settings.emulate,
        )
    )
    if journal.repaired:
        news.publish(Notice(f"About the journal: {journal.repaired}."))
    if job.layout.clashes:
        names = ", ".join(job.layout.clashes)
        news.publish(Notice(f"The input has columns of these names already, so ours get a prefix: {names}."))
    for warning in job.access.credentials.warnings:
        news.publish(Notice(warning))
    if (keeper := job.access.credentials.keeper) is not None:
        keeper.warn = lambda sentence: news.publish(Notice(sentence))
    if unknown:
        news.publish(UnknownBilled(unknown, settings.unknown == "retry"))
    return unknown


async def _answer_and_export(
    answering: Answering, job: Job, provider: Provider, outside: Outside
) -> tuple[ChatbatchError | None, Written | None]:
    """Answer the rows and write the output; returns what broke either off, and what was written."""
    broken: ChatbatchError | None = None
    try:
        await answering.run()
    except ChatbatchError as error:
        broken = error
    if job.only is not None:
        return broken, None
    try:
        return broken, await _export(job, provider, outside)
    except ChatbatchError as error:
        return broken or error, None


async def _export(job: Job, provider: Provider, outside: Outside) -> Written:
    """Write the output from the journal, in a worker thread."""
    news, tick, clock = outside.news, outside.tick, outside.clock
    settle(job.journal, provider, job.accounts)
    news.publish(Exporting(str(job.paths.output)))
    tick()
    settings = job.settings
    names = RowNames(provider.identity, by_id=settings.id_column is not None)
    reckoning = Reckoning(job.accounts, ASYNC if settings.mode == ASYNC else SYNC)
    source = job.input.reader
    join = Join(source, defaults(settings), names, job.journal, provider.judge, settings.dedupe, reckoning)
    if settings.only_new:
        journal = job.journal
        join.portion = Portion.of(journal.runs(), str(job.paths.output), clock.time(), journal.apply)
    facts: JsonObject = {
        "chatbatch": __version__,
        "settings": told(settings, job.input, job.paths),
        "emulated": settings.emulate,
        "prices": price_facts(job.accounts, settings.model),
    }
    totals = await anyio.to_thread.run_sync(write, job.paths.output, job.layout, join.rows(), facts)
    if join.edited:
        news.publish(
            Notice(
                f"{join.edited} rows were edited since they were answered; their ids are the same, so the old "
                "answers stand."
            )
        )
    return Written(totals, reckoning)
