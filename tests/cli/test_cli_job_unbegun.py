"""Jobs that cannot begin: the health check hears why, and the history has a record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.harness import Shell, write_chats
from listener import Listener, listening

from batch import notify
from batch.journal import Owner

JOB = """
[output]
path = "out.parquet"
[service]
emulate = true
[notify]
ping_url = "{url}/{{env:CHECK}}?a=1"
webhook = "{url}/hook"
[input]
files = ["in/1.jsonl"]
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A health check and a webhook that are quick."""
    quick = notify.Timing(0.4, (0.01, 0.02), 1.0)
    monkeypatch.setattr(notify, "Timing", lambda: quick)
    with listening() as found:
        yield found


@pytest.fixture
def jobs(tmp_path: Path, server: Listener, shell: Shell) -> Path:
    """The folder of a job `night` that tells the server."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "jobs/night.toml").write_text(JOB.format(url=server.url))
    shell.setenv(CHECK="secret", CHATBATCH_JOBS_DIR=str(tmp_path / "jobs"))
    return tmp_path / "jobs"


def _last(shell: Shell) -> tuple[object, object, str]:
    *_, told = shell("job", "history", "night", "--json").events()
    return told["outcome"], told["exit_code"], str(told["error"])


@pytest.mark.parametrize(
    ("more", "variable", "said"),
    [
        ('[limits]\nconcurrency = "many"\n', {}, "concurrency: "),
        ("[limits]\nconcurency = 3\n", {}, "did you mean concurrency"),
        ("[limits]\nrate = 3 = 4\n", {}, "is not TOML"),
        ("[notify]\n", {}, "is not TOML"),
        ('[model]\nname = "{env:NOBODY}"\n', {}, "NOBODY"),
        ('[log]\nfile = "~nobody/x"\n[input]\nfile = 1\n', {}, "is not TOML"),
        ("", {"CHATBATCH_RETRIES": "many"}, "CHATBATCH_RETRIES"),
        ("", {"CHATBATCH_RETRYS": "3"}, "did you mean CHATBATCH_RETRIES"),
        ("", {"CHATBATCH_PING_URL": "nonsense"}, "CHATBATCH_PING_URL"),
    ],
)
def test_a_setting_that_cannot_be_parsed_is_told(
    more: str, variable: dict[str, str], said: str, shell: Shell, jobs: Path, server: Listener
) -> None:
    """Whatever is wrong elsewhere, the file's own address gets a failure and its reason, as does the history."""
    file = jobs / "night.toml"
    file.write_text(more + file.read_text() if more.startswith("[limits]") else file.read_text() + more)
    shell.setenv(**variable)
    ran = shell("job", "run", "night")
    shell.setenv(**dict.fromkeys(variable, ""))
    assert (ran.code, said in ran.stderr) == (2, True), ran.said
    assert sorted(server.targets) == ["/hook", "/secret/fail?a=1"]
    (ping,) = [told for told in server.told if told.target != "/hook"]
    (hook,) = [told.json() for told in server.told if told.target == "/hook"]
    assert ping.body.startswith("night on ")
    assert said in ping.body
    assert [hook["exit_code"], hook["failed"], hook["job"]] == [2, True, "night"]
    outcome, code, error = _last(shell)
    assert (outcome, code, said in error) == ("wrong settings", 2, True)


def test_flags_and_variables_go_before_the_file_here_too(shell: Shell, jobs: Path, server: Listener) -> None:
    """Another address in the environment or as a flag is the one that is told; off is none."""
    words = ("job", "run", "night", "--max-rows", "many")
    shell.setenv(CHATBATCH_PING_URL=f"{server.url}/variable")
    assert shell(*words, "--webhook", "off").code == 2
    assert shell(*words, "--webhook", "off", "--ping-url", f"{server.url}/flag").code == 2
    assert shell(*words, "--webhook", "off", "--ping-url", "off").code == 2
    assert shell(*words, "--dry-run").code == 2
    assert server.targets == ["/variable/fail", "/flag/fail"]
    assert jobs.is_dir()


def test_a_job_that_is_running_a_missing_file_and_a_state_that_cannot_be_written_are_told(
    shell: Shell, jobs: Path, server: Listener
) -> None:
    """What comes between good settings and the first row is a failure for the health check too."""
    assert shell("job", "run", "night").code == 6
    assert sorted(server.targets) == ["/hook", "/secret/fail?a=1", "/secret/start?a=1"]
    server.told.clear()
    write_chats(jobs.parent / "in/1.jsonl", 1)
    owner = Owner.take(jobs / ".state/night/run")
    metrics = jobs.parent / "night.prom"
    assert shell("job", "run", "night", "--metrics-file", metrics).code == 11
    owner.close()
    assert sorted(server.targets) == ["/hook", "/secret/fail?a=1"]
    assert not metrics.exists(), "they are those of the run that goes on"
    server.told.clear()
    (jobs / "file").touch()
    with (jobs / "night.toml").open("a") as file:
        file.write(f'[history]\nfolder = "{jobs}/file/state"\n')
    ran = shell("job", "run", "night")
    assert (ran.code, "[history]" in ran.stderr) == (2, True)
    assert sorted(server.targets) == ["/hook", "/secret/fail?a=1"]


def test_the_history_of_a_broken_file_is_shown(shell: Shell, jobs: Path) -> None:
    """Who looks for what went wrong finds the runs, also those of a folder that a broken file names."""
    file = jobs / "night.toml"
    file.write_text(file.read_text() + '[history]\nfolder = "state"\n[limits]\nx = [\n')
    assert shell("job", "run", "night").code == 2
    assert (jobs.parent / "state/history.jsonl").is_file()
    assert _last(shell)[0] == "wrong settings"
