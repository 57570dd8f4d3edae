"""`chatbatch estimate`: its table, its JSON, and what it refuses; it sends nothing unless asked to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from e2e.harness import SAMPLES, SECRET, Shell, billed, chat, requests, run_cli, write_chats, write_rows

from batch.emulator import Config, background

KEYS = {
    "event", "files", "mode", "emulated", "rows", "input_tokens", "completion_tokens", "models", "modes",
    "latency_basis", "caps", "exact", "pilot",
}  # fmt: skip


def _told(shell: Shell, *words: object) -> dict[str, dict[str, object]]:
    ran = shell("estimate", *words, "--json")
    assert (ran.code, ran.stderr) == (0, "")
    (event,) = ran.events()
    assert set(event) == KEYS
    return event  # type: ignore[return-value]


def _mode(told: Mapping[str, Mapping[str, object]], name: str) -> dict[str, object]:
    mode = told["modes"][name]
    assert isinstance(mode, dict)
    return mode


def test_it_needs_no_account(shell: Shell, tmp_path: Path) -> None:
    """Without credentials, folder, network and output it counts, and leaves no file behind."""
    rows = write_chats(tmp_path / "in.jsonl", 7)
    ran = run_cli("estimate", rows, env={})
    assert (ran.code, ran.stderr) == (0, "")
    assert "7 of 7 to send" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert shell("estimate", rows).stdout.splitlines()[0] == ran.stdout.splitlines()[0]


def test_the_table(shell: Shell) -> None:
    """A table names low, expected and high, the assumption about answers, both modes, the limit, the morning."""
    said = shell("estimate", SAMPLES / "support.jsonl", "--max-tokens", "500").stdout
    for words in (
        "low", "expected", "high", "at most", "offline", "assumed, nothing was measured", "--max-tokens 500",
        "sync", "async", "RUB", "bound by 10 requests at once", "bound by 10/s", "in time for", "yes",
    ):  # fmt: skip
        assert words in said
    assert all(line.isprintable() for line in said.splitlines())


def test_the_quiet_line(shell: Shell) -> None:
    """-q leaves one line."""
    (line,) = shell("estimate", SAMPLES / "support.jsonl", "-q").stdout.splitlines()
    assert line.startswith("120 rows, ")
    assert "RUB" in line
    (line,) = shell("estimate", SAMPLES / "support.jsonl", "-q", "--mode", "async").stdout.splitlines()
    assert "out; async: " in line


def test_both_ways_of_reading_count_alike(shell: Shell, tmp_path: Path) -> None:
    """Lines read the short way give the rows, tokens and bounds that rows with keys give, model by model."""
    texts = ["Где мой заказ?", "hello  world", "№ 5 — «да» 🙂", "ﷺ and so on", "\u0435\n\ttab"]
    lines: list[object] = [chat(text * 3, id=str(n)) for n, text in enumerate(texts * 20)]
    lines += [chat(text, modelUri="gpt://f/yandexgpt/rc") for text in texts]
    lines += ["nonsense", json.dumps(chat("Ещё раз ﷺ")), {**chat("q"), "completionOptions": {"maxTokens": "7"}}]
    lines += [{**chat("t"), "tools": [{"function": {"name": "f", "parameters": {"type": "object"}}}]}]
    rows = write_rows(tmp_path / "in.jsonl", lines)
    short = _told(shell, rows, "-s", "Кратко.")
    long = _told(shell, rows, "-s", "Кратко.", "--max-rows", "100000")
    assert short["rows"] == long["rows"]
    assert short["rows"]["invalid"] == 1
    assert short["input_tokens"] == long["input_tokens"]
    assert short["completion_tokens"] == long["completion_tokens"]
    assert short["models"] == long["models"]


def test_rows_that_name_their_own_model(shell: Shell, tmp_path: Path) -> None:
    """Each model has its own line, tokens and price."""
    lines = [chat("a"), chat("b", modelUri="gpt://f/yandexgpt"), chat("c", modelUri="gpt://f/nobody-knows-it")]
    told = _told(shell, write_rows(tmp_path / "in.jsonl", lines))
    assert [(item["rows"]) for item in told["models"]] == [1, 1, 1]  # type: ignore[index]
    assert _mode(told, "sync")["cost"] is None
    assert _mode(told, "sync")["unpriced"] == ["gpt://f/nobody-knows-it"]


def test_an_unknown_price_says_what_to_set(shell: Shell) -> None:
    """A model without a price costs an unknown amount, never nothing; the flags for it are named."""
    said = shell("estimate", SAMPLES / "dataset.jsonl", "-m", "llama-9").stdout
    assert "unknown" in said
    assert "--price-input" in said
    assert "0.00 RUB" not in said


def test_a_cap_on_money_needs_a_price(shell: Shell) -> None:
    """As for a run, a cap that could not be held is refused before anything is read."""
    ran = shell("estimate", SAMPLES / "dataset.jsonl", "-m", "llama-9", "--max-cost", "5 RUB", "--max-tokens", "9")
    assert (ran.code, ran.stdout) == (2, "")
    assert "--prices" in ran.stderr


def test_answer_tokens_and_prices_by_hand(shell: Shell, tmp_path: Path) -> None:
    """With answers of 100 tokens at 2 RUB per 1,000 and free inputs, ten rows cost 2 RUB in any case."""
    flags = ["--answer-tokens", 100, "--price-input", "0", "--price-output", "2"]
    told = _told(shell, write_chats(tmp_path / "in.jsonl", 10), *flags)
    (cost,) = _mode(told, "sync")["cost"]  # type: ignore[misc]
    assert [Decimal(cost[name]) for name in ("low", "expected", "high")] == [2, 2, 2]
    assert (told["completion_tokens"]["grade"], told["completion_tokens"]["expected"]) == ("given", 1000)


def test_equal_rows_and_the_cap_on_rows(shell: Shell, tmp_path: Path) -> None:
    """--dedupe counts equal rows once, --max-rows holds back what it would."""
    rows = write_rows(tmp_path / "in.jsonl", [chat(f"{n % 4}?") for n in range(10)])
    assert _told(shell, rows, "--dedupe")["rows"] == {
        "total": 10, "valid": 10, "invalid": 0, "answered": 0, "duplicates": 6, "held_back": 0, "to_send": 4,
    }  # fmt: skip
    held = _told(shell, rows, "--max-rows", "3")["rows"]
    assert (held["to_send"], held["held_back"]) == (3, 7)


def test_a_budget_that_does_not_suffice(shell: Shell, tmp_path: Path) -> None:
    """A cap says how many rows fit under it."""
    rows = write_chats(tmp_path / "in.jsonl", 1000)
    flags = ["--max-cost", "5 RUB", "--max-tokens", "100", "--answer-tokens", "50"]
    said = shell("estimate", rows, *flags).stdout
    assert "--max-cost 5 RUB (5 RUB left): enough for " in said
    (cap,) = _told(shell, rows, *flags)["caps"]
    assert isinstance(cap, dict)
    assert 300 < cap["rows"]["expected"] < 500
    assert not cap["suffices"]


def test_too_late(shell: Shell, tmp_path: Path) -> None:
    """Where the quota does not suffice, it says what would be left and which quota would do."""
    rows = write_chats(tmp_path / "in.jsonl", 1000)
    said = shell("estimate", rows, "--limit", "10/h", "--max-duration", "2h").stdout
    assert "bound by 10/h" in said
    assert "in time for" in said
    assert "no, 980 rows would be left" in said or "no, 990 rows would be left" in said
    assert "--max-duration" in said


def test_both_modes(shell: Shell, tmp_path: Path) -> None:
    """--mode both says with a deadline how rows are divided and what that costs, and without one what it needs."""
    rows = write_chats(tmp_path / "in.jsonl", 300)
    words = [rows, "--mode", "both", "--async-limit", "100/h"]
    told = _told(shell, *words, "--max-duration", "90m")
    both = _mode(told, "both")
    assert both["rows"] == {"sync": 110, "async": 190}
    assert (both["in_time"], told["mode"]) == (True, "both")
    said = shell("estimate", *words, "--max-duration", "90m").stdout
    assert "110 rows sync, 190 rows async" in said
    assert "both: " in shell("estimate", *words, "--max-duration", "90m", "-q").stdout
    assert set(_told(shell, *words)["modes"]) == {"sync", "async"}
    assert "set --stop-at or --max-duration" in shell("estimate", *words).stdout
    late = shell("estimate", *words, "--limit", "50/h", "--max-duration", "30m").stdout
    assert "50 rows sync, 100 rows async, 150 left, whose cost is not counted" in late


def test_what_was_sent_in_this_hour_counts(shell: Shell, tmp_path: Path) -> None:
    """Requests of earlier runs take places of the hour's window: what is left waits until they are free again."""
    rows, output = write_chats(tmp_path / "in.jsonl", 50), tmp_path / "out.parquet"
    flags = ["-o", output, "--limit", "40/h"]
    with background() as service:
        ran = shell("run", rows, *flags, "--max-rows", 30, "--base-url", service.base_url)
    assert ran.code == 8
    fresh = _mode(_told(shell, rows, "--max-rows", 20, "--limit", "40/h"), "sync")
    assert (fresh["used"], fresh["binding_limit"]) == ([], "10 requests at once")
    after = _mode(_told(shell, rows, *flags), "sync")
    assert after["used"] == [{"limit": "40/h", "requests": 30}]
    assert 3500 < after["seconds"]["expected"] < 3700  # type: ignore[index]
    assert after["binding_limit"] == "40/h"
    assert _mode(_told(shell, rows, *flags), "async")["used"] == []
    assert "earlier runs have used 30 of 40/h" in shell("estimate", rows, *flags).stdout
    assert "earlier runs have used 30 of 40/h" in shell("run", rows, *flags, "-n").stdout


