"""From a job's schedule to the line of a crontab and to a systemd service and timer.

Pure: text in, text out. Nothing that is printed holds a secret: credentials stay in an environment file that
the line and the unit name. Every path is absolute, since cron's PATH is bare and its working folder is HOME.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from batch.errors import UsageError
from batch.jobfile import Cron, Schedule

# Vixie cron's MAX_COMMAND is 1000 bytes; longer commands are refused with the whole table, or cut.
LONGEST_COMMAND = 990
# After the grace for rows in flight, the output is written again from the journal.
EXPORT_S = 120
_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_UNIT_CHARACTERS = re.compile(r"[A-Za-z0-9:_.-]")
_ENVIRONMENT_LINE = re.compile(
    r"\s*(?:[#;].*|[A-Za-z_][A-Za-z0-9_]*=(?:[\w@%+=:,./-]*|'[^'\\]*'|\"[^\"\\$`]*\")\s*)?"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a job is started without anybody's shell: all paths absolute, `command` word by word.

    `grace_s` is how long rows in flight may finish after SIGTERM; `user` is whom the system's service runs as,
    or "" for a unit of the user's own service manager.
    """

    job: str
    command: tuple[str, ...]
    folder: Path
    environment_file: Path | None
    grace_s: float
    user: str


@dataclass(frozen=True, slots=True)
class Unit:
    """One systemd unit: the name of its file, and its text."""

    name: str
    text: str


def crontab_line(launch: Launch, schedule: Schedule) -> str:
    """Return one line for `crontab -e`, without the newline.

    `-q` makes it silent while all is well, and cron mails what a command prints. No `flock`: the job holds a
    lock itself. Raises `UsageError` where cron could not take the command.
    """
    steps = [f"cd {cron_word(str(launch.folder))}"]
    if launch.environment_file:
        steps += ["set -a", f". {cron_word(str(launch.environment_file))}", "set +a"]
    steps.append("exec " + " ".join(cron_word(word) for word in (*launch.command, "-q")))
    command = " && ".join(steps)
    if len(command.encode()) > LONGEST_COMMAND:
        raise UsageError(
            f"The command would be {len(command.encode())} bytes long, and cron takes {LONGEST_COMMAND}.",
            hint="Use --systemd, or move the job to a folder with a shorter path.",
        )
    return f"{schedule.cron} {command}"


def cron_word(word: str) -> str:
    r"""Return a word quoted for the shell that cron starts, and for cron itself.

    A percent sign ends the command unless a backslash stands before it, and crons differ in whether they take
    that backslash away; so `\%` stands outside of quotes, where the shell takes it away too. A backslash stands
    alone in quotes, because some crons make one of two.
    """
    _usable(word)
    if _PLAIN.fullmatch(word):
        return word
    special = {"'": '"\'"', "%": "\\%", "\\": "'\\'"}
    pieces = re.findall(r"['%\\]|[^'%\\]+", word)
    return (
        "".join(special.get(piece, piece if _PLAIN.fullmatch(piece) else f"'{piece}'") for piece in pieces) or "''"
    )


def systemd_units(launch: Launch, schedule: Schedule) -> tuple[Unit, Unit]:
    """Return the service and its timer; raises `UsageError` where a path cannot stand in a unit."""
    name = unit_name(launch.job)
    return Unit(f"{name}.service", _service(launch, name)), Unit(f"{name}.timer", _timer(launch, schedule))


def unit_name(job: str) -> str:
    r"""Return the name of a job's units without a suffix; other characters become `\xNN`, as in systemd-escape."""
    escaped = (
        character
        if _UNIT_CHARACTERS.fullmatch(character)
        else "".join(f"\\x{byte:02x}" for byte in character.encode())
        for character in job
    )
    return "chatbatch-" + "".join(escaped)


def systemd_word(word: str) -> str:
    """Return a word of ExecStart=, quoted by systemd's rules; `$` stays, since the line begins with a colon."""
    _usable(word)
    doubled = word.replace("%", "%%")
    if _PLAIN.fullmatch(word.replace("%", "")):
        return doubled
    return '"' + doubled.replace("\\", "\\\\").replace('"', '\\"') + '"'


