"""`chatbatch cancel`: open operations are given up."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.cli.options import settings_from, settings_options

if TYPE_CHECKING:
    from batch.plan.cancelling import Cancelled
    from batch.progress import Printer
    from batch.settings import Settings

_SETTINGS = (
    "journal", "folder", "base_url", "operations_url", "iam_url", "service_account_key", "poll_limit",
    "share_quota", "quota_share", "timeout", "grace", "stats", "quiet", "json", "verbose",
)  # fmt: skip


@click.command(params=settings_options(*_SETTINGS))
@click.argument("output", metavar="OUT")
def command(output: str, **flags: object) -> int:
    """Cancel the operations of OUT that are open, and record what the service says.

    An operation that had ended already brings its answer. One that was cancelled leaves a failed row
    (error_code CANCELLED), which the next run asks again; what it may have cost stays counted as spent.
    One that the service does not know any more is EXPIRED. Then OUT is written again. Address and
    credentials are found as by chatbatch run. A run that goes on has to be interrupted first (exit
    code 11). Exits with 5 where operations are left open since the service could not be asked.

    Each operation takes a reading of the service's quota, so 10,000 take 200 s. After Ctrl-C or
    SIGTERM (exit codes 130, 143) what was cancelled is recorded, and the same command goes on.

    With --json a line {"event": "cancel"}: open (before), cancelled, answered, failed, expired, left,
    reason, exit_code; and the line of chatbatch export. Before them, every --stats, a line
    {"event": "cancel_progress"}: open, ended, asked (to end, and have not), cancelled, answered, failed,
    expired, retries.

    \b
    Examples:
      chatbatch cancel answers.parquet
      chatbatch cancel answers.parquet --service-account-key key.json --json
      chatbatch cancel answers.parquet --poll-limit 20/s
    """
    from batch.cli.glances import show_cancelled, show_export
    from batch.parsing import home_expanded
    from batch.plan.opening import journal_of
    from batch.plan.rewriting import rewrite

    settings = settings_from(flags).settings
    path = home_expanded(output)
    found = _cancelled(path, settings)
    show_cancelled(found, output, as_json=settings.json, quiet=settings.quiet)
    if found.left < found.open and not found.at_once:
        target, totals = rewrite(path, settings.journal or journal_of(path), None)
        show_export(target, totals, as_json=settings.json, quiet=settings.quiet)
    return found.exit_code


def _cancelled(path: Path, settings: Settings) -> Cancelled:
    from batch.clock import SystemClock
    from batch.events import News
    from batch.plan.cancelling import cancel
    from batch.plan.job import Outside

    news, printer = News(), _printer(settings)
    news.subscribe(printer.note)
    with closing(printer):
        return cancel(path, settings, os.environ, Outside(news, SystemClock(), printer.tick))


def _printer(settings: Settings) -> Printer:
    """Return what shows how far it is, as for a run."""
    import time

    from batch.progress import JsonPulse, LineProgress, LiveProgress, OperationsLine, QuietProgress, Steadfast

    stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
    stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    line = OperationsLine(time.monotonic)
    if settings.json:
        return Steadfast(JsonPulse(stdout, settings.stats, line))
    if settings.quiet:
        return Steadfast(QuietProgress(stderr, line))
    if stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Steadfast(LiveProgress(stderr, settings.verbose, line=line))
    return Steadfast(LineProgress(stderr, settings.stats, settings.verbose, line=line))
