"""`chatbatch status`: how a run is doing, or how the last one ended."""

from __future__ import annotations

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode


@click.command(params=settings_options("journal", "quiet", "json", "verbose"))
@click.argument("output", metavar="OUT")
@click.option("--unknown", is_flag=True, help="List every request that may have been billed unseen.")
def command(output: str, unknown: bool, **flags: object) -> int:
    """Say how the run that writes OUT is doing, or how the last one ended.

    Reads the journal, also while the run goes on in another process; changes nothing, and needs
    neither credentials nor network. Rows that are submitted have an operation that the next run
    collects.

    With --json one object: state (running, ended, killed, never run), owner, run, rows (ok, failed,
    submitted, in_flight, pending, invalid, input), last_minute, rows_per_s, left_s, input_tokens,
    completion_tokens, total_tokens, attempts by outcome, unknown_billed, open_operations and
    oldest_operation_s (its age), modes (requests, answered, tokens, cost of each), spending by currency
    (answers, lost, unknown, total at most); with --unknown also unknown.

    \b
    Examples:
      chatbatch status answers.parquet
      chatbatch status answers.parquet --unknown
      watch -n 5 chatbatch status answers.parquet
      chatbatch status answers.parquet --json
    """
    from batch.cli.glances import show_standing
    from batch.clock import SystemClock
    from batch.parsing import home_expanded
    from batch.plan.opening import journal_of
    from batch.plan.status import look

    settings = settings_from(flags).settings
    path = home_expanded(output)
    standing = look(settings.journal or journal_of(path), SystemClock().time())
    if not settings.quiet or settings.json:
        show_standing(standing, output, as_json=settings.json, list_unknown=unknown)
    return ExitCode.OK
