"""`run --dry-run`: what a run would do and where each setting came from; it sends and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import SAMPLES, SECRET, Shell, billed, chat, requests, write_chats, write_rows

from batch.emulator import background

# A text for each setting that a variable may hold; what it is does not matter, only that it is accepted.
VALUES = {
    "output": "out.jsonl",
    "journal": "other.journal",
    "model": "yandexgpt/rc",
    "folder": "b1genv",
    "provider": "yandex",
    "base_url": "http://127.0.0.1:9",
    "data_logging": "no",
    "system": "Be brief.",
    "prompt_column": "text",
    "template": "Say: {text}",
    "id_column": "id",
    "keep": "lang,title:string",
    "temperature": "0.2",
    "max_tokens": "100",
    "concurrency": "3",
    "limit": "10/s,5000/h",
    "retries": "2",
    "retry_timeout": "5m",
    "timeout": "10s",
    "max_rows": "5",
    "max_failed": "2%",
    "grace": "1s",
    "error_on_empty": "true",
    "stats": "off",
    "quiet": "1",
    "verbose": "1",
}


def _told(shell: Shell, *words: object) -> dict[str, dict[str, object]]:
    ran = shell("run", SAMPLES / "articles.jsonl", "-o", "out.parquet", "-n", "--json", *words)
    assert (ran.code, ran.stderr) == (0, "")
    event = ran.events()[0]
    settings = event["settings"]
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize("name", VALUES)
def test_every_variable_sets_its_setting(name: str, shell: Shell) -> None:
    """Each setting can come from its environment variable, and the report says that it did."""
    if name == "output":
        shell.setenv(CHATBATCH_OUTPUT=VALUES[name])
        ran = shell("run", SAMPLES / "articles.jsonl", "-n", "--json")
        assert ran.events()[0]["output"] == VALUES[name]
        return
    plain = _told(shell)[name]
    assert plain["from"] == "default"
    shell.setenv(**{f"CHATBATCH_{name.upper()}": VALUES[name]})
    told = _told(shell)[name]
    assert told["from"] == "environment"
    assert told["value"] != plain["value"] or name == "provider"


def test_a_flag_wins_over_the_environment(shell: Shell) -> None:
    """A flag is stronger than a variable, and a variable than the default."""
    shell.setenv(CHATBATCH_CONCURRENCY="3", CHATBATCH_LIMIT="10/s,5000/h", CHATBATCH_QUIET="yes")
    told = _told(shell, "--concurrency", "7")
    assert told["concurrency"] == {"value": "7", "from": "flag"}
    assert told["limit"] == {"value": ["10/s", "5000/h"], "from": "environment"}
    assert told["quiet"] == {"value": True, "from": "environment"}


def test_a_dry_run_sends_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    """It says how many rows it would send, touches no file and asks nobody."""
    rows = write_chats(tmp_path / "in.jsonl", 7)
    with background() as service:
        words = ["run", rows, "-o", tmp_path / "new" / "out.parquet", "--base-url", service.base_url, "-n"]
        ran = shell(*words)
        assert (ran.code, requests(service)) == (0, 0)
    assert "7 of 7 rows" in ran.stdout
    assert "API key from API_KEY" in ran.stdout
    assert SECRET not in ran.said
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_dry_run_knows_what_is_answered(shell: Shell, tmp_path: Path) -> None:
    """After a run it says that nothing is left, after appending how much is, and changes no file."""
    rows, output = write_chats(tmp_path / "in.jsonl", 5), tmp_path / "out.parquet"
    with background() as service:
        words = ["run", rows, "-o", output, "--base-url", service.base_url]
        assert shell(*words).code == 0
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != rows}
        assert "Would send 0 of 5 rows" in shell(*words, "-n").stdout
        write_chats(rows, 8)
        assert "Would send 3 of 8 rows" in shell(*words, "-n").stdout
        assert billed(service) == 5
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != rows} == before


@pytest.mark.parametrize("flags", [(), ("--max-rows", "4"), ("--id-column", "id")], ids=" ".join)
def test_a_dry_run_counts_as_the_run_does(flags: tuple[str, ...], shell: Shell, tmp_path: Path) -> None:
    """What it would send is what the run then sends."""
    rows = write_rows(tmp_path / "in.jsonl", [*(chat(f"{n}?", id=str(n // 2)) for n in range(6)), {}])
    with background() as service:
        words = ["run", rows, "-o", tmp_path / "out.jsonl", "--base-url", service.base_url, *flags]
        told = shell(*words, "-n", "--json").events()[0]
        shell(*words)
        assert told["to_send"] == requests(service)
        assert told["rows"] == 7


def test_a_dry_run_leaves_the_runs_own_output_out(shell: Shell, tmp_path: Path) -> None:
    """An output inside an input folder is no input, to a dry run as to the run."""
    write_chats(tmp_path / "a.jsonl", 6)
    with background() as service:
        words = ["run", tmp_path, "-o", tmp_path / "out.jsonl", "--base-url", service.base_url]
        for _ in range(2):
            assert shell(*words, "-n", "--json").events()[0]["rows"] == 6
            assert shell(*words).code == 0
        assert requests(service) == 6


def _no_journal(folder: Path) -> list[object]:
    (folder / "out.parquet").write_bytes(b"somebody's")
    return ["-o", folder / "out.parquet"]


def _below_a_file(folder: Path) -> list[object]:
    (folder / "file").write_text("")
    return ["-o", folder / "file" / "out.parquet"]


def _unknown_provider(folder: Path) -> list[object]:
    return ["-o", folder / "out.parquet", "--provider", "yandx"]


def _doubled_keep(folder: Path) -> list[object]:
    return ["-o", folder / "out.parquet", "--keep", "id"]


def _the_input(folder: Path) -> list[object]:
    return ["-o", folder / "in.jsonl"]


def _emulated_before(folder: Path) -> list[object]:
    return ["-o", folder / "emulated.parquet"]


WRONG = [_no_journal, _below_a_file, _unknown_provider, _doubled_keep, _the_input, _emulated_before]


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__.strip("_"))
def test_a_dry_run_refuses_what_the_run_refuses(
    make: Callable[[Path], list[object]], shell: Shell, tmp_path: Path
) -> None:
    """What a run would refuse before it sends anything, a dry run refuses with the same code and words."""
    rows = write_chats(tmp_path / "in.jsonl", 2)
    if make is _emulated_before:
        assert shell("run", rows, "-o", tmp_path / "emulated.parquet", "--emulate").code == 0
    with background() as service:
        words = ["run", rows, "--base-url", service.base_url, *make(tmp_path)]
        dry, wet = shell(*words, "-n"), shell(*words)
        assert requests(service) == 0
    assert wet.code == 2
    assert (dry.code, dry.stderr) == (wet.code, wet.stderr)


def test_a_dry_run_refuses_columns_that_clash_as_the_run_does(shell: Shell, tmp_path: Path) -> None:
    """An output that is given as input, whose columns cannot be told from ours, is refused by both."""
    rows = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a"], "status": ["x"], "chatbatch_status": ["y"]}), rows)
    words = ["run", rows, "--prompt-column", "text", "-o", tmp_path / "out.parquet", "--emulate"]
    assert shell(*words).code == 2
    assert shell(*words, "-n").code == 2


def test_a_dry_run_is_for_people_by_default(shell: Shell, tmp_path: Path) -> None:
    """Without --json the origins stand in brackets behind the settings, and no control character is shown."""
    rows = write_chats(tmp_path / "in.jsonl", 2)
    ran = shell("run", rows, "-o", tmp_path / "out.parquet", "--emulate", "-n", "-s", "a\x1b[2Jb")
    assert "\x1b" not in ran.stdout
    lines = {line.split()[0]: line for line in ran.stdout.splitlines() if line.startswith("    ")}
    assert lines["emulate"].endswith("(flag)")
    assert lines["concurrency"].endswith("(default)")


def test_a_dry_run_says_what_the_run_takes(shell: Shell, tmp_path: Path) -> None:
    """It prints what `estimate` says of the same rows: tokens, cost in both modes, hours; also as JSON."""
    rows = write_chats(tmp_path / "in.jsonl", 9)
    words = [rows, "-o", tmp_path / "out.parquet", "--max-tokens", "100"]
    told = shell("run", *words, "-n", "--json", "--emulate").events()[0]["estimate"]
    said = shell("estimate", *words, "--json").events()[0]
    assert isinstance(told, dict)
    assert set(told) == set(said) - {"event"}
    for name in ("rows", "input_tokens", "completion_tokens", "models", "caps"):
        assert told[name] == said[name], name
    printed = shell("run", *words, "-n", "--emulate").stdout
    for word in ("Tokens", "Cost", "async", "bound by 10 requests at once", "settings"):
        assert word in printed
