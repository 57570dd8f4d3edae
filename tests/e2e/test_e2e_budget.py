"""Money over real sockets: the cap holds, costs add up to what the service billed, and the end is orderly."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from campaigns import caps
from e2e.harness import SAMPLES, Ran, Shell, billed, chat, read_output, statuses, write_chats, write_rows

from batch.emulator import Config, Fault, Running, background

LITE = Decimal("0.20") / 1000


def _run(shell: Shell, service: Running, rows: Path, output: Path, *more: object) -> Ran:
    words = ["run", rows, "-o", output, "--base-url", service.base_url, "--max-tokens", "100", "--json"]
    return shell(*words, "--concurrency", "5", *more)


def _summary(ran: Ran) -> dict[str, object]:
    return ran.events()[-1]


def _spent(service: Running) -> Decimal:
    return service.ledger.totals().total_tokens * LITE


@pytest.fixture(autouse=True)
def _account(shell: Shell) -> None:
    shell.setenv(API_KEY="AQVN-test", FOLDER_ID="b1gtests000000000000")


@pytest.mark.campaign
def test_a_small_campaign(tmp_path: Path) -> None:
    """Random caps, datasets, faults and kills: the ledger never exceeds the cap, and little is left unused."""
    figures = caps.Campaign(tmp_path, seed=7).run(5)
    assert figures.broken == []
    assert figures.codes.total() == 5


@pytest.mark.parametrize("name", ["support.jsonl", "reviews.parquet"])
def test_costs_add_up_to_the_ledger(name: str, shell: Shell, tmp_path: Path) -> None:
    """The output's costs are, to the last decimal, what the ledger's tokens cost by the price list."""
    output = tmp_path / "out.parquet"
    more = ["--prompt-column", "text"] if name.endswith(".parquet") else []
    with background(Config()) as service:
        ran = _run(shell, service, SAMPLES / name, output, *more)
        expected = sum(
            ((entry.total_tokens) * (6 * LITE if "/yandexgpt/latest" in _tail(entry.model_uri) else LITE))
            for entry in service.ledger.entries()
        )
    assert ran.code == 0, ran.said
    costs = [row["cost"] for row in read_output(output)]
    assert all(isinstance(cost, Decimal) for cost in costs)
    assert sum(cost for cost in costs if isinstance(cost, Decimal)) == expected
    facts = json.loads(pq.read_metadata(output).metadata[b"chatbatch"])
    assert Decimal(facts["totals"]["cost"]["RUB"]) == expected
    assert facts["totals"]["rows_without_cost"] == 0
    assert facts["prices"]["dated"]
    spending = _summary(ran)["spending"]
    assert isinstance(spending, list)
    assert Decimal(spending[0]["total"]) == Decimal(spending[0]["answers"]) == expected


def _tail(uri: str) -> str:
    return uri if uri.count("/") > 3 else uri + "/latest"


def test_a_cap_ends_the_run_in_order(shell: Shell, tmp_path: Path) -> None:
    """At the cap rows in flight finish, the rest is pending, and the summary says what they need; exit 8."""
    rows, output = write_chats(tmp_path / "in.jsonl", 60), tmp_path / "out.parquet"
    with background(Config()) as service:
        ran = _run(shell, service, rows, output, "--max-cost", "0.5 RUB")
        assert ran.code == 8
        counts = statuses(output)
        assert counts["ok"] == billed(service) > 0
        assert counts["ok"] + counts["pending"] == 60
        assert _spent(service) <= Decimal("0.5")
    summary = _summary(ran)
    needs = summary["needs"]
    assert isinstance(needs, dict)
    assert needs["rows"] == counts["pending"]
    assert Decimal(needs["cost"]["amount"]) < Decimal(needs["at_most"]["amount"])
    assert "--max-cost 0.5 RUB is reached" in str(summary["reason"])


def test_spending_counts_across_runs(shell: Shell, tmp_path: Path) -> None:
    """The same cap again sends nothing more; a higher one goes on to it, earlier spending included."""
    rows, output = write_chats(tmp_path / "in.jsonl", 60), tmp_path / "out.parquet"
    with background(Config()) as service:
        _run(shell, service, rows, output, "--max-cost", "0.5 RUB")
        before = billed(service)
        assert _run(shell, service, rows, output, "--max-cost", "0.5 RUB").code == 8
        assert billed(service) == before
        assert _run(shell, service, rows, output, "--max-cost", "0.8 RUB").code == 8
        assert billed(service) > before
        assert _spent(service) <= Decimal("0.8")
        assert _run(shell, service, rows, output).code == 0
        assert billed(service) == 60


def test_a_cap_on_tokens(shell: Shell, tmp_path: Path) -> None:
    """Tokens are capped as money is."""
    rows, output = write_chats(tmp_path / "in.jsonl", 60), tmp_path / "out.parquet"
    with background(Config()) as service:
        ran = _run(shell, service, rows, output, "--max-total-tokens", "2500")
        assert ran.code == 8
        assert 0 < service.ledger.totals().total_tokens <= 2500
    assert "--max-total-tokens 2,500 is reached" in str(_summary(ran)["reason"])


def test_lost_answers_keep_their_reservation(shell: Shell, tmp_path: Path) -> None:
    """An answer that was billed and lost counts with its worst case, apart from what the answers cost."""
    rows, output = write_chats(tmp_path / "in.jsonl", 10), tmp_path / "out.parquet"
    with background(Config(faults=(Fault("drop-after", 0.5),), seed=3)) as service:
        ran = _run(shell, service, rows, output, "--max-cost", "50 RUB", "--retries", "20")
        assert ran.code == 0, ran.said
        lost = service.ledger.totals().undelivered
        assert lost > 0
        spending = _summary(ran)["spending"]
        assert isinstance(spending, list)
        total, answers = Decimal(spending[0]["total"]), Decimal(spending[0]["answers"])
        assert Decimal(spending[0]["lost"]) > 0
        assert answers < _spent(service) < total


def test_a_model_without_a_price(shell: Shell, tmp_path: Path) -> None:
    """Without a price costs are empty and said to be unknown, and a cap on money is refused with what to set."""
    rows, output = write_chats(tmp_path / "in.jsonl", 3), tmp_path / "out.parquet"
    with background(Config()) as service:
        model = ("-m", "yandexgpt-lite/deprecated")
        refused = _run(shell, service, rows, output, *model, "--max-cost", "5 RUB")
        assert refused.code == 2
        assert "--price-input" in refused.stderr
        ran = _run(shell, service, rows, output, *model)
        assert ran.code == 0, ran.said
        assert {row["cost"] for row in read_output(output)} == {None}
        assert _summary(ran)["spending"] == [
            {"currency": "", "answers": "0", "lost": "0", "unknown": "0", "total": "0", "unpriced": 3}
        ]


def test_a_row_of_an_unpriced_model_fails_under_a_cap(shell: Shell, tmp_path: Path) -> None:
    """Under a cap on money a row that names a model without a price fails by itself, unsent."""
    own = chat("Привет", modelUri="gpt://b1gtests000000000000/nobody-knows")
    rows, output = write_rows(tmp_path / "in.jsonl", [chat("Привет"), own]), tmp_path / "out.parquet"
    with background(Config()) as service:
        assert _run(shell, service, rows, output, "--max-cost", "5 RUB").code == 3
        assert billed(service) == 1
    assert [row["status"] for row in read_output(output)] == ["ok", "failed"]
    assert "price of gpt://" in str(read_output(output)[1]["error_message"])


def test_max_failures_ends_the_run(shell: Shell, tmp_path: Path) -> None:
    """Once more rows have failed than --max-failures allows, the run ends with exit code 8."""
    bad = [chat("a" * 100_001, id=str(number)) for number in range(30)]
    rows, output = write_rows(tmp_path / "in.jsonl", bad), tmp_path / "out.parquet"
    with background(Config()) as service:
        ran = _run(shell, service, rows, output, "--max-failures", "4", "--concurrency", "1")
    assert ran.code == 8, ran.said
    assert statuses(output)["failed"] == 5
    assert "--max-failures 4 is exceeded" in str(_summary(ran)["reason"])
