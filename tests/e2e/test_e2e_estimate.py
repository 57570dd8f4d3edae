"""Estimates against the emulator's ledger: what is said before is what is billed after."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.harness import SAMPLES, Shell, billed, chat, delivered, requests, write_chats, write_rows

from batch.emulator import Config, Fault, Quotas, background
from batch.emulator.server import Running

FILES = (
    ("support.jsonl",),
    ("dataset.jsonl", "dataset.jsonl.bz2"),
    ("chats.jsonl.gz", "chats.ndjson.zst"),
    ("conversations.parquet",),
    ("conversations-json.parquet",),
    ("articles.jsonl", "--prompt-column", "text"),
    ("reviews.parquet", "--prompt-column", "text", "-s", "One word."),
)
QUICK = Quotas(tokenizer_per_second=None)


def _estimated(shell: Shell, service: Running, *words: object) -> dict[str, dict[str, object]]:
    ran = shell("estimate", *words, "--base-url", service.base_url, "--json")
    assert ran.code == 0, ran.stderr
    return ran.events()[0]  # type: ignore[return-value]


def _ledger(service: Running) -> tuple[int, int]:
    entries = list(service.ledger.entries())
    return sum(entry.input_tokens for entry in entries), sum(entry.completion_tokens for entry in entries)


@pytest.mark.parametrize("words", FILES, ids=lambda words: words[0])
def test_a_sample_holds_the_ledgers_truth(words: tuple[str, ...], shell: Shell, tmp_path: Path) -> None:
    """The interval of the counted sample holds what the run is then billed; counting itself bills nothing."""
    flags = [SAMPLES / word if (SAMPLES / word).exists() else word for word in words]
    with background(Config(quotas=QUICK)) as service:
        told = _estimated(shell, service, *flags, "--exact", "25")["input_tokens"]
        assert (billed(service), told["grade"]) == (0, "sampled")
        shell("run", *flags, "-o", tmp_path / "out.parquet", "--base-url", service.base_url, "--concurrency", 10)
        truth, _ = _ledger(service)
    assert int(str(told["low"])) <= truth <= int(str(told["high"]))


def test_a_sample_of_everything_is_exact(shell: Shell, tmp_path: Path) -> None:
    """With as many rows as there are, low, expected and high are what is billed."""
    rows = write_rows(tmp_path / "in.jsonl", [chat("слово " * n) for n in range(1, 31)])
    with background(Config(quotas=QUICK)) as service:
        told = _estimated(shell, service, rows, "--exact", "100")
        shell("run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url)
        truth, _ = _ledger(service)
    assert [told["input_tokens"][name] for name in ("low", "expected", "high")] == [truth] * 3
    assert told["exact"]["rows"] == 30


def test_a_tokenizer_that_refuses_and_breaks(shell: Shell, tmp_path: Path) -> None:
    """Refusals are waited out and failures asked again: every row of the sample is counted, nothing is billed."""
    rows = write_chats(tmp_path / "in.jsonl", 30)
    faults = (Fault.parse("429=0.2@tokenizeCompletion"), Fault.parse("503=0.2@tokenizeCompletion"))
    with background(Config(faults=faults, speed=50.0)) as service:
        told = _estimated(shell, service, rows, "--exact", "8")["exact"]
        assert told["failed"] == 0
        assert billed(service) == 0


def test_a_pilot_is_bought_once(shell: Shell, tmp_path: Path) -> None:
    """The pilot's rows are journaled: it says how long answers are, and the run buys only the others."""
    rows, output = (
        write_rows(tmp_path / "in.jsonl", [chat("Why? " * n) for n in range(1, 61)]),
        tmp_path / "o.parquet",
    )
    with background(Config()) as service:
        told = _estimated(shell, service, rows, "-o", output, "--pilot", "12")
        assert (billed(service), requests(service)) == (12, 12)
        assert told["pilot"] == {**told["pilot"], "rows": 12, "failed": 0}
        assert told["rows"]["answered"] == 12
        assert told["completion_tokens"]["grade"] == "pilot"
        _, pilot_out = _ledger(service)
        assert told["completion_tokens"]["expected"] == round(48 * pilot_out / 12)
        assert not output.exists()
        assert shell("run", rows, "-o", output, "--base-url", service.base_url).code == 0
        assert billed(service) == 60
        assert len(delivered(service)) == 60
        _, total_out = _ledger(service)
    completion = told["completion_tokens"]
    assert int(str(completion["low"])) <= total_out - pilot_out <= int(str(completion["high"]))