def test_nothing_to_send(shell: Shell) -> None:
    """Where no row can be sent, nothing is made up about it: it says so, and who says what is wrong."""
    said = shell("estimate", SAMPLES / "articles.jsonl").stdout.splitlines()
    assert said[0] == "Rows      0 of 30 to send, 30 invalid"
    assert "chatbatch check" in said[1]
    assert said[2:] == ["Nothing to send."]


@pytest.mark.parametrize("kind", ["journal", "parquet"])
def test_what_the_emulator_answered_is_said_to_be_made_up(kind: str, shell: Shell, tmp_path: Path) -> None:
    """An estimate that rests on emulated answers says so, whoever taught them; one from the texts does not."""
    rows, earlier = write_chats(tmp_path / "in.jsonl", 25), tmp_path / "earlier.parquet"
    assert not _told(shell, rows)["emulated"]
    assert shell("run", rows, "-o", earlier, "--emulate").code == 0
    if kind == "parquet":
        for path in tmp_path.glob("earlier.*.journal*"):
            path.unlink()
    assert _told(shell, rows, "--calibrate", earlier)["emulated"]
    assert "EMULATED" in shell("estimate", rows, "--calibrate", earlier).stdout
    assert _told(shell, rows, "--exact", 3, "--emulate")["emulated"]


