"""`chatbatch job run`: run a job as its file says."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.cli.job import jobs_option
from batch.cli.options import flag_layer, settings_options
from batch.errors import ExitCode
from batch.settings import from_environment

if TYPE_CHECKING:
    from batch.plan.scheduled.jobs import Prepared


@click.command(params=[*settings_options(), jobs_option()])
@click.argument("name", metavar="NAME")
def command(name: str, jobs: str, **flags: object) -> int:
    """Run the job NAME, or the job whose file NAME is.

    Does what `chatbatch run` would do with the settings of the job's file; flags and CHATBATCH_… variables go
    before them, and --dry-run shows where every value comes from. A job does not overlap itself: started a
    second time while it runs, it exits with 11. Where there is nothing to do it is silent. Every run is
    remembered; see `chatbatch job history`.

    \b
    Examples:
      chatbatch job run nightly
      chatbatch job run nightly --dry-run
      chatbatch job run jobs/nightly.toml --max-rows 10 --emulate
    """
    from batch.jobfile import find, load
    from batch.plan.scheduled.jobs import prepare

    job = load(find(name, Path(jobs)))
    above = [flag_layer(flags), from_environment(os.environ)]
    began = datetime.now().astimezone()
    return _run(prepare(job, above, began, os.environ))


def _run(prepared: Prepared) -> int:
    from batch.cli.run import execute
    from batch.clock import SystemClock
    from batch.plan.scheduled.recording import recorded

    settings, name = prepared.resolved.settings, prepared.job.name
    if settings.dry_run:
        return execute(prepared.resolved, prepared.inputs)
    with recorded(prepared, SystemClock(), _warn) as run:
        found = prepared.there()
        if not found:
            run.code = _nothing_to_do(prepared)
        else:
            quiet = not settings.verbose
            run.code = execute(prepared.resolved, found, quiet_when_idle=quiet, job=name, listener=run.note)
    return run.code


def _nothing_to_do(prepared: Prepared) -> int:
    """Tell whoever watches from afar that the job was here; returns the exit code."""
    from batch.clock import SystemClock
    from batch.plan.telling import telling

    settings = prepared.resolved.settings
    code = ExitCode.NOTHING_TO_DO if settings.error_on_empty else ExitCode.OK
    with telling(settings, clock=SystemClock(), warn=_warn, job=prepared.job.name) as told:
        told.ended(code)
    if settings.verbose:
        click.echo(f"Nothing to do: there is nothing to read in {', '.join(prepared.inputs)} yet.", err=True)
    return int(code)


def _warn(sentence: str) -> None:
    from batch.plaintext import printable

    if sys.stderr is not None:
        click.echo(f"Warning: {printable(sentence)}", err=True)