def test_a_pilot_takes_short_and_long_rows(shell: Shell, tmp_path: Path) -> None:
    """Its rows are of every length, in its proportion: half of them from the long half."""
    short, long = [chat(f"{n}?") for n in range(50)], [chat(f"{n} " * 500) for n in range(50)]
    rows = write_rows(tmp_path / "in.jsonl", [*short, *long])
    with background(Config()) as service:
        _estimated(shell, service, rows, "-o", tmp_path / "out.parquet", "--pilot", "10")
        sent = [entry.input_tokens for entry in service.ledger.entries()]
    assert len(sent) == 10
    assert sum(tokens > 400 for tokens in sent) == 5


def test_a_pilot_keeps_the_budget(shell: Shell, tmp_path: Path) -> None:
    """A cap holds in a pilot: it ends in good order, and the estimate is made from what it bought."""
    rows = write_chats(tmp_path / "in.jsonl", 40)
    flags = ["-o", tmp_path / "out.parquet", "--pilot", "20", "--max-tokens", "200", "--max-total-tokens", "1200"]
    with background(Config()) as service:
        told = _estimated(shell, service, rows, *flags)
        given, taken = _ledger(service)
        assert given + taken <= 1200
        assert 2 <= billed(service) < 20
    assert told["pilot"]["failed"] == 20 - billed(service)
    (cap,) = told["caps"]
    assert not cap["suffices"]  # type: ignore[index]


def test_rows_that_fail_in_a_pilot_are_counted(shell: Shell, tmp_path: Path) -> None:
    """A row that the service refuses is no answer: it is counted as failed, and teaches nothing."""
    lines = [*(chat(f"{n}?") for n in range(8)), chat("who?", modelUri="gpt://f/nobody-knows-it")]
    rows = write_rows(tmp_path / "in.jsonl", lines)
    with background(Config(models=frozenset(("yandexgpt-lite",)))) as service:
        told = _estimated(shell, service, rows, "-o", tmp_path / "out.parquet", "--pilot", "9")
        assert billed(service) == 8
    assert (told["pilot"]["rows"], told["pilot"]["failed"]) == (9, 1)
    assert "8 rows" in str(told["completion_tokens"]["basis"])
    assert (told["rows"]["answered"], told["rows"]["to_send"]) == (8, 1)


def test_a_pilot_whose_credentials_are_refused(shell: Shell, tmp_path: Path) -> None:
    """A service that refuses us ends the pilot with exit 4, and no estimate is printed."""
    rows = write_chats(tmp_path / "in.jsonl", 5)
    with background(Config(api_key="another")) as service:
        words = ["estimate", rows, "-o", tmp_path / "out.parquet", "--pilot", 3, "--base-url", service.base_url]
        ran = shell(*words)
    assert (ran.code, ran.stdout) == (4, "")


@pytest.mark.parametrize("kind", ["journal", "parquet", "jsonl"])
def test_calibration_from_an_earlier_output(kind: str, shell: Shell, tmp_path: Path) -> None:
    """An earlier output teaches lengths of inputs and answers, by its journal or by its own columns."""
    before = write_rows(tmp_path / "before.jsonl", [chat("вопрос " * (n % 9 + 1) + str(n)) for n in range(60)])
    after = write_rows(tmp_path / "after.jsonl", [chat("вопрос " * (n % 9 + 1) + f"x{n}") for n in range(90)])
    earlier = tmp_path / f"earlier.{'jsonl' if kind == 'jsonl' else 'parquet'}"
    with background(Config()) as service:
        assert shell("run", before, "-o", earlier, "--base-url", service.base_url).code == 0
        if kind != "journal":
            for path in tmp_path.glob("earlier.*.journal*"):
                path.unlink()
        _, before_out = _ledger(service)
        told = _estimated(shell, service, after, "--calibrate", earlier)
        assert shell("run", after, "-o", tmp_path / "out.parquet", "--base-url", service.base_url).code == 0
        truth, _ = _ledger(service)
    assert told["completion_tokens"]["grade"] == "earlier answers"
    assert told["completion_tokens"]["expected"] == round(90 * before_out / 60)
    assert told["input_tokens"]["grade"] == "calibrated"
    new = truth * 90 / 150
    assert abs(int(str(told["input_tokens"]["expected"])) - new) < 0.06 * new


def test_the_own_journal_teaches(shell: Shell, tmp_path: Path) -> None:
    """Twenty answers in the journal of -o replace the assumption unasked; fewer do not."""
    rows, output = write_chats(tmp_path / "in.jsonl", 50), tmp_path / "out.parquet"
    with background(Config()) as service:
        for sent, grade in ((19, "assumed"), (1, "earlier answers")):
            shell("run", rows, "-o", output, "--base-url", service.base_url, "--max-rows", sent)
            told = _estimated(shell, service, rows, "-o", output)
            assert told["completion_tokens"]["grade"] == grade
        assert told["rows"]["answered"] == 20
        assert told["rows"]["to_send"] == 30
