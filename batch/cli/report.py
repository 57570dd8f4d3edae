"""`chatbatch report`: what a job came to, as a summary or as a page."""

from __future__ import annotations

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode


@click.command(params=settings_options("journal", "quiet", "json", "verbose"))
@click.argument("output", metavar="OUT")
@click.option("--html", "page", metavar="FILE", help="Write the report as one self-contained page.")
def command(output: str, page: str | None, **flags: object) -> int:
    """Say what the job that wrote OUT came to: rows, cost, tokens, pace, latency, errors.

    Reads the journal and the inputs, also while the run goes on in another process; changes nothing,
    and needs neither credentials nor network. --html writes a page with charts and the rows that stand
    out; it opens without a network.

    \b
    Examples:
      chatbatch report answers.parquet
      chatbatch report answers.parquet --html report.html
      chatbatch report answers.parquet --json
    """
    from batch.cli.tables import show
    from batch.clock import SystemClock
    from batch.jsontext import encode_text
    from batch.parsing import home_expanded
    from batch.plan.opening import journal_of
    from batch.plan.reporting import report
    from batch.report import lines, record

    settings = settings_from(flags).settings
    path = home_expanded(output)
    target = None if page is None else home_expanded(page)
    facts = report(path, settings.journal or journal_of(path), SystemClock().time(), target)
    if settings.json:
        click.echo(encode_text({**record(facts), "html": None if target is None else str(target)}))
    elif not settings.quiet:
        show([*lines(facts), *([] if target is None else [f"  page      {target}"])])
    return ExitCode.OK
