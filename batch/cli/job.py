"""`chatbatch job`: scheduled jobs, each subcommand from a module of its own, loaded when it is called."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "run": "Run a job as its file says; what is answered is not bought again.",
    "list": "List the jobs, each with its last run.",
    "check": "Say what is wrong with a job, without a network.",
    "history": "Show a job's runs.",
    "schedule": "Print the crontab line of a job, or its systemd units.",
}


class Commands(click.Group):
    """The subcommands, from the modules `job_NAME`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which one meets them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand's module and return the command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"batch.cli.job_{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands from the table, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=Commands)
def command() -> None:
    """Run jobs that were set up once, as files in the folder jobs/."""


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
