"""`chatbatch job history`: a job's runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.cli.job import jobs_option
from batch.cli.tables import bought, columns, moment, rows
from batch.errors import ExitCode
from batch.wording import duration

if TYPE_CHECKING:
    from batch.plan.scheduled.history import Record

_HEAD = ("began", "lasted", "outcome", "exit", "answered", "tokens in", "tokens out", "cost", "rows")


@click.command(params=[jobs_option()])
@click.argument("name", metavar="NAME")
@click.option("-n", "count", type=click.IntRange(1), default=20, show_default=True, metavar="N",
              help="How many runs, the newest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Every field, one JSON line for each run.")
def command(name: str, jobs: str, count: int, as_json: bool) -> int:
    """Show the runs of the job NAME, the newest last.

    Answered, tokens and cost are what that run bought, also where other jobs write the same journal. What a
    killed run had not judged yet is added to its record by the next one; until then --json says settled: false.

    \b
    Examples:
      chatbatch job history nightly
      chatbatch job history nightly -n 100 --json
    """
    from batch.jobfile import find
    from batch.jsontext import encode_text
    from batch.plan.scheduled.listing import readable, remembered

    job = readable(find(name, Path(jobs)))
    records = remembered(job, datetime.now().astimezone(), os.environ)[-count:]
    if as_json:
        for record in records:
            click.echo(encode_text({"event": "job_run", "job": job.name, **record.as_json()}))
    elif not records:
        click.echo(f"The job {job.name} has not run yet.", err=True)
    else:
        for line in columns([_HEAD, *map(_cells, records)]):
            click.echo(line)
    return ExitCode.OK


def _cells(record: Record) -> Sequence[str]:
    gained = record.gained
    lasted = "-" if record.ended_at is None else duration(record.ended_at - record.started_at)
    numbers = ("-",) * 3
    if gained is not None:
        numbers = (f"{gained.answered:,}", f"{gained.input_tokens:,}", f"{gained.completion_tokens:,}")
    code = "-" if record.exit_code is None else str(record.exit_code)
    return (moment(record.started_at), lasted, record.outcome, code, *numbers, bought(record), rows(record))
