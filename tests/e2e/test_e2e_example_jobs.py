"""The example jobs, each from a clean copy of the checkout: they run as they stand and do what they say."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from e2e.harness import ACCOUNT, SAMPLES, Ran, billed, read_output, run_cli, statuses, write_rows

from batch.emulator import Config, Fault, Running, background

JOBS = Path(__file__).parents[2] / "jobs"
ROWS = {"nightly-summaries": 120, "hourly-reviews": 80, "weekly-failed": 120}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the example jobs and the sample data, as they are after a clone."""
    (tmp_path / "jobs").mkdir()
    for path in JOBS.glob("*.toml"):
        shutil.copy(path, tmp_path / "jobs")
    shutil.copytree(SAMPLES, tmp_path / "sample_data")
    return tmp_path


def _run(checkout: Path, name: str, *flags: object, account: bool = True) -> Ran:
    words = ("job", "run", name, "--jobs-dir", checkout / "jobs", *flags)
    return run_cli(*words, env=ACCOUNT if account else {})


def _job(name: str) -> dict[str, dict[str, object]]:
    return tomllib.loads((JOBS / f"{name}.toml").read_text(encoding="utf-8"))


def test_every_example_is_known_here() -> None:
    """The jobs of the folder are those of these tests."""
    assert sorted(path.stem for path in JOBS.glob("*.toml")) == sorted(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_an_example_runs_as_it_stands(checkout: Path, name: str) -> None:
    """Without an account it is answered by the emulator, as its comment says; a second run is silent."""
    text = (JOBS / f"{name}.toml").read_text(encoding="utf-8")
    assert f"# Try it:  chatbatch job run {name} --emulate\n" in text
    first = _run(checkout, name, "--emulate", account=False)
    assert first.code == 0, first.stderr
    output = checkout / str(_job(name)["output"]["path"])
    assert statuses(output) == {"ok": ROWS[name]}
    second = _run(checkout, name, "--emulate", account=False)
    assert (second.code, second.said) == (0, "")
    told = run_cli("job", "history", name, "--jobs-dir", checkout / "jobs", "--json").events()
    assert [item["answered"] for item in told] == [ROWS[name], 0]


@pytest.mark.parametrize("name", ROWS)
def test_a_check_of_an_example_is_of_help(checkout: Path, name: str) -> None:
    """With an account nothing is wrong; without, each finding says what to set."""
    words = ("job", "check", name, "--jobs-dir", checkout / "jobs")
    good = run_cli(*words)
    assert (good.code, good.stdout) == (0, "Nothing is wrong.\n")
    bare = run_cli(*words, env={})
    assert bare.code == 2
    assert "FOLDER_ID" in bare.stdout


def test_new_conversations_alone_are_bought_the_next_night(checkout: Path) -> None:
    """Appended rows are answered, and the others are not bought again."""
    source = checkout / "sample_data/support.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()
    write_rows(source, lines[:100])
    with background(Config()) as service:
        for count, size in ((100, 100), (120, 120)):
            write_rows(source, lines[:size])
            assert _run(checkout, "nightly-summaries", "--base-url", service.base_url, "-q").said == ""
            assert billed(service) == count
    assert statuses(checkout / "out/nightly-summaries.parquet") == {"ok": 120}


def test_a_review_is_answered_once_however_often_its_file_is_written(checkout: Path) -> None:
    """The file in another order and with one row more buys one answer."""
    source = checkout / "sample_data/reviews.parquet"
    table = pq.read_table(source)
    with background(Config()) as service:
        for size, count in ((79, 79), (80, 80)):
            pq.write_table(table.take(list(range(size))[:: 1 if size < 80 else -1]), source)
            assert _run(checkout, "hourly-reviews", "--base-url", service.base_url, "-q").code == 0
            assert billed(service) == count


def _failing(service: Running, checkout: Path) -> int:
    """Run the nightly job while every fifth request is refused; return how many rows failed."""
    service.emulator.faults = (Fault("400", 0.2),)
    ran = _run(checkout, "nightly-summaries", "--base-url", service.base_url)
    assert ran.code == 3, ran.stderr
    service.emulator.faults = ()
    return statuses(checkout / "out/nightly-summaries.parquet")["failed"]


def test_the_weekly_job_sends_failed_rows_and_no_others(checkout: Path) -> None:
    """After a night with failures it buys just those rows, into the same output; its history counts them."""
    with background(Config()) as service:
        failed = _failing(service, checkout)
        assert 0 < failed < 120
        before = {str(row["id"]): row for row in read_output(checkout / "out/nightly-summaries.parquet")}
        assert billed(service) == 120 - failed
        ran = _run(checkout, "weekly-failed", "--base-url", service.base_url)
        assert ran.code == 0, ran.stderr
        assert billed(service) == 120
        again = _run(checkout, "nightly-summaries", "--base-url", service.base_url)
        assert (again.code, again.said) == (0, "")
    after = {str(row["id"]): row for row in read_output(checkout / "out/nightly-summaries.parquet")}
    assert all(after[key] == row for key, row in before.items() if row["status"] == "ok")
    assert statuses(checkout / "out/nightly-summaries.parquet") == {"ok": 120}
    told = run_cli("job", "history", "weekly-failed", "--jobs-dir", checkout / "jobs", "--json").events()
    assert [item["answered"] for item in told] == [failed]


def test_rows_that_fail_on_a_sunday_are_no_reason_for_a_mail(checkout: Path) -> None:
    """With max_failed off the weekly job exits 0, though rows are refused still."""
    with background(Config()) as service:
        _failing(service, checkout)
        service.emulator.faults = (Fault("400", 1.0),)
        ran = _run(checkout, "weekly-failed", "--base-url", service.base_url, "-q")
    assert ran.code == 0, ran.stderr
    assert statuses(checkout / "out/nightly-summaries.parquet")["failed"] > 0


def test_the_weekly_job_asks_what_the_nightly_job_asks() -> None:
    """Whatever makes a row's question is the same in both files."""
    nightly, weekly = _job("nightly-summaries"), _job("weekly-failed")
    for table in ("input", "output", "model"):
        assert nightly[table] == weekly[table]
    assert nightly["budget"]["max_cost"] == weekly["budget"]["max_cost"]
