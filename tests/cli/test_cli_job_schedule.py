"""`chatbatch job schedule`: its flags, its warnings and its errors."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from e2e.harness import SECRET, Shell

JOB = '[input]\nfiles = ["in/"]\n[output]\npath = "out.parquet"\n'


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """The folder of a job `nightly` that is due at 02:30."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/nightly.toml").write_text(JOB + '[schedule]\nat = "02:30"\n[limits]\ngrace = "1m"\n')
    return tmp_path / "jobs"


def test_the_line_has_absolute_paths_and_no_secret(
    shell: Shell, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a relative folder the line's paths are whole, and the account of this shell is not in it."""
    monkeypatch.chdir(jobs.parent)
    ran = shell("job", "schedule", "nightly")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"30 2 * * * cd {jobs.parent} && exec /")
    assert ran.stdout.endswith(f" job run nightly --jobs-dir {jobs} -q\n")
    assert SECRET not in ran.stdout


@pytest.mark.parametrize("name", ["jobs/nightly.toml", "jobs/-odd.toml", "-odd"])
def test_a_job_that_is_named_by_its_file_is_found_from_anywhere(
    name: str, shell: Shell, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path becomes absolute, a name that looks like a flag becomes a path, and units have the plain name."""
    monkeypatch.chdir(jobs.parent)
    (jobs / "-odd.toml").write_text((jobs / "nightly.toml").read_text())
    (jobs / ".env").write_text("API_KEY=x\n")
    (jobs / ".env").chmod(0o600)
    file = jobs / f"{Path(name).name.removesuffix('.toml')}.toml"
    line = shell("job", "schedule", "--", name).stdout
    assert f"cd {jobs.parent} && set -a && . {jobs}/.env" in line
    assert f" job run {file} --jobs-dir {jobs} -q\n" in line
    assert f"# chatbatch-{file.stem}.service\n" in shell("job", "schedule", "--systemd", "--", name).stdout


def test_units_are_printed_with_their_names(shell: Shell, jobs: Path) -> None:
    """--systemd prints a service that names its user, its grace and its harmless ends, and a timer."""
    ran = shell("job", "schedule", "nightly", "--jobs-dir", jobs, "--systemd")
    assert (ran.code, ran.stderr) == (0, "")
    service, timer = ran.stdout.split("# chatbatch-nightly.timer\n")
    assert service.startswith("# chatbatch-nightly.service\n[Unit]\n")
    assert f"\nUser={pwd.getpwuid(os.getuid()).pw_name}\n" in service
    assert "\nTimeoutStopSec=181\n" in service
    assert "\nSuccessExitStatus=9 143\n" in service
    assert "\nOnCalendar=*-*-* 02:30:00\n" in timer


def test_units_for_ones_own_manager_name_no_user(shell: Shell, jobs: Path) -> None:
    """--user leaves out what only the system's manager knows."""
    ran = shell("job", "schedule", "nightly", "--jobs-dir", jobs, "--systemd", "--user")
    assert ran.code == 0
    assert "User=" not in ran.stdout
    assert "network-online" not in ran.stdout


def test_units_are_written_and_written_again(shell: Shell, jobs: Path, tmp_path: Path) -> None:
    """--write puts both into the folder and prints their paths alone; a missing folder is an error."""
    words = ("job", "schedule", "nightly", "--jobs-dir", jobs, "--systemd", "--write")
    for _ in range(2):
        ran = shell(*words, tmp_path)
        assert (ran.code, ran.stderr) == (0, "")
    paths = [tmp_path / "chatbatch-nightly.service", tmp_path / "chatbatch-nightly.timer"]
    assert ran.stdout.splitlines() == list(map(str, paths))
    assert "[Timer]" in paths[1].read_text()
    ran = shell(*words, tmp_path / "nowhere")
    assert ran.code == 2
    assert "--write takes a folder" in ran.stderr


def test_through_sudo_the_service_is_the_callers(
    shell: Shell, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root by sudo writes a unit for whoever called it; anybody else's SUDO_USER counts for nothing."""
    monkeypatch.setenv("SUDO_USER", "ann")
    for number, ann in ((0, True), (65534, False)):
        monkeypatch.setattr(os, "getuid", lambda number=number: number)
        ran = shell("job", "schedule", "nightly", "--jobs-dir", jobs, "--systemd")
        assert ran.code == 0
        assert ("\nUser=ann\n" in ran.stdout) is ann


def test_an_environment_file_that_others_can_read_is_warned_of(shell: Shell, jobs: Path) -> None:
    """0644 is a warning with the command that mends it, 0600 is none; the line reads the file either way."""
    secrets = jobs / ".env"
    secrets.write_text(f"API_KEY={SECRET}\n")
    secrets.chmod(0o644)
    ran = shell("job", "schedule", "nightly", "--jobs-dir", jobs)
    assert ran.code == 0
    assert "others can read" in ran.stderr
    assert "chmod 600" in ran.stderr
    secrets.chmod(0o600)
    ran = shell("job", "schedule", "nightly", "--jobs-dir", jobs)
    assert (ran.code, ran.stderr) == (0, "")
    assert f"&& set -a && . {secrets} && set +a &&" in ran.stdout
    assert SECRET not in ran.said


def test_another_environment_file(shell: Shell, jobs: Path, tmp_path: Path) -> None:
    """--env-file goes into line and unit; lines that shell and systemd differ on are named, not shown."""
    secrets = tmp_path / "account"
    secrets.write_text(f"export API_KEY={SECRET}\n")
    secrets.chmod(0o600)
    words = ("job", "schedule", "nightly", "--jobs-dir", jobs, "--env-file", secrets)
    ran = shell(*words)
    assert ran.code == 0
    assert f"{secrets}:1: a shell and systemd differ here" in ran.stderr
    assert SECRET not in ran.said
    assert f"\nEnvironmentFile={secrets}\n" in shell(*words, "--systemd").stdout
    ran = shell("job", "schedule", "nightly", "--jobs-dir", jobs, "--env-file", tmp_path / "none")
    assert ran.code == 2
    assert "There is no file" in ran.stderr


def test_cron_does_not_know_a_time_zone(shell: Shell, jobs: Path) -> None:
    """A time zone is a note on stderr for cron, and part of the timer's calendar for systemd."""
    (jobs / "east.toml").write_text(JOB + '[schedule]\nat = "02:30"\ntimezone = "Asia/Omsk"\n')
    ran = shell("job", "schedule", "east", "--jobs-dir", jobs)
    assert ran.code == 0
    assert "not Asia/Omsk" in ran.stderr
    assert ran.stdout.startswith("30 2 * * * ")
    ran = shell("job", "schedule", "east", "--jobs-dir", jobs, "--systemd")
    assert ran.stderr == ""
    assert "\nOnCalendar=*-*-* 02:30:00 Asia/Omsk\n" in ran.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("idle",), "The job idle has no schedule."),
        (("nightyl",), "(did you mean nightly?)"),
        (("nightly", "--user"), "--user and --write are for units."),
        (("nightly", "--write", "."), "Add --systemd."),
    ],
)
def test_what_cannot_be_scheduled_is_one_sentence(
    shell: Shell, jobs: Path, words: tuple[str, ...], said: str
) -> None:
    """No schedule, an unknown name and flags without units are exit 2, with how to mend it."""
    (jobs / "idle.toml").write_text(JOB)
    ran = shell("job", "schedule", *words, "--jobs-dir", jobs)
    assert (ran.code, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
