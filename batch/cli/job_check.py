"""`chatbatch job check`: what is wrong with a job, without a network."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.cli.job import jobs_option
from batch.errors import ExitCode

if TYPE_CHECKING:
    from batch.plan.scheduled.checks import Finding


@click.command(params=[jobs_option()])
@click.argument("wanted", nargs=-1, metavar="[NAME...]")
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each finding.")
def command(wanted: tuple[str, ...], jobs: str, as_json: bool) -> int:
    """Say what is wrong with the jobs NAME, or with all: file, inputs, prices, credentials, folders, schedule,
    and what another job of the folder would write over.

    Sends nothing. Prints a line for each finding, with how to mend it. Exits with 2 when something is wrong.

    \b
    Examples:
      chatbatch job check
      chatbatch job check nightly --json
    """
    from batch.jobfile import find, names
    from batch.plan.scheduled.checks import check, together

    folder, now = Path(jobs), datetime.now().astimezone()
    chosen = wanted or tuple(names(folder))
    if not chosen:
        click.echo(f"There is no job file (.toml) in {folder} yet.", err=True)
    faults = 0
    for name in chosen:
        for finding in check(find(name, folder), now, os.environ):
            faults += _show(name, finding, as_json=as_json)
    meant = {name.removesuffix(".toml").rpartition("/")[2] for name in chosen}
    for other, name, finding in together(folder, now, os.environ) if folder.is_dir() else ():
        if {other, name} & meant:
            faults += _show(name, finding, as_json=as_json)
    if chosen and not as_json:
        click.echo(f"Faults: {faults:,}, in {len(chosen):,} jobs looked at." if faults else "Nothing is wrong.")
    return ExitCode.USAGE if faults else ExitCode.OK


def _show(name: str, finding: Finding, *, as_json: bool) -> bool:
    """Print a finding; returns whether it is a fault."""
    from batch.jsontext import encode_text
    from batch.plaintext import printable

    kind = "fault" if finding.fault else "note"
    if as_json:
        told = {"event": kind, "job": name, "text": finding.text, "hint": finding.hint or None}
        click.echo(encode_text(dict(told)))
    else:
        hint = f" {finding.hint}" if finding.hint else ""
        click.echo(printable(f"{name}: {kind}: {finding.text.rstrip('.')}.{hint}"))
    return finding.fault
