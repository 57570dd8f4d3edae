"""What `job schedule` prints, run as cron and systemd would: bare environments, awkward folders, no HOME."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from e2e.harness import ACCOUNT, Shell, billed, killed_at_the_end, statuses, wait_until, write_chats

from batch.emulator import Config, Fault, background

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")
AWKWARD = ["plain", "my jobs 100%", 'it\'s "the" night', "ночные задания 50%%", "$HOME `id` a\\b"]
CRON = {"HOME": "/nonexistent", "LOGNAME": "x", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
EMULATED = "[service]\nemulate = true\n"


def _set_up(tmp_path: Path, name: str, service: str = EMULATED) -> Path:
    """Make a folder with a job of that name, an input of three rows and an environment file."""
    folder = tmp_path / name
    (folder / "jobs").mkdir(parents=True)
    (folder / f"jobs/{name}.toml").write_text(
        '[input]\nfiles = ["in.jsonl"]\nid_column = "id"\n[output]\npath = "out.parquet"\n'
        f'{service}[schedule]\nat = "02:30"\n',
        encoding="utf-8",
    )
    secrets = folder / "jobs/.env"
    secrets.write_text("".join(f"{key}='{value}'\n" for key, value in ACCOUNT.items()), encoding="utf-8")
    secrets.chmod(0o600)
    write_chats(folder / "in.jsonl", 3)
    return folder


def _line(shell: Shell, folder: Path) -> str:
    """Return the crontab line of a folder's job."""
    ran = shell("job", "schedule", folder.name, "--jobs-dir", folder / "jobs")
    assert (ran.code, ran.stderr) == (0, "")
    [line] = ran.stdout.splitlines()
    assert ACCOUNT["API_KEY"] not in line
    return line


def _as_cron(line: str) -> list[str]:
    """Return the words with which cron starts a line's command; an unescaped % would begin its stdin."""
    schedule, command = line.split(" ", 5)[:5], line.split(" ", 5)[5]
    assert schedule == ["30", "2", "*", "*", "*"]
    command, *stdin = re.split(r"(?<!\\)%", command)
    assert stdin == []
    return ["/bin/sh", "-c", command.replace("\\%", "%")]


