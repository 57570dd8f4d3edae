"""`chatbatch job`: scheduled jobs, each subcommand from a module of its own, loaded when it is called."""

from __future__ import annotations

import click

from batch.cli.lazy import LazyGroup

_COMMANDS = {
    "run": "Run a job as its file says; what is answered is not bought again.",
    "list": "List the jobs, each with its last run.",
    "check": "Say what is wrong with a job, without a network.",
    "history": "Show a job's runs.",
    "schedule": "Print the crontab line of a job, or its systemd units.",
}


@click.group(cls=LazyGroup, table=_COMMANDS, prefix="batch.cli.job_")
def command() -> None:
    """Run jobs that were set up once, as files in the folder jobs/.

    \b
    Examples:
      chatbatch job check nightly
      chatbatch job run nightly
      (crontab -l; chatbatch job schedule nightly) | crontab -
      chatbatch job list
    """


def jobs_option() -> click.Option:
    """Return the option that names the folder of job files."""
    return click.Option(
        ["--jobs-dir", "jobs"],
        default="jobs",
        show_default=True,
        envvar="CHATBATCH_JOBS_DIR",
        metavar="DIR",
        help="Where the job files are. [env: CHATBATCH_JOBS_DIR]",
    )
