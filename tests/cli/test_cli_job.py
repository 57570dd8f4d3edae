"""`chatbatch job`: run, list, check and history, in process."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from e2e.harness import Shell, chat, read_output, statuses, write_chats, write_rows

from batch.journal import Owner

JOB = (
    '[input]\nfiles = ["in/"]\n[output]\npath = "out.parquet"\n'
    '[service]\nemulate = true\n[schedule]\nat = "02:30"\n'
)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job `night`, whose input folder is not there yet; the working folder is another one."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "jobs/night.toml").write_text(JOB)
    return tmp_path / "jobs"


def _grow(jobs: Path, name: str, count: int, first: int = 0) -> None:
    (jobs.parent / "in").mkdir(exist_ok=True)
    write_chats(jobs.parent / "in" / name, count, first)


def test_a_folder_that_grows_is_answered_once(shell: Shell, jobs: Path) -> None:
    """Nothing there, something new, nothing new: each run is silent or says what it did, and is remembered."""
    words = ("job", "run", "night", "--jobs-dir", jobs)
    assert shell(*words) == shell(*words)
    nothing = shell(*words)
    assert (nothing.code, nothing.said) == (0, "")
    _grow(jobs, "1.jsonl", 3)
    assert shell(*words).code == 0
    _grow(jobs, "2.jsonl", 2, 3)
    assert shell(*words).code == 0
    idle = shell(*words)
    assert (idle.code, idle.said) == (0, "")
    assert statuses(jobs.parent / "out.parquet") == {"ok": 5}
    told = shell("job", "history", "night", "--jobs-dir", jobs, "--json").events()
    assert [item["answered"] for item in told] == [0, 0, 0, 3, 2, 0]
    assert [item["outcome"] for item in told] == ["nothing to do"] * 3 + ["done"] * 2 + ["nothing to do"]
    assert len({item["settings"] for item in told}) == 1
    rows = read_output(jobs.parent / "out.parquet")
    assert sum(int(str(item["input_tokens"])) for item in told) == sum(
        int(str(row["input_tokens"])) for row in rows
    )


def test_rows_by_status_whatever_the_size_of_the_input(shell: Shell, jobs: Path) -> None:
    """The record has the run's own totals, for which no input, large or small, is read again."""
    (jobs.parent / "in").mkdir()
    large = [chat(f"Question {n}?", notes="x" * 3_000_000) for n in range(3)]
    write_rows(jobs.parent / "in/1.jsonl", [*large, {"id": "nothing to ask"}])
    assert shell("job", "run", "night", "--jobs-dir", jobs).code == 3
    [told] = shell("job", "history", "night", "--jobs-dir", jobs, "--json").events()
    assert told["rows"] == {"ok": 3, "failed": 0, "invalid": 1, "pending": 0}
    assert "3 of 4" in shell("job", "list", "--jobs-dir", jobs).stdout


def test_an_input_that_is_gone_is_no_input_without_news(shell: Shell, jobs: Path) -> None:
    """A folder that was never there may still come; once rows were read, a folder that is gone is exit 6."""
    words = ("job", "run", "night", "--jobs-dir", jobs)
    assert shell(*words).code == 0
    _grow(jobs, "1.jsonl", 1)
    assert shell(*words).code == 0
    (jobs.parent / "in/1.jsonl").unlink()
    assert (shell(*words).code, shell(*words, "--dry-run").code) == (0, 0)
    (jobs.parent / "in").rmdir()
    gone = shell(*words)
    assert (gone.code, f"There is no {jobs.parent / 'in'}, and" in gone.stderr) == (6, True)
    assert shell("job", "check", "night", "--jobs-dir", jobs).code == 2