def test_standard_input(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is read like a file; a pilot, which reads twice, is refused."""
    monkeypatch.chdir(tmp_path)
    data = json.dumps(chat("Hi")).encode() + b"\n"
    assert "1 of 1 to send" in shell("estimate", "-", stdin=data).stdout
    refused = shell("estimate", "-", "-o", "out.parquet", "--pilot", 1, "--emulate", stdin=data)
    assert (refused.code, list(tmp_path.iterdir())) == (2, [])


def test_a_pilot_needs_an_output(shell: Shell) -> None:
    """What a pilot buys has to be kept: without -o it is refused."""
    ran = shell("estimate", SAMPLES / "dataset.jsonl", "--pilot", 5, "--emulate")
    assert (ran.code, ran.stdout) == (2, "")
    assert "-o OUT" in ran.stderr


@pytest.mark.parametrize("flag", ["--exact", "--pilot"])
def test_what_asks_the_service_needs_credentials(flag: str, shell: Shell, tmp_path: Path) -> None:
    """Without credentials the service cannot be asked: exit 4, and nothing is written."""
    shell.setenv(API_KEY="", YC_METADATA_ADDR="127.0.0.1:9", PATH="/nowhere")
    rows = write_chats(tmp_path / "in.jsonl", 3)
    ran = shell("estimate", rows, flag, 2, "-o", tmp_path / "out.parquet")
    assert (ran.code, ran.stdout) == (4, "")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_refused_credentials(shell: Shell, tmp_path: Path) -> None:
    """A key that the tokenizer refuses ends with exit 4 after a few requests, and is not shown."""
    rows = write_chats(tmp_path / "in.jsonl", 50)
    with background(Config(api_key="another")) as service:
        ran = shell("estimate", rows, "--exact", 40, "--base-url", service.base_url)
        assert (ran.code, billed(service)) == (4, 0)
        assert requests(service) <= 20
    assert SECRET not in ran.said


@pytest.mark.parametrize("flags", [("--exact", "0"), ("--pilot", "-1"), ("--answer-tokens", "x"), ("--dry-run",)])
def test_wrong_flags(flags: tuple[str, ...], shell: Shell) -> None:
    """Numbers below one, words, and flags of a run that mean nothing here are refused."""
    assert shell("estimate", SAMPLES / "dataset.jsonl", *flags).code == 2


def test_an_output_that_teaches_nothing(shell: Shell, tmp_path: Path) -> None:
    """--calibrate with a file that is no output of ours says so."""
    ran = shell("estimate", SAMPLES / "dataset.jsonl", "--calibrate", SAMPLES / "conversations.parquet")
    assert ran.code == 2
    assert "input_tokens" in ran.stderr
    missing = shell("estimate", SAMPLES / "dataset.jsonl", "--calibrate", tmp_path / "none.parquet")
    assert missing.code == 6
