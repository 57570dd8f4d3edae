"""Job files: every setting has a key, wrong ones are sentences that name file, line, table and key."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from batch.errors import UsageError
from batch.jobfile import KEYS, TABLES, JobFile, find, load, names
from batch.parsing import Bounds, Money, RateLimit
from batch.settings import Layer, Settings, declared, resolve

BEGAN = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
KEY = "AQVNsecretsecretsecret"


def _load(folder: Path, text: str, name: str = "night") -> JobFile:
    (folder / "jobs").mkdir(exist_ok=True)
    path = folder / "jobs" / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def _settings(job: JobFile, **environment: str) -> Settings:
    return resolve(job.at(BEGAN, environment).layers).settings


def test_every_setting_of_the_command_line_has_a_key_and_nothing_else_does() -> None:
    """The map of keys and the declared settings are the same, and no key stands for two settings."""
    assert set(KEYS) == {item.name for item in declared()}
    assert len(set(KEYS.values())) == len(KEYS)
    own = {("input", "files")} | {(table, key) for table in ("schedule", "history") for key in TABLES[table]}
    assert {(table, key) for table, keys in TABLES.items() for key in keys} == set(KEYS.values()) | own


def test_values_are_what_flags_would_have_made_of_them(tmp_path: Path) -> None:
    """Texts, numbers, booleans and lists go through the settings' own functions; money stays decimal."""
    job = _load(
        tmp_path,
        '[limits]\nconcurrency = 5\nrate = ["10/s", "5000/h"]\nstop_at = 06:30:00\n[model]\ntemperature = 0.3\n'
        "[budget]\nmax_cost = 0.1\n[input]\ndedupe = true\nkeep = 'title'\n[request]\ndata_logging = false\n",
    )
    settings = _settings(job)
    assert settings.concurrency == Bounds(5, 5)
    assert settings.limit == (RateLimit(10, 1), RateLimit(5000, 3600))
    assert (settings.stop_at, settings.temperature, settings.dedupe) == ((6, 30), 0.3, True)
    assert settings.max_cost == Money(Decimal("0.1"), "RUB")
    assert (settings.data_logging, settings.keep[0].name) == (False, "title")


