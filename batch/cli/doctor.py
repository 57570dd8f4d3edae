"""`chatbatch doctor`: journal, input and output against each other."""

from __future__ import annotations

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode


@click.command(params=settings_options("journal", "quiet", "json", "verbose"))
@click.argument("output", metavar="OUT")
def command(output: str, **flags: object) -> int:
    """Check the journal, the input and OUT against each other.

    Prints one line for each discrepancy, and what is worth knowing as notes. Changes nothing and
    sends nothing. Exits with 0 when nothing is wrong, else with 1. Sums of tokens and of money are
    compared too; operations that are open or expired are notes.

    With --json a line for each: {"event": "fault" or "note", "text"}; at last {"event": "doctor",
    "faults", "notes"}.

    \b
    Examples:
      chatbatch doctor answers.parquet
      chatbatch doctor answers.parquet --json
    """
    from batch.cli.glances import show_diagnosis, show_finding
    from batch.clock import SystemClock
    from batch.parsing import home_expanded
    from batch.plan.doctor import examine
    from batch.plan.opening import journal_of

    settings = settings_from(flags).settings
    path, faults, notes = home_expanded(output), 0, 0
    for finding in examine(path, settings.journal or journal_of(path), SystemClock().time()):
        faults += finding.fault
        notes += not finding.fault
        show_finding(finding, as_json=settings.json, quiet=settings.quiet)
    show_diagnosis(faults, notes, as_json=settings.json, quiet=settings.quiet)
    return ExitCode.UNEXPECTED if faults else ExitCode.OK
