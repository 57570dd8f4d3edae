"""Crontab lines and systemd units, read back by the programs that will read them."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batch.errors import UsageError
from batch.jobfile import Cron, Schedule
from batch.plan.scheduled.scheduling import (
    Launch,
    calendar,
    cron_word,
    crontab_line,
    environment_file_faults,
    systemd_units,
)

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")
AWKWARD = ["plain", "my jobs 100%", "it's", 'say "hi"', "ночные задания", "a\\b\\\\c", "$HOME `id`", "50%%\\%x"]


def _strip_as_cronie(text: str) -> str:
    return text.replace("\\%", "%")


def _strip_as_vixie_4(text: str) -> str:
    return re.sub(r"\\([%\\])", r"\1", text)


@pytest.mark.parametrize("strip", [str, _strip_as_cronie, _strip_as_vixie_4])
@pytest.mark.parametrize("word", AWKWARD)
def test_a_word_survives_every_cron(word: str, strip: type[str]) -> None:
    """Whatever a cron does with backslashes, the shell receives the word as it was."""
    assert not re.search(r"(?<!\\)%", cron_word(word))
    ran = subprocess.run(["/bin/sh", "-c", "printf %s " + strip(cron_word(word))], capture_output=True, env={})
    assert ran.stdout.decode() == word


@pytest.mark.parametrize("name", AWKWARD)
def test_the_line_runs_as_under_cron(tmp_path: Path, name: str) -> None:
    """The line runs with cron's bare environment, in its folder, with the variables of its file."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".env").write_text("API_KEY='se cret'\n", encoding="utf-8")
    program = folder / "program"
    program.write_text('#!/bin/sh\nprintf "%s|" "$API_KEY" "$PWD" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    launch = Launch("j", (str(program), "job", "run", name), folder, folder / ".env", 30, "")
    line = crontab_line(launch, Schedule(cron="30 2 * * *"))
    assert "se cret" not in line
    command = _strip_as_cronie(line.split(" ", 5)[5])
    bare = {"HOME": "/nonexistent", "LOGNAME": "nobody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, env=bare, cwd="/")
    assert ran.stdout.decode().split("|")[:-1] == ["se cret", os.path.realpath(folder), "job", "run", name, "-q"]


@needs_systemd
@pytest.mark.parametrize("name", [name for name in AWKWARD if "/" not in name])
def test_systemd_verifies_the_units(tmp_path: Path, name: str) -> None:
    """systemd-analyze finds no fault with the units, whatever the folder is called."""
    folder = tmp_path / name
    folder.mkdir()
    program = folder / "program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    launch = Launch("nightly", (str(program), "job", "run", name), folder, folder / ".env", 30, "root")
    units = systemd_units(launch, Schedule(cron="30 2 1 * mon-fri"))
    for unit in units:
        (tmp_path / unit.name).write_text(unit.text, encoding="utf-8")
    paths = [str(tmp_path / unit.name) for unit in units]
    ran = subprocess.run([str(ANALYZE), "verify", "--man=no", *paths], capture_output=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def _random_cron(dice: random.Random) -> str:
    minute = dice.choice(["*", "*/7", "5", "1,2,50-59", "10-40/15"])
    hour = dice.choice(["*", "*/5", "0", "22-23,3", "1-23/4"])
    day = dice.choice(["*", "1", "*/2", "31", "10-12,29"])
    month = dice.choice(["*", "feb", "1,3-5", "*/4"])
    return f"{minute} {hour} {day} {month} {dice.choice(['*', '0', '7', 'mon-fri', '5-7', 'sat,tue', '*/3'])}"


@needs_systemd
@pytest.mark.parametrize("seed", range(40))
def test_systemd_and_cron_agree_on_the_next_time(seed: int) -> None:
    """The earliest next elapse of the calendar events is cron's next moment."""
    text = _random_cron(random.Random(seed))
    now = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)
    due = Cron.parse(text).next(now)
    found = []
    for event in calendar(Schedule(cron=text, timezone="UTC")):
        base = ["--base-time", f"{now:%Y-%m-%d %H:%M:%S} UTC"]
        ran = subprocess.run(
            [str(ANALYZE), "calendar", *base, event], capture_output=True, text=True, env={"TZ": "UTC"}
        )
        assert ran.returncode == 0, ran.stderr
        if match := re.search(r"Next elapse: \w+ (\S+ \S+) UTC", ran.stdout):
            found.append(datetime.fromisoformat(match[1] + "+00:00"))
    assert (min(found) if found else None) == due, text


def test_lines_that_shell_and_systemd_read_differently_are_named() -> None:
    """export, substitutions and bare spaces are named by their line; plain and quoted values are fine."""
    text = "# a\n\nAPI_KEY=AQVN-x\nB='a b'\nexport C=1\nD=$HOME\nE=a b\n"
    assert environment_file_faults(text) == [5, 6, 7]


def test_what_cron_cannot_take_is_refused() -> None:
    """A line break, and a command longer than cron's, are errors."""
    with pytest.raises(UsageError, match="cannot be printed"):
        cron_word("a\nb")
    with pytest.raises(UsageError, match="bytes long"):
        crontab_line(Launch("j", ("/x" * 600,), Path("/"), None, 30, ""), Schedule(cron="* * * * *"))
