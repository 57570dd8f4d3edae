"""`chatbatch export`: the output again, from the journal and the input."""

from __future__ import annotations

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode


@click.command(params=settings_options("journal", "quiet", "json", "verbose"))
@click.argument("output", metavar="OUT")
@click.option("-o", "--output", "other", metavar="OTHER", help="Write this file instead of OUT.")
def command(output: str, other: str | None, **flags: object) -> int:
    """Write OUT again from its journal and the input, at no cost.

    Inputs and settings are those of the last run; rows without an answer are pending. Sends nothing. While a
    run goes on, OUT is its own: name another file with -o, and see what it has so far.

    \b
    Examples:
      chatbatch export answers.parquet
      chatbatch export answers.parquet -o so-far.jsonl
    """
    from batch.cli.glances import show_export
    from batch.parsing import home_expanded
    from batch.plan.opening import journal_of
    from batch.plan.rewriting import rewrite

    settings = settings_from(flags).settings
    path = home_expanded(output)
    target, totals = rewrite(path, settings.journal or journal_of(path), home_expanded(other) if other else None)
    show_export(target, totals, as_json=settings.json, quiet=settings.quiet)
    return ExitCode.OK
