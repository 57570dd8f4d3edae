"""`chatbatch job schedule`: the crontab line of a job, or its systemd units."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.cli.job import jobs_option
from batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from batch.plan.scheduled.scheduling import Unit


@click.command(params=[jobs_option()])
@click.argument("name", metavar="NAME")
@click.option("--systemd", is_flag=True, help="A service and a timer instead of a crontab line.")
@click.option("--user", is_flag=True, help="With --systemd: units for your own service manager, not the system's.")
@click.option("--write", "target", metavar="DIR", help="With --systemd: write the units into this folder.")
@click.option("--env-file", metavar="FILE", help="Where credentials are set. [default: DIR/.env if it is there]")
def command(name: str, jobs: str, systemd: bool, user: bool, target: str | None, env_file: str | None) -> int:
    """Print the crontab line of the job NAME, or with --systemd a service and a timer.

    Paths are absolute and no secret is printed: credentials stay in a file of NAME=value lines, which only you
    should be able to read.

    \b
    Examples:
      (crontab -l; chatbatch job schedule nightly-summaries) | crontab -
      chatbatch job schedule nightly-summaries --systemd
      sudo "$(command -v chatbatch)" job schedule nightly-summaries --systemd --write /etc/systemd/system
    """
    from batch import parsing
    from batch.jobfile import find, load
    from batch.plan.scheduled.scheduling import Launch, crontab_line, systemd_units
    from batch.settings import Settings

    if (user or target) and not systemd:
        raise UsageError("--user and --write are for units.", hint="Add --systemd.")
    folder = Path(os.path.abspath(jobs))
    job = load(find(name, folder))
    if not job.schedule.cron:
        raise UsageError(f"The job {name} has no schedule.", hint='Add [schedule] with at = "02:30" to its file.')
    stated = job.values.get(("limits", "grace"))  # checked when the file was loaded
    grace = Settings().grace if stated is None else parsing.duration_or_none_at_all(str(stated))
    plain = name == job.name and not name.startswith("-")
    words = (*_program(), "job", "run", name if plain else str(job.path.absolute()), "--jobs-dir", str(folder))
    environment = _environment(env_file, job.path.absolute().parent)
    launch = Launch(job.name, words, job.base, environment, grace, "" if user else _user())
    if systemd:
        _show_units(systemd_units(launch, job.schedule), target)
    else:
        if job.schedule.timezone:
            click.echo(f"Note: cron uses the machine's time zone, not {job.schedule.timezone}.", err=True)
        click.echo(crontab_line(launch, job.schedule))
    return ExitCode.OK


def _program() -> tuple[str, ...]:
    """Return the installed command beside this Python, or else Python with the module."""
    installed = Path(sys.executable).with_name("chatbatch")
    return (str(installed),) if os.access(installed, os.X_OK) else (sys.executable, "-m", "batch")


def _user() -> str:
    """Return whom the system's service runs as: whoever calls, also through sudo."""
    import pwd

    if os.getuid() == 0 and (caller := os.environ.get("SUDO_USER", "").strip()):
        return caller
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without a name, as in containers
        return str(os.getuid())


def _environment(given: str | None, folder: Path) -> Path | None:
    """Return the environment file, after warnings about its permissions and its lines."""
    from batch.plan.scheduled.scheduling import environment_file_faults

    file = Path(os.path.abspath(given)) if given else folder / ".env"
    if not file.is_file():
        if given:
            raise UsageError(
                f"There is no file {given}.", hint="Create it with lines such as API_KEY=…; chmod 600."
            )
        return None
    if file.stat().st_mode & 0o077:
        click.echo(f"Warning: others can read {file}; run: chmod 600 {file.name}", err=True)
    try:
        faults = environment_file_faults(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {file}: {type(error).__name__}.", hint="It is UTF-8 text, yours.") from None
    for number in faults:
        click.echo(f"Warning: {file}:{number}: a shell and systemd differ here; write NAME='value'.", err=True)
    return file


def _show_units(units: tuple[Unit, ...], target: str | None) -> None:
    for unit in units:
        if target is None:
            click.echo(f"# {unit.name}\n{unit.text}")
            continue
        path = Path(target) / unit.name
        try:
            path.write_text(unit.text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"Cannot write {path}: {error.strerror}.", hint="--write takes a folder.") from None
        click.echo(str(path))