def calendar(schedule: Schedule) -> list[str]:
    """Return systemd's calendar events (`OnCalendar=`) for a schedule: one, or two that add up.

    Where cron takes a day that fits one of day and weekday, systemd wants both to fit, so these are two events.
    """
    cron, zone = Cron.parse(schedule.cron), f" {schedule.timezone}" if schedule.timezone else ""
    clock = f"{_listed(cron.hours, 24)}:{_listed(cron.minutes, 60)}:00{zone}"
    months = _listed(cron.months, 12)
    dates = f"*-{months}-{_listed(cron.days, 31)} {clock}"
    # systemd's week begins with Monday and its ranges may not run over the end of it.
    week = "" if len(cron.weekdays) == 7 else ",".join(_WEEK[(day - 1) % 7] for day in sorted(cron.weekdays)) + " "
    return [dates, f"{week}*-{months}-* {clock}"] if cron.either else [week + dates]


def _listed(numbers: Collection[int], all_of_them: int) -> str:
    return "*" if len(numbers) == all_of_them else ",".join(f"{number:02}" for number in sorted(numbers))


def environment_file_faults(text: str) -> list[int]:
    """Return the numbers of the lines that a shell and systemd would read differently; never what is in them.

    Both read `NAME=value`, `NAME='some value'` and lines that begin with `#` alike.
    """
    lines = text.split("\n")
    return [number for number, line in enumerate(lines, 1) if not _ENVIRONMENT_LINE.fullmatch(line)]


def _service(launch: Launch, name: str) -> str:
    ours = bool(launch.user)  # the system's manager; a user's own knows neither users nor the network
    # systemd refuses quotes and backslashes in a program's path, though not in an argument's.
    starter = ["/usr/bin/env"] if set(launch.command[0]) & set("'\"\\") else []
    program, *arguments = [*starter, *launch.command]
    execute = " ".join(systemd_word(word) for word in (":" + program, *arguments))
    lines = [
        "[Unit]",
        f"Description=chatbatch job {_described(launch.job)}",
        *(["Wants=network-online.target", "After=network-online.target"] if ours else []),
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={launch.user}"] if ours else []),
        f"WorkingDirectory={_path(launch.folder)}",
        *_environment_file(launch.environment_file),
        f"ExecStart={execute}",
        f"SyslogIdentifier={name if name.isascii() and chr(92) not in name else 'chatbatch'}",
        *_endings(launch.grace_s),
        "# No stricter: a home of its own or a read-only disk would hide inputs, outputs and the shared quota.",
        "NoNewPrivileges=true",
        "RestrictSUIDSGID=true",
        "RestrictRealtime=true",
        "LockPersonality=true",
    ]
    return "\n".join(lines) + "\n"


def _endings(grace_s: float) -> Sequence[str]:
    return (
        "# 9 is nothing to do, with error_on_empty. 143 answers SIGTERM (systemctl stop, shutdown), which systemd",
        "# takes for a clean end. All others are failures, as for the health check: also 8, a budget is spent,",
        "# 10, the deadline came, and 11, another run goes on; rows that somebody waits for are left.",
        "SuccessExitStatus=9 143",
        "# A run takes as long as it takes; stop_at or max_duration of the job file ends it.",
        "TimeoutStartSec=infinity",
        f"# SIGTERM lets rows in flight finish for {grace_s:g} s; then the output is written.",
        "KillMode=mixed",
        "KillSignal=SIGTERM",
        f"TimeoutStopSec={int(grace_s) + 1 + EXPORT_S}",
    )


def _timer(launch: Launch, schedule: Schedule) -> str:
    lines = [
        "[Unit]",
        f"Description=chatbatch job {_described(launch.job)}, by the clock: {schedule.cron}",
        "",
        "[Timer]",
        *(f"OnCalendar={event}" for event in calendar(schedule)),
        "# A run that was missed while the machine was off is made up for, once.",
        "Persistent=true",
        "# systemd may be a minute late unless told otherwise; some seconds keep machines from asking in step.",
        "AccuracySec=1s",
        f"RandomizedDelaySec={schedule.jitter_s or 10:g}",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"


def _environment_file(file: Path | None) -> list[str]:
    # systemd takes a pattern here, so that characters of patterns have to be made plain.
    return [f"EnvironmentFile={_path(Path(glob.escape(str(file))))}"] if file else []


def _path(path: Path) -> str:
    text = _usable(str(path))
    if text != text.strip() or text.endswith("\\"):
        raise UsageError(f"systemd cannot take the path {text!r}.", hint="Its end is a space or a backslash.")
    return text.replace("%", "%%")


def _described(job: str) -> str:
    return _usable(job).replace("%", "%%").rstrip("\\ ")


def _usable(word: str) -> str:
    if not word.isprintable() or any(0xD800 <= ord(character) <= 0xDFFF for character in word):
        raise UsageError(
            f"{word!a} cannot stand in a crontab or a unit: it has a character that cannot be printed.",
            hint="Rename the folder or the job.",
        )
    return word