def test_a_dated_folder_may_be_missing_any_day(shell: Shell, jobs: Path) -> None:
    """Where the input's name has a date, only the folder that holds the dated ones has to stay."""
    (jobs / "night.toml").write_text(JOB.replace("in/", "in/{env:DAY}/"))
    words = ("job", "run", "night", "--jobs-dir", jobs)
    (jobs.parent / "in/1").mkdir(parents=True)
    write_chats(jobs.parent / "in/1/a.jsonl", 1)
    for day, code in (("1", 0), ("2", 0), ("3", 6)):
        shell.setenv(DAY=day)
        if day == "3":
            (jobs.parent / "in").rename(jobs.parent / "elsewhere")
        assert shell(*words).code == code


def test_an_input_that_may_not_be_read_is_an_error(
    shell: Shell, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is closed to the job's user is exit 6, and not a night without news."""
    _grow(jobs, "1.jsonl", 1)

    def refused(path: object) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "scandir", refused)
    for files in ("in/", "in/*.json"):
        (jobs / "night.toml").write_text(JOB.replace("in/", files))
        ran = shell("job", "run", "night", "--jobs-dir", jobs)
        assert (ran.code, "Permission denied" in ran.stderr) == (6, True)


def test_the_run_that_goes_on_is_the_last_one(shell: Shell, jobs: Path) -> None:
    """Where a run was held by one that goes on, the list shows the latter; else the one that ended last."""
    _grow(jobs, "1.jsonl", 1)
    words = ("job", "run", "night", "--jobs-dir", jobs)
    shell(*words)
    owner = Owner.take(jobs / ".state/night/run")
    history = jobs / ".state/night/history.jsonl"
    first = history.read_text().splitlines()[0]
    history.write_text(first + "\n")
    assert shell(*words).code == 11
    assert "running" in shell("job", "list", "--jobs-dir", jobs).stdout
    owner.close()
    assert "held" in shell("job", "list", "--jobs-dir", jobs).stdout
    told = shell("job", "history", str(jobs / "night.toml"), "--json").events()
    assert [(item["job"], item["outcome"]) for item in told] == [
        ("night", "killed"),
        ("night", "held by another run"),
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[log]\nmetrics_file = "a.prom"\n', "metrics file"),
        ('[history]\nfolder = "state"\n', "state"),
        ("", ""),
    ],
)
def test_jobs_that_write_over_each_other(shell: Shell, jobs: Path, more: str, said: str) -> None:
    """One metrics file, one state, or one output of other inputs is a fault; one of the same inputs is none."""
    for name in ("night", "week"):
        (jobs / f"{name}.toml").write_text(JOB + more)
    _grow(jobs, "1.jsonl", 1)
    ran = shell("job", "check", "week", "--jobs-dir", jobs)
    assert (ran.code, said in ran.stdout) == (2 if said else 0, True)
    (jobs / "week.toml").write_text((JOB + more).replace("in/", "other/"))
    ran = shell("job", "check", "--jobs-dir", jobs)
    assert (ran.code, "replaces the other's rows" in ran.stdout) == (2, True)


def test_nothing_to_do_has_an_exit_code_where_it_is_asked_for(shell: Shell, jobs: Path) -> None:
    """With error_on_empty it is 9, and silent all the same; -v says why."""
    words = ("job", "run", "night", "--jobs-dir", jobs)
    ran = shell(*words, "--error-on-empty")
    assert (ran.code, ran.said) == (9, "")
    assert "Nothing to do" in shell(*words, "-v").stderr


def test_a_single_file_that_is_missing_is_a_failure_and_is_remembered(shell: Shell, jobs: Path) -> None:
    """A named file that did not come is exit 6, with its name in the history."""
    (jobs / "night.toml").write_text(JOB.replace("in/", "in/{date}.jsonl"))
    assert shell("job", "run", "night", "--jobs-dir", jobs).code == 6
    [told] = shell("job", "history", "night", "--jobs-dir", jobs, "--json").events()
    assert (told["outcome"], told["exit_code"]) == ("input", 6)
    assert "does not exist" in str(told["error"])


