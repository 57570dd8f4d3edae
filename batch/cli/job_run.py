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
from batch.errors import ChatbatchError, ExitCode, InputError
from batch.settings import from_environment

if TYPE_CHECKING:
    from batch.plan.scheduled.jobs import Prepared
    from batch.plan.scheduled.recording import Recorded
    from batch.settings import Layer


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

    path, flagged = find(name, Path(jobs)), flag_layer(flags)
    began = datetime.now().astimezone()
    try:
        prepared = prepare(load(path), [flagged, from_environment(os.environ)], began, os.environ)
    except ChatbatchError as error:
        if not (flags.get("dry_run") or os.environ.get("CHATBATCH_DRY_RUN")):
            _unbegun(path, flagged, error, began)
        raise
    if prepared.resolved.settings.dry_run:
        return _dry_run(prepared)
    return _run(prepared)


def _dry_run(prepared: Prepared) -> int:
    from batch.cli.reports import show_idle_dry_run
    from batch.cli.run import execute

    found = prepared.there()
    return execute(prepared.resolved, found) if found else show_idle_dry_run(prepared.inputs, prepared.resolved)


def _unbegun(path: Path, flagged: Layer, error: ChatbatchError, began: datetime) -> None:
    from batch.clock import SystemClock
    from batch.plan.scheduled.unbegun import unbegun

    unbegun(path, flagged, os.environ, error, at=began, clock=SystemClock(), warn=_warn)


def _run(prepared: Prepared) -> int:
    from batch.clock import SystemClock
    from batch.plan.scheduled.recording import recorded
    from batch.plan.telling import tell_unbegun

    settings, name, begun = prepared.resolved.settings, prepared.job.name, False
    try:
        with recorded(prepared, SystemClock(), _warn) as run:
            begun = True
            run.code = _answer(prepared, run)
    except ChatbatchError as error:
        if not begun:  # once it has begun, the run itself tells
            tell_unbegun(error, settings, clock=SystemClock(), warn=_warn, job=name)
        raise
    return run.code


def _answer(prepared: Prepared, run: Recorded) -> int:
    from batch.cli.run import execute
    from batch.clock import SystemClock
    from batch.plan.telling import telling

    settings, name = prepared.resolved.settings, prepared.job.name
    try:
        found = prepared.there()
    except InputError:
        with telling(settings, clock=SystemClock(), warn=_warn, job=name):
            raise
    if not found:
        return _nothing_to_do(prepared)
    return execute(prepared.resolved, found, quiet_when_idle=not settings.verbose, job=name, listener=run.note)


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
