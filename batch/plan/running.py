"""The main job: answer a file, then write the output; the same call again continues.

Everything that can be wrong with inputs, outputs, settings and credentials is found before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

import anyio
import anyio.to_thread

from batch import __version__, storage
from batch.client import Client, Parts
from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode, NothingToDo, UsageError
from batch.events import Exporting, News, Notice, RunFinished, RunStarted, Stopping, Tally
from batch.journal import Commits, Journal, Owner
from batch.jsontext import JsonObject, encode_text
from batch.limits import Limits
from batch.plan.exporting import Join, settle
from batch.plan.feeding import Feed, provider_names
from batch.plan.opening import Access, Input, Paths, defaults, find_access, open_input, reached
from batch.providers import Provider, open_provider, service_address
from batch.retry import RetryPolicy
from batch.runner import Runner
from batch.settings import Settings
from batch.stopping import Stop
from batch.transport import open_client
from batch.writer import Layout, Totals, write

Ticker = Callable[[], None]
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is ready to begin."""

    access: Access
    paths: Paths
    input: Input
    layout: Layout
    journal: Journal
    rows: int
    unknown_billed: int

    @property
    def settings(self) -> Settings:
        """Return the settings in force."""
        return self.access.settings


def run(
    settings: Settings,
    inputs: Sequence[str],
    environment: Mapping[str, str],
    *,
    news: News,
    clock: Clock,
    tick: Ticker,
) -> ExitCode:
    """Answer the inputs' rows and write the output; returns the exit code of design page 8.

    Raises `ChatbatchError` for whatever keeps the run from beginning, or breaks it off. `tick` is called some
    times a second, for whoever draws.
    """
    tally = Tally()
    news.subscribers.insert(0, tally.note)
    with ExitStack() as stack:
        paths = Paths.of(settings)
        access = find_access(settings, environment)
        storage.ready_folder(paths.output)
        source = open_input(settings, inputs, paths)
        layout = Layout.of(source.reader.columns, settings.keep)
        rows = source.reader.count()
        owner = Owner.take(paths.journal)
        stack.callback(owner.release)
        journal = _open_journal(paths, settings)
        stack.callback(journal.close)
        access = stack.enter_context(reached(access))
        job = Job(access, paths, source, layout, journal, rows, 0)
        return anyio.run(partial(_execute, job, news=news, clock=clock, tick=tick, tally=tally))


def _open_journal(paths: Paths, settings: Settings) -> Journal:
    """Open the journal, or begin one; never beside an output that would then be bought and replaced."""
    if not paths.journal.exists() and paths.output.exists():
        raise UsageError(
            f"{paths.output} exists and its journal {paths.journal} does not: running would buy everything "
            "again and replace it.",
            hint="Bring the journal back, delete the output, or name another output with -o.",
        )
    journal = Journal.open(paths.journal)
    asked = "emulator" if settings.emulate else "service"
    if journal.fact("asked", asked) != asked:
        journal.close()
        raise UsageError(
            f"The journal {paths.journal} holds answers of the {journal_asked(asked)}, and this run asks the "
            f"{asked}.",
            hint="Name another output with -o, or delete the output and its journal.",
        )
    journal.note_fact("asked", asked)
    return journal


def journal_asked(asked: str) -> str:
    """Return the other one of the two that can be asked."""
    return "service" if asked == "emulator" else "emulator"


async def _execute(job: Job, *, news: News, clock: Clock, tick: Ticker, tally: Tally) -> ExitCode:
    settings, began = job.settings, clock.monotonic()
    auth = job.access.credentials.auth(job.access.folder)
    stop = Stop(lambda reason, code: news.publish(Stopping(reason, code)))
    url = service_address(settings)
    async with open_client(url, settings.timeout, auth, use_proxies=not settings.emulate) as http:
        provider = open_provider(settings, http, job.access.credentials, job.access.folder)
        provider.model_uri(settings.model)
        settle(job.journal, provider)
        unknown = job.journal.note_unknown()
        job.journal.begin_run(clock.time(), __version__, encode_text(_told(settings)))
        _announce(job, unknown, news)
        feed = Feed(
            job.input.reader,
            defaults(settings),
            provider_names(provider, by_id=settings.id_column is not None),
            job.journal,
            settings.max_rows,
        )
        error = await _answer(job, provider, feed, stop, news, clock, tick)
        if stop.at_once:
            job.journal.end_run(clock.time(), ExitCode.INTERRUPTED)
            return stop.exit_code or ExitCode.INTERRUPTED
        totals = await _export(job, provider, news, tick)
    code, reason = _outcome(settings, stop, feed, totals, tally)
    news.publish(_summary(job, totals, tally, unknown, clock.monotonic() - began, code, reason))
    job.journal.end_run(clock.time(), code)
    if error is not None:
        raise error
    if code is ExitCode.NOTHING_TO_DO:
        raise NothingToDo("There was nothing to do: every row has its answer.")
    return code


