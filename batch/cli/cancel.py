"""`chatbatch cancel`: open operations are given up."""

from __future__ import annotations

import os

import click

from batch.cli.options import settings_from, settings_options

_SETTINGS = (
    "journal", "folder", "base_url", "operations_url", "iam_url", "service_account_key", "poll_limit",
    "timeout", "quiet", "json", "verbose",
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

    With --json a line {"event": "cancel"}: open (before), cancelled, answered, failed, expired, left,
    reason, exit_code; and the line of chatbatch export.

    \b
    Examples:
      chatbatch cancel answers.parquet
      chatbatch cancel answers.parquet --service-account-key key.json --json
      chatbatch cancel answers.parquet --poll-limit 20/s
    """
    from batch.cli.glances import show_cancelled, show_export
    from batch.clock import SystemClock
    from batch.parsing import home_expanded
    from batch.plan.cancelling import cancel
    from batch.plan.opening import journal_of
    from batch.plan.rewriting import rewrite

    settings = settings_from(flags).settings
    path = home_expanded(output)
    found = cancel(path, settings, os.environ, SystemClock())
    show_cancelled(found, output, as_json=settings.json, quiet=settings.quiet)
    if found.left < found.open:
        target, totals = rewrite(path, settings.journal or journal_of(path), None)
        show_export(target, totals, as_json=settings.json, quiet=settings.quiet)
    return found.exit_code