def _run(words: list[str], env: Mapping[str, str], cwd: str = "/") -> tuple[int, bytes, bytes]:
    ran = subprocess.run(words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    return ran.returncode, ran.stdout, ran.stderr


def _outcomes(folder: Path) -> list[object]:
    lines = (folder / "jobs/.state" / folder.name / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [told["outcome"] for told in map(json.loads, lines) if told["outcome"] != "running"]


@pytest.mark.parametrize("home", [True, False], ids=["home", "no home"])
@pytest.mark.parametrize("name", AWKWARD)
def test_the_crontab_line_runs_as_printed(tmp_path: Path, shell: Shell, name: str, home: bool) -> None:
    """Under cron's bare environment the rows are answered, nothing is printed to be mailed, and again nothing."""
    folder = _set_up(tmp_path, name)
    words = _as_cron(_line(shell, folder))
    env = {key: value for key, value in CRON.items() if home or key != "HOME"}
    assert _run(words, env) == (0, b"", b"")
    assert statuses(folder / "out.parquet") == {"ok": 3}
    assert _run(words, env) == (0, b"", b"")
    assert _outcomes(folder) == ["done", "nothing to do"]


def test_the_line_does_not_overlap_itself(tmp_path: Path, shell: Shell) -> None:
    """With the credentials of its file alone the service answers; a second line meanwhile exits 11 and says so."""
    with background(Config(stall_seconds=30)) as service:
        service.emulator.faults = (Fault("stall", 1.0),)
        folder = _set_up(tmp_path, "my jobs 100%", f'[service]\nbase_url = "{service.base_url}"\n')
        words = _as_cron(_line(shell, folder))
        process = subprocess.Popen(words, env=CRON, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with killed_at_the_end(process) as first:
            wait_until(lambda: billed(service) >= 1 or first.poll() is not None, "the first request")
            code, out, err = _run(words, CRON)
            assert (code, out) == (11, b"")
            assert b"is running" in err
            first.send_signal(signal.SIGKILL)  # `exec` in the line: the shell is the job by now
            first.wait(10)
        service.emulator.faults = ()
        code, out, err = _run(words, CRON)
        assert (code, out) == (0, b"")
        assert b"in flight when the run before ended" in err  # worth a mail: they may have been billed
    assert statuses(folder / "out.parquet") == {"ok": 3}


def _unit(text: str) -> dict[str, list[str]]:
    """Return a unit's values by key, specifiers resolved: of these only %% may occur."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#;[":
            key, value = line.split("=", 1)
            assert not re.search(r"%", value.replace("%%", "")), line
            found.setdefault(key, []).append(value.replace("%%", "%"))
    return found


def _execute_words(value: str) -> list[str]:
    """Split a value of ExecStart= by systemd's rules: quotes at a word's ends, C escapes, `:` before all."""
    assert value.startswith((":", '":')), "without a colon $ would be expanded"
    words = re.findall(r'"((?:[^"\\]|\\["\\])*)"(?= |$)|([^ "\'\\]+)(?= |$)', value)
    assert " ".join(f'"{quoted}"' if quoted else bare for quoted, bare in words) == value
    found = [re.sub(r"\\(.)", r"\1", quoted) if quoted else bare for quoted, bare in words]
    return [found[0].removeprefix(":"), *found[1:]]


def _as_systemd(unit: Mapping[str, list[str]]) -> tuple[list[str], dict[str, str], str]:
    """Return command, environment and working folder of a service, as its manager would set them."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
    assert "Environment" not in unit
    for pattern in unit["EnvironmentFile"]:
        [file] = glob.glob(pattern)
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            key, value = line.split("=", 1)
            env[key] = value.strip("'")
    [execute], [folder] = unit["ExecStart"], unit["WorkingDirectory"]
    return _execute_words(execute), env, folder


@pytest.mark.parametrize("name", AWKWARD)
def test_the_service_runs_as_written(tmp_path: Path, shell: Shell, name: str) -> None:
    """With the unit's environment, folder and words alone, and no HOME, the rows are answered silently enough."""
    with background(Config()) as service:
        folder = _set_up(tmp_path, name, f'[service]\nbase_url = "{service.base_url}"\n')
        ran = shell("job", "schedule", name, "--jobs-dir", folder / "jobs", "--systemd", "--write", tmp_path)
        assert ran.code == 0
        [path] = [line for line in ran.stdout.splitlines() if line.endswith(".service")]
        unit = _unit(Path(path).read_text(encoding="utf-8"))
        assert unit["SuccessExitStatus"] == ["9 143"]
        words, env, where = _as_systemd(unit)
        assert where == str(folder)
        code, out, err = _run(words, env, where)
        assert (code, out) == (0, b""), err
        assert b"3 ok" in err  # the unit's journal tells each run's summary
        assert billed(service) == 3
        assert _run(words, env, where) == (0, b"", b"")
        assert billed(service) == 3
    assert statuses(folder / "out.parquet") == {"ok": 3}


@needs_systemd
@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
@pytest.mark.parametrize("name", AWKWARD)
def test_systemd_verifies_what_is_written(tmp_path: Path, shell: Shell, name: str, user: bool) -> None:
    """systemd-analyze has nothing to say against the units of a real folder with awkward characters."""
    folder = _set_up(tmp_path, name)
    target = tmp_path / "units"
    target.mkdir()
    flags = ["--user"] if user else []
    ran = shell("job", "schedule", name, "--jobs-dir", folder / "jobs", "--systemd", "--write", target, *flags)
    assert (ran.code, ran.stderr) == (0, "")
    paths = ran.stdout.splitlines()
    assert sorted(paths) == sorted(str(path) for path in target.iterdir())
    assert sorted(Path(path).suffix for path in paths) == [".service", ".timer"]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    words = [str(ANALYZE), "verify", "--man=no", *flags, *paths]
    verified = subprocess.run(words, env=env, capture_output=True, timeout=30)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, b"", b"")
