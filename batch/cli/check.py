"""`chatbatch check`: read every row, send nothing."""

from __future__ import annotations

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode

_SETTINGS = ("prompt_column", "template", "id_column", "keep", "system", "quiet", "json", "verbose")


@click.command(params=settings_options(*_SETTINGS))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
def command(inputs: tuple[str, ...], **flags: object) -> int:
    """Read every row of INPUT and say what is wrong with which.

    Prints file:line, what is wrong and how to mend it; then a summary by dialect. Sends
    nothing and needs no credentials. Exits with 3 when a row cannot be sent.

    \b
    Examples:
      chatbatch check tickets.jsonl
      chatbatch check reviews.parquet --prompt-column text --json
    """
    from batch.cli.reports import show_findings, show_invalid
    from batch.plan.checking import Findings, check

    settings = settings_from(flags).settings
    findings = Findings()
    for row in check(settings, inputs, findings):
        show_invalid(row, as_json=settings.json)
    show_findings(findings, as_json=settings.json, quiet=settings.quiet)
    return ExitCode.ROWS_FAILED if findings.invalid else ExitCode.OK