def _announce(job: Job, unknown: int, news: News) -> None:
    settings = job.settings
    news.publish(
        RunStarted(
            job.rows,
            job.journal.answered(),
            settings.model,
            settings.concurrency,
            str(job.paths.output),
            settings.emulate,
        )
    )
    if job.layout.clashes:
        names = ", ".join(job.layout.clashes)
        news.publish(Notice(f"The input has columns of these names already, so ours get a prefix: {names}."))
    if unknown:
        news.publish(
            Notice(
                f"{unknown} requests were in flight when the last run ended: they may have been billed, and "
                "their rows are asked again."
            )
        )


async def _answer(
    job: Job, provider: Provider, feed: Feed, stop: Stop, news: News, clock: Clock, tick: Ticker
) -> ChatbatchError | None:
    """Answer the feed's rows; returns what broke the run off, so that the output is still written."""
    settings = job.settings
    commits = Commits(job.journal)
    limits = Limits(settings.concurrency, settings.limit, clock=clock, stop=stop)
    retry = RetryPolicy(settings.retries + 1, settings.retry_timeout)
    client = Client(
        Parts(provider, commits, limits, retry, clock, stop, news),
        job.journal.identity,
        job.journal.next_attempt(),
    )
    runner = Runner(client, commits, stop=stop, clock=clock, news=news, grace_s=settings.grace)
    async with anyio.create_task_group() as beside:
        beside.start_soon(_tick, tick)
        try:
            await runner.run(feed.batches(), settings.concurrency)
        except ChatbatchError as error:
            return error
        finally:
            beside.cancel_scope.cancel()
    return None


async def _tick(tick: Ticker) -> None:
    while True:
        tick()
        await anyio.sleep(TICK_S)  # real time: it is drawn for a person


async def _export(job: Job, provider: Provider, news: News, tick: Ticker) -> Totals:
    """Write the output from the journal, in a worker thread."""
    settle(job.journal, provider)
    news.publish(Exporting(str(job.paths.output)))
    tick()
    settings = job.settings
    join = Join(
        job.input.reader,
        defaults(settings),
        provider_names(provider, by_id=settings.id_column is not None),
        job.journal,
        provider,
    )
    facts: JsonObject = {"chatbatch": __version__, "settings": _told(settings), "emulated": settings.emulate}
    return await anyio.to_thread.run_sync(write, job.paths.output, job.layout, join.rows(), facts)


def _outcome(
    settings: Settings, stop: Stop, feed: Feed, totals: Totals, tally: Tally
) -> tuple[ExitCode, str]:
    rows = totals.rows
    wrong = rows["failed"] + rows["invalid"]
    if stop.exit_code is not None:
        return stop.exit_code, stop.reason
    if feed.held_back:
        return ExitCode.BUDGET, f"--max-rows reached; {rows['pending']} rows are left"
    if settings.max_failed.exceeded(wrong, sum(rows.values())):
        return ExitCode.ROWS_FAILED, f"{wrong} rows have no answer"
    if rows["pending"]:
        return ExitCode.ROWS_FAILED, f"{rows['pending']} rows were not there when the run began"
    if settings.error_on_empty and not tally.requests:
        return ExitCode.NOTHING_TO_DO, "nothing to do"
    return ExitCode.OK, ""


def _summary(
    job: Job,
    totals: Totals,
    tally: Tally,
    unknown: int,
    duration_s: float,
    code: ExitCode,
    reason: str,
) -> RunFinished:
    return RunFinished(
        output=str(job.paths.output),
        rows=dict(totals.rows),
        input_tokens=totals.input_tokens,
        completion_tokens=totals.completion_tokens,
        total_tokens=totals.total_tokens,
        requests=tally.requests,
        retries=tally.retries,
        maybe_billed=tally.maybe_billed,
        unknown_billed=unknown,
        duration_s=duration_s,
        emulated=job.settings.emulate,
        reason=reason,
        exit_code=code,
    )


def _told(settings: Settings) -> JsonObject:
    """Return the settings as they may be written down: they hold no secret, and no address of an emulator."""
    told: JsonObject = {}
    for name, value in asdict(settings).items():
        if value is None or value in (False, ()) or (name == "base_url" and settings.emulate):
            continue
        told[name] = value if isinstance(value, str | bool | int | float) else _text(value)
    return told


def _text(value: object) -> str:
    return ", ".join(_text(item) for item in value) if isinstance(value, tuple | list) else str(value)
