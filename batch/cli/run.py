"""`chatbatch run`: answer the rows of a file."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from batch.cli.options import settings_from, settings_options

if TYPE_CHECKING:
    from batch.progress import Printer
    from batch.settings import Settings


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
    from batch.clock import SystemClock
    from batch.events import News
    from batch.plan import checking, running

    resolved = settings_from(flags)
    settings = resolved.settings
    if settings.dry_run:
        from batch.cli.reports import show_dry_run

        return show_dry_run(checking.dry_run(settings, inputs, os.environ), resolved)
    news, printer = News(), _printer(settings)
    news.subscribe(printer.note)
    with closing(printer):
        return int(running.run(settings, inputs, os.environ, news=news, clock=SystemClock(), tick=printer.tick))


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