def test_where_every_value_came_from(shell: Shell, jobs: Path) -> None:
    """A dry run names flag, variable, and table and key of the file; it leaves no record."""
    _grow(jobs, "1.jsonl", 1)
    shell.setenv(CHATBATCH_RETRIES="3")
    ran = shell("job", "run", "night", "--jobs-dir", jobs, "--dry-run", "-m", "yandexgpt")
    assert ran.code == 0
    assert f"(job file {jobs / 'night.toml'} [output] path)" in ran.stdout
    lines = {line.split()[0]: line for line in ran.stdout.splitlines() if line.startswith("    ")}
    assert lines["model"].endswith("(flag)")
    assert lines["retries"].endswith("(environment)")
    assert not (jobs / ".state").exists()


def test_the_folder_of_jobs_may_be_a_variable(shell: Shell, jobs: Path) -> None:
    """CHATBATCH_JOBS_DIR names the folder, and is no misspelt setting."""
    shell.setenv(CHATBATCH_JOBS_DIR=str(jobs))
    assert shell("job", "run", "night").code == 0
    assert "night" in shell("job", "list").stdout


def test_a_list_with_a_broken_file(shell: Shell, jobs: Path) -> None:
    """Each job with its last run and its next; a broken file is a line, not the end of the list."""
    (jobs / "broken.toml").write_text("[limits]\nconcurency = 1\n")
    (jobs / "young.toml").write_text(JOB)
    _grow(jobs, "1.jsonl", 2)
    shell("job", "run", "night", "--jobs-dir", jobs)
    ran = shell("job", "list", "--jobs-dir", jobs)
    assert ran.code == 0
    lines = {line.split()[0].rstrip(":"): line for line in ran.stdout.splitlines()}
    assert "2 of 2" in lines["night"]
    assert "02:30" in lines["night"]
    assert "never" in lines["young"]
    assert "concurrency" in lines["broken"]
    told = {item["name"]: item for item in shell("job", "list", "--jobs-dir", jobs, "--json").events()}
    assert told["night"]["last"]["answered"] == 2  # type: ignore[index]
    assert told["young"]["last"] is None
    assert told["broken"]["error"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('path = "out.parquet"', ""), "[output] path: the job has no output"),
        (("[input]", '[budget]\nmax_cost = "5 RUB"\n[input]'), "--max-tokens"),
        (("[input]", '[budget]\nmax_cost = 5\n[model]\nname = "own"\nmax_tokens = 9\n[input]'), "price"),
        (("[input]", '[service]\nfolder = "{env:NOBODY}"\n[input]'), "NOBODY"),
        (("in/", "in/1.jsonl/x.jsonl"), "does not exist"),
        (("[input]", '[input]\ntemplate = "{a}"\nprompt_column = "b"'), "exclude each other"),
        (("out.parquet", "in/1.jsonl/out.parquet"), "is no folder"),
        (("at =", 'timezone = "Mars/Base"\nat ='), "Mars/Base"),
    ],
)
def test_what_a_check_finds(shell: Shell, jobs: Path, change: tuple[str, str], said: str) -> None:
    """Whatever can be known without a network is a line with exit 2, and the job as it was has none."""
    _grow(jobs, "1.jsonl", 1)
    good = shell("job", "check", "--jobs-dir", jobs)
    assert good.code == 0, good.said
    text = JOB.replace(*change)
    if text.count("[service]") > 1:
        text = text.replace("[service]\nemulate = true\n", "")
    (jobs / "night.toml").write_text(text)
    ran = shell("job", "check", "night", "--jobs-dir", jobs)
    assert ran.code == 2, ran.said
    assert said in ran.stdout
    assert "night: fault:" in ran.stdout


def test_a_check_without_credentials_asks_nobody(shell: Shell, jobs: Path) -> None:
    """Without a key the metadata and yc are not asked; a key that is none is a fault."""
    (jobs / "night.toml").write_text(JOB.replace("emulate = true", 'folder = "b1g"'))
    shell.setenv(API_KEY="")
    ran = shell("job", "check", "night", "--jobs-dir", jobs)
    assert (ran.code, "were not asked" in ran.stdout) == (0, True)
    shell.setenv(API_KEY="a key with spaces")
    assert shell("job", "check", "night", "--jobs-dir", jobs).code == 2
