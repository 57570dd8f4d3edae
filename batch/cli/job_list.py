"""`chatbatch job list`: the jobs, each with its last run."""

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

if TYPE_CHECKING:
    from batch.jsontext import JsonObject
    from batch.plan.scheduled.listing import Listed

_HEAD = ("job", "last run", "outcome", "answered", "rows", "cost", "next")


@click.command(params=[jobs_option()])
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each job.")
def command(jobs: str, as_json: bool) -> int:
    """List the jobs of the folder, each with its last run: when, outcome, rows, cost; and when it is due next.

    Rows are how the job's rows stood at the end of that run: answered of all. A file that is broken is listed
    with what is wrong with it.

    \b
    Examples:
      chatbatch job list
      chatbatch job list --jobs-dir /srv/chats/jobs --json
    """
    from batch.jsontext import encode_text
    from batch.plaintext import printable
    from batch.plan.scheduled.listing import listed

    found = list(listed(Path(jobs), datetime.now().astimezone(), os.environ))
    if not found:
        click.echo(f"There is no job file (.toml) in {jobs} yet.", err=True)
    if as_json:
        for item in found:
            click.echo(encode_text(_told(item)))
        return ExitCode.OK
    whole = [_cells(item) for item in found if not item.error]
    for line in columns([_HEAD, *whole]) if whole else ():
        click.echo(line)
    for item in found:
        if item.error:
            click.echo(printable(f"{item.name}: broken: {item.error}"))
    return ExitCode.OK


def _cells(item: Listed) -> Sequence[str]:
    due = f"{item.next:%Y-%m-%d %H:%M}" if item.next else "-"
    if item.last is None:
        return (item.name, "never", "-", "-", "-", "-", due)
    last, gained = item.last, item.last.gained
    answered = "-" if gained is None else f"{gained.answered:,}"
    return (item.name, moment(last.started_at), last.outcome, answered, rows(last), bought(last), due)


def _told(item: Listed) -> JsonObject:
    return {
        "event": "job", "name": item.name, "error": item.error or None,
        "last": item.last.as_json() if item.last else None, "next": item.next.isoformat() if item.next else None,
    }  # fmt: skip
