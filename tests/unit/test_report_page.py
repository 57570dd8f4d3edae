"""The report's page and summary from facts alone: empty, small, unpriced, killed, of several currencies."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from batch.errors import UsageError
from batch.events import Estimated, Needs, Spending
from batch.journal.timeline import Bin, Charged, Finished, Loss, Lost, Notable, Underway, Waited
from batch.parsing import Money
from batch.report import ENDED, KILLED, Entry, Facts, RunSpan, Scale, Series, Spread, lines, record, render

pytest.importorskip("matplotlib", reason="the page's charts need the extra `report`")

_AT = 1_795_384_800.0
_SCALE = Scale.of([(_AT, _AT + 60)])
_NOTHING = Series(_SCALE, [], [], [], [], [], [], [], [])
EMPTY = Facts(
    output="out.parquet", now=_AT + 90, state=ENDED, emulated=False, version="1", model="m", inputs=["in.jsonl"],
    runs=[RunSpan(1, _AT, _AT + 60, ENDED, 0)], rows={"ok": 0, "failed": 0, "invalid": 0, "pending": 0}, note="",
    input_tokens=0, completion_tokens=0, total_tokens=0, spending=[], max_cost=None, max_total_tokens=None,
    requests=0, retries=0, in_flight=0, unknown=0, latency=None, lengths=None, losses=[], finished_by={},
    estimated=None, needs=None, expensive=[], failed=[], series=_NOTHING,
)  # fmt: skip


def _spent(currency: str, answers: str, unpriced: int = 0) -> Spending:
    amount = Decimal(answers)
    nothing = Decimal(0)
    return Spending(
        currency=currency, answers=amount, lost=nothing, unknown=nothing, total=amount, unpriced=unpriced
    )


def _one_row() -> Facts:
    piece = _SCALE.periods[0][0]
    rub, usd = Money(Decimal("1.5"), "RUB"), Money(Decimal("0.02"), "USD")
    series = Series(
        _SCALE, [Finished(piece, 1, 0, 12, 30)],
        [Charged(piece, "answered", rub), Charged(piece, "answered", usd)],
        [Lost(piece, "</svg><b>", 1)], [Underway(piece, 0.5, 0)], [], [Waited(piece, 2.0, 2.0)],
        [Bin(0, 2.5, 1)], [Bin(0, 50.0, 1)],
    )  # fmt: skip
    known = Notable("<i>key</i>", 2, 12, 30, rub, 2.0, None, None)
    return replace(
        EMPTY,
        rows={"ok": 1, "failed": 0, "invalid": 0, "pending": 2},
        input_tokens=12, completion_tokens=30, total_tokens=42, requests=2, retries=1,
        spending=[_spent("RUB", "1.5"), _spent("USD", "0.02")], max_cost=Money(Decimal(3), "RUB"),
        latency=Spread(2.0, 2.0, 2.0, 2.0), lengths=Spread(30.0, 30.0, 30.0, 30.0),
        losses=[Loss("</svg><b>", "not_billed", 1, 1, 0)], finished_by={"length": 1},
        estimated=Estimated(1, 10, 12), needs=Needs(2, 24, 60, None, None),
        expensive=[Entry(known, "in<.jsonl:1", "<script>q</script>", "</details><img src=x>")], series=series,
    )  # fmt: skip


def test_nothing_was_answered() -> None:
    """A job without a single request is a page without charts, and a summary without rates."""
    page = render(EMPTY)
    assert "<svg" not in page
    assert "no request was charged" in page
    told = record(EMPTY)
    assert (told["rows_per_hour"], told["latency_s"], told["spending"]) == (None, None, [])
    assert "  cost      nothing" in lines(EMPTY)


def test_one_row_with_everything() -> None:
    """One row gives every chart, a cost for each currency, and its texts as text, wherever they stand."""
    page = render(_one_row())
    assert page.count('<svg viewBox="0 0 480 ') == 10
    for markup in ("<script", "<img", "<i>key", "<b>"):
        assert markup not in page
    assert "&lt;script&gt;q&lt;/script&gt;" in page
    assert "50\u202f% of the cap" in page
    assert "1 cut off at the limit" in page
    told = "\n".join(lines(_one_row()))
    assert "in all 1.50 RUB of 3.00 RUB (50 %)" in told
    assert "10 input tokens estimated, 12 stated (-16.7 %)" in told
    assert "2 rows are left: at a cost unknown" in told


def test_the_same_facts_give_the_same_page() -> None:
    """A page is a function of its facts: made twice it is the same, and asks for nothing outside itself."""
    page = render(_one_row())
    assert page == render(_one_row())
    assert re.findall(r"https?://(?!www\.w3\.org/)", page) == []
    assert "default-src &#x27;none&#x27;; style-src &#x27;unsafe-inline&#x27;; img-src data:" in page
    assert "font-family" not in page.partition("</head>")[2]


def test_what_has_to_be_said_is_said() -> None:
    """An emulated job, a killed run, requests without a price and inputs that are gone are told at the top."""
    facts = replace(
        _one_row(), emulated=True, state=KILLED, note="The inputs are gone <b>", spending=[_spent("", "0", 7)]
    )
    page = render(facts)
    for said in ("EMULATED", "was killed", "The inputs are gone &lt;b&gt;", "no price was known for 7 requests"):
        assert said in page
    assert "unknown for 7 requests" in "\n".join(lines(facts))
    assert record(facts)["emulated"] is True


def test_a_page_stays_small_under_hostile_rows() -> None:
    """Seventy rows of nothing but characters that grow when escaped make less than a megabyte."""
    known = Notable("'" * 9999, 1, 1, 1, None, 1.0, "'" * 9999, '"' * 9999)
    entries = [Entry(known, '"' * 999, '"' * 4000, "'" * 4000)] * 50
    page = render(replace(_one_row(), expensive=entries[:20], failed=entries))
    assert len(page.encode()) < 1_000_000


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib it is said what to install."""
    from batch.report import require_library

    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match="matplotlib") as raised:
        require_library()
    assert "chatbatch[report]" in raised.value.hint
