"""`chatbatch run`: answer the rows of a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

from batch.cli.options import settings_from, settings_options
from batch.plaintext import printable

if TYPE_CHECKING:
    from batch.events import Event
    from batch.progress import Printer
    from batch.settings import Resolved, Settings


@click.command(params=settings_options())
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
def command(inputs: tuple[str, ...], **flags: object) -> int:
    """Answer every row of INPUT.

    INPUT is files, folders and globs (.jsonl, .ndjson, also .gz, .zst, .bz2; .parquet), or - for stdin. The
    answers are journaled as they come and exported in input order. The same command again sends only the
    rows that have no answer yet. Credentials come from the environment (API_KEY or IAM_TOKEN, FOLDER_ID).

    \b
    Examples:
      chatbatch run tickets.jsonl -o answers.parquet -m yandexgpt-lite
      chatbatch run reviews.parquet --prompt-column text -s "Positive or negative?" -o labels.parquet
      chatbatch run 'in/*.jsonl.gz' -o out.parquet --limit 10/s --limit 5000/h --concurrency 10
      chatbatch run tickets.jsonl -o trial.parquet --emulate
    """
    return execute(settings_from(flags), inputs)


def execute(
    resolved: Resolved,
    inputs: Sequence[str],
    *,
    quiet_when_idle: bool = False,
    job: str = "",
    listener: Callable[[Event], None] | None = None,
) -> int:
    """Do what the settings say, or only show it (`--dry-run`), and return the exit code.

    Every end of a run is told to whoever the settings name (`batch.plan.telling`). `quiet_when_idle`: print
    nothing at all where no request was made and nothing is wrong. `job` is the name under which it is told, and
    `listener` hears of everything that happens.
    """
    from batch.clock import SystemClock
    from batch.errors import NothingToDo
    from batch.events import News
    from batch.plan import checking, running
    from batch.plan.telling import telling
    from batch.progress import Reserved

    settings, clock = resolved.settings, SystemClock()
    if settings.dry_run:
        from batch.cli.reports import show_dry_run

        return show_dry_run(checking.dry_run(settings, inputs, os.environ), resolved)
    news, printer = News(), _printer(settings)
    if quiet_when_idle:
        printer = Reserved(printer)

    def tick() -> None:
        printer.tick()
        told.tick()

    try:
        with telling(settings, clock=clock, warn=_warn, job=job) as told, closing(printer):
            news.subscribe(printer.note)
            news.subscribe(told.note)
            if listener is not None:
                news.subscribe(listener)
            code = int(running.run(settings, inputs, os.environ, news=news, clock=clock, tick=tick))
            told.ended(code)
    except NothingToDo as nothing:
        if settings.quiet or quiet_when_idle:  # they asked for an exit code, and hear nothing else
            return int(nothing.exit_code)
        raise
    return code


def _warn(sentence: str) -> None:
    """Say what could not be told; a stream that is gone takes it along."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(f"Warning: {printable(sentence)}", file=sys.stderr, flush=True)


def _printer(settings: Settings) -> Printer:
    from batch.progress import JsonProgress, LineProgress, LiveProgress, QuietProgress, Steadfast

    stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
    stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115

    if settings.json:
        return Steadfast(JsonProgress(stdout, settings.stats))
    if settings.quiet:
        return Steadfast(QuietProgress(stderr))
    if stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Steadfast(LiveProgress(stderr, settings.verbose))
    return Steadfast(LineProgress(stderr, settings.stats, settings.verbose))