def test_flags_and_variables_go_before_the_file_and_origins_are_told(tmp_path: Path) -> None:
    """The first layer wins, and what the file says carries file, table and key as its origin."""
    job = _load(tmp_path, '[limits]\nconcurrency = 5\n[model]\nname = "a"\n[retry]\nattempts = 1\n')
    above = [Layer("flag", {"model": "b"}), Layer("environment", {"retries": "2"})]
    resolved = resolve([*above, *job.at(BEGAN, {}).layers])
    assert (resolved.settings.model, resolved.settings.retries) == ("b", 2)
    assert resolved.origins["model"] == "flag"
    assert resolved.origins["concurrency"] == f"job file {job.path} [limits] concurrency"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\n[limits]\nconcurency = 5\n",
            "line 3: [limits] concurency: there is no such key (did you mean concurrency?)",
        ),
        ("[limts]\nrate = 5\n", "line 1: [limts]: there is no such table (did you mean limits?)"),
        ("[limits]\nmax_cost = 5\n", "[limits] max_cost: there is no such key; it belongs in [budget]"),
        ("[limits]\nmax_tokens = 5\n", "[limits] max_tokens: there is no such key; it belongs in [model]"),
        ('[input]\nfile = "in/"\n', "[input] file: there is no such key (did you mean files?)"),
        ('[schedule]\nat = "2:30"\njitter = "some"\n', "line 3: [schedule] jitter: 'some' is not a duration"),
        ("max_cost = 5\n", "max_cost: this key stands in no table; it belongs in [budget]"),
        ('[limits]\nconcurrency = "many"\n', "line 2: [limits] concurrency: 'many' is not auto, a number from 1"),
        ("[limits]\nconcurrency = [1, 2]\n", "one value is expected, not a list"),
        ("[budget]\nmax_cost = false\n", "false is no value of this key; write off for none"),
        ("[limits]\nrate = {n = 1}\n", "a text, a number, true or false is expected"),
        ('[schedule]\nat = "25:00"\n', "[schedule] at: '25:00' is not a time of day"),
        ('[schedule]\ncron = "1 2 3"\n', "[schedule] cron: '1 2 3' is not five fields"),
        ('[schedule]\nat = "2:30"\ndays = ["someday"]\n', "'someday' is no day such as mon"),
        ("[limits\n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_a_sentence_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """An unknown or misplaced key, or a wrong value, names its place, and the nearest known key."""
    with pytest.raises(UsageError) as raised:
        _load(tmp_path, text)
    assert said in str(raised.value)
    assert "night.toml" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        f'[service]\napi_key = "{KEY}"\n',
        f'[service]\nfolder = "{KEY}"\n',
        '[notify]\nwebhook = "https://example.com/t1.9euelZq"\n',
        '[input]\nsystem = """-----BEGIN PRIVATE KEY-----"""\n',
        f'[secrets]\nx = "{KEY}"\n',
    ],
)
def test_credentials_are_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    """A key or a value that looks like a credential is refused, with where it belongs, and is not shown."""
    with pytest.raises(UsageError, match="holds no credentials") as raised:
        _load(tmp_path, text)
    assert "API_KEY or IAM_TOKEN in the environment" in raised.value.hint
    assert KEY not in str(raised.value)
    assert "t1.9eu" not in str(raised.value)


def test_relative_paths_are_those_of_the_folder_that_holds_the_jobs(tmp_path: Path) -> None:
    """Paths, globs and @FILEs are relative to the folder above jobs/, whatever characters it has."""
    folder = tmp_path / "a [b] 50%"
    folder.mkdir()
    (folder / "prompt.txt").write_text("Be {brief}.")
    files = '[input]\nfiles = ["in/", "in/*.jsonl", "/abs/x.jsonl"]\n'
    text = files + 'system = "@prompt.txt"\n[output]\npath = "o.parquet"\n'
    job = _load(folder, text)
    assert _settings(job).output == folder / "o.parquet"
    assert _settings(job).system == "Be {brief}."
    inputs = job.at(BEGAN, {}).inputs
    assert inputs == [str(folder / "in"), f"{tmp_path}/a [[]b] 50%/in/*.jsonl", "/abs/x.jsonl"]
    assert job.at(BEGAN, {}).history.folder == folder / "jobs" / ".state" / "night"


def test_a_file_in_another_folder_is_relative_to_that(tmp_path: Path) -> None:
    """Where the folder is not called jobs, it is itself what paths are relative to."""
    (tmp_path / "night.toml").write_text('[output]\npath = "o.parquet"\n')
    assert _settings(load(tmp_path / "night.toml")).output == tmp_path / "o.parquet"


def test_placeholders_are_filled_in_paths_and_not_in_prompts(tmp_path: Path) -> None:
    """Dates, hours and variables stand in names; a template's braces belong to the rows."""
    text = (
        '[input]\nfiles = ["in/{date-1}.jsonl"]\ntemplate = "Of {date}: {text}"\n'
        '[output]\npath = "out/{date}T{hour}.parquet"\njournal = "{{x}}.journal"\n'
        '[service]\nfolder = "{env:PAYS}"\n'
    )
    job = _load(tmp_path, text)
    settings = _settings(job, PAYS="b1g")
    assert settings.output == tmp_path / "out/2026-03-01T02.parquet"
    assert (settings.template, settings.folder) == ("Of {date}: {text}", "b1g")
    assert settings.journal == tmp_path / "{x}.journal"
    assert job.at(BEGAN, {"PAYS": "b1g"}).inputs == [str(tmp_path / "in/2026-02-28.jsonl")]
    with pytest.raises(
        UsageError, match=r"line 8: \[service\] folder: \{env:PAYS\}: the environment variable is not set"
    ):
        job.at(BEGAN, {})


def test_a_job_is_found_by_name_or_path(tmp_path: Path) -> None:
    """A name means a file of the folder, a path the file; a misspelt name suggests the nearest."""
    job = _load(tmp_path, "", "my nightly")
    assert find("my nightly", tmp_path / "jobs") == job.path
    assert find(str(job.path), tmp_path) == job.path
    assert names(tmp_path / "jobs") == ["my nightly"]
    with pytest.raises(UsageError, match="did you mean my nightly"):
        find("my nightl", tmp_path / "jobs")
    with pytest.raises(UsageError, match="cannot be read"):
        find("x", tmp_path / "nowhere")


def test_a_home_that_nobody_has_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home folder `~` is refused with a sentence, and other paths work."""
    monkeypatch.delenv("HOME")
    job = _load(tmp_path, '[output]\npath = "~nobody-of-this-name/o.parquet"\n')
    with pytest.raises(UsageError, match="HOME is not set"):
        job.at(BEGAN, {})


def test_standard_input_is_no_input_of_a_job(tmp_path: Path) -> None:
    """Cron pipes nothing, so `-` is refused."""
    with pytest.raises(UsageError, match="nobody pipes into it"):
        _load(tmp_path, '[input]\nfiles = ["-"]\n').at(BEGAN, {})
