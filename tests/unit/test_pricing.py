"""Prices: what is known and from where, what is unknown, and what a request costs to the last decimal."""

from __future__ import annotations

import random
import tomllib
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import pricing
from batch.errors import UsageError
from batch.pricing import ASYNC, MODES, SYNC, Price, PriceTable, load, money, require
from batch.settings import Settings

BUILT_IN = load(Settings())
# Units per token, in and out, as the service's documentation has them; None: not offered.
DOCUMENTED: list[tuple[str, tuple[str, str], tuple[str, str] | None]] = [
    ("yandexgpt-lite", ("1", "1"), ("0.5", "0.5")),
    ("yandexgpt", ("6", "6"), ("3", "3")),
    ("yandexgpt/rc", ("4", "4"), ("2", "2")),
    ("yandexgpt-5.1", ("4", "4"), ("2", "2")),
    ("aliceai-llm", ("2.5", "10"), ("1.25", "5")),
    ("llama-lite", ("1", "1"), ("0.5", "0.5")),
    ("llama", ("6", "6"), ("3", "3")),
    ("qwen3-235b-a22b-fp8", ("2.5", "2.5"), None),
    ("gpt-oss-120b", ("1.5", "1.5"), None),
    ("gpt-oss-20b", ("0.5", "0.5"), None),
    ("gemma-3-27b-it", ("2", "2"), None),
]
_FIGURES = st.decimals(0, 10**9 - 1, places=9, allow_nan=False)
_TOKENS = st.integers(0, 10**9)


def _price(per_input: str, per_output: str, unit: str | None = None) -> Price:
    step = None if unit is None else Decimal(unit)
    return Price("m", SYNC, "RUB", "a test", "2026", Decimal(per_input), Decimal(per_output), step)


def _known(table: PriceTable, model: str, mode: str) -> Price:
    price = table.of(model, mode)
    assert price is not None
    return price


def _exact(price: Price, input_tokens: int, completion_tokens: int) -> Fraction:
    total = Fraction(price.input) * input_tokens + Fraction(price.output) * completion_tokens
    if price.unit is not None:
        units = ceil(total / 1000 / Fraction(price.unit))
        return units * Fraction(price.unit)
    return total / 1000


@pytest.mark.parametrize(("model", "sync", "asynchronous"), DOCUMENTED)
def test_the_built_in_list_is_the_documented_one(
    model: str, sync: tuple[str, str], asynchronous: tuple[str, str] | None
) -> None:
    """Each documented model has its units, and 1,000 units cost 0.20 RUB; what is not offered has no price."""
    for mode, units in ((SYNC, sync), (ASYNC, asynchronous)):
        price = BUILT_IN.of(model, mode)
        if units is None:
            assert price is None
            continue
        assert price is not None
        assert price.units == (Decimal(units[0]), Decimal(units[1]))
        assert (price.input, price.output) == tuple(Decimal(each) * Decimal("0.20") for each in units)
        assert (price.currency, price.unit, price.origin) == ("RUB", Decimal("0.0002"), "built in")


def test_the_built_in_list_has_nothing_more() -> None:
    """Every built-in price is a documented one, under the identity that providers give."""
    expected = [
        (pricing.identity(model), mode)
        for model, _, asynchronous in DOCUMENTED
        for mode in (MODES if asynchronous else (SYNC,))
    ]
    assert [(price.model, price.mode) for price in BUILT_IN.all()] == expected
    assert BUILT_IN.origin == "built in"


def test_every_built_in_figure_has_a_date_and_a_source() -> None:
    """The units and the price of units both say when they were stated and where; the older date is the price's."""
    for price in BUILT_IN.all():
        assert price.dated == "2024"
        assert "list of models and prices" in price.source
        assert "price list of 2024" in price.source


def test_the_built_in_file_holds_no_float() -> None:
    """Every figure of the built-in file is text: a float would not be exact."""
    document = tomllib.loads(resources.files("batch").joinpath("prices.toml").read_text(encoding="utf-8"))
    figures = [
        figure for model in document["models"].values() for mode in model.values() for figure in mode.values()
    ]
    assert len(figures) >= len(BUILT_IN.all())
    assert {type(figure) for figure in [*figures, document["unit"]["per_1000"]]} == {str}


def test_asynchronous_tokens_cost_half() -> None:
    """Where a model offers both modes, the asynchronous price is half of the synchronous one."""
    both = [price for price in BUILT_IN.all() if price.mode == ASYNC]
    assert len(both) == 7
    for price in both:
        sync = _known(BUILT_IN, price.model, SYNC)
        assert (price.input * 2, price.output * 2) == (sync.input, sync.output)


@pytest.mark.parametrize(
    "model",
    ["yandexgpt-lite", "yandexgpt-lite/latest", "gpt:yandexgpt-lite/latest", "gpt://b1gfolder/yandexgpt-lite"],
)
def test_a_bare_name_and_latest_are_the_same(model: str) -> None:
    """However the latest version of a model is written, it has the one price, under its identity."""
    assert _known(BUILT_IN, model, SYNC) == _known(BUILT_IN, "yandexgpt-lite", SYNC)
    assert _known(BUILT_IN, model, SYNC).model == "gpt:yandexgpt-lite/latest"


@pytest.mark.parametrize(
    "model",
    [
        "gpt:yandexgpt-lite/deprecated",
        "gpt:yandexgpt-lite/rc",
        "gpt:yandexgpt/deprecated",
        "gpt:yandexgpt-lite/latest@sales",
        "yandexgpt-lite@sales",
        "ds:bt1abc",
        "ds://b1g/bt1abc",
        "yandexgpt-7",
        "yandex",
        "",
        "*",
    ],
)
def test_what_the_list_does_not_state_is_unknown(model: str) -> None:
    """Other versions, fine-tuned models and other names have no price at all, and never one of zero."""
    assert [BUILT_IN.of(model, mode) for mode in MODES] == [None, None]


def test_an_unknown_mode_has_no_price() -> None:
    """Only the two modes have prices."""
    assert BUILT_IN.of("yandexgpt-lite", "batch") is None


def test_versions_have_prices_of_their_own() -> None:
    """The candidate of a model is not priced like its latest version."""
    assert _known(BUILT_IN, "gpt:yandexgpt/rc", SYNC).input == Decimal("0.80")
    assert _known(BUILT_IN, "gpt:yandexgpt/latest", SYNC).input == Decimal("1.20")


@pytest.mark.parametrize(
    ("model", "mode", "tokens", "cost"),
    [
        ("yandexgpt-lite", SYNC, (26, 11), "0.0074"),
        ("yandexgpt-lite", ASYNC, (26, 11), "0.0038"),  # 18.5 units are billed as 19
        ("yandexgpt", SYNC, (26, 11), "0.0444"),
        ("yandexgpt/rc", ASYNC, (26, 11), "0.0148"),
        ("aliceai-llm", SYNC, (1000, 0), "0.50"),
        ("aliceai-llm", SYNC, (0, 1000), "2"),
        ("aliceai-llm", SYNC, (1, 1), "0.0026"),  # 12.5 units are billed as 13
        ("aliceai-llm", ASYNC, (1, 1), "0.0014"),  # 6.25 units are billed as 7
        ("gpt-oss-20b", SYNC, (1, 0), "0.0002"),
        ("yandexgpt-lite", SYNC, (0, 0), "0"),
        ("yandexgpt", SYNC, (10**12, 10**12), "2400000000"),
    ],
)
def test_what_a_request_costs(model: str, mode: str, tokens: tuple[int, int], cost: str) -> None:
    """The units of input and output are added up and rounded up to a whole unit, once for the request."""
    assert _known(BUILT_IN, model, mode).cost(*tokens) == Decimal(cost)


@pytest.mark.parametrize(
    ("price", "tokens", "cost"),
    [
        (_price("0.25", "0.50"), (1, 1), "0.00075"),
        (_price("0.15", "0.15"), (7, 0), "0.00105"),
        (_price("0.0001", "0"), (1, 0), "0.000001"),  # a ten-millionth is rounded up
        (_price("0.0001", "0"), (10, 0), "0.000001"),
        (_price("0.0001", "0"), (11, 0), "0.000002"),
        (_price("0", "0"), (10**9, 10**9), "0"),
        (_price("999999999.999999999", "0"), (1, 0), "1000000"),
        (_price("100", "200"), (1000, 1000), "300"),
        (_price("0.0003", "0.0003", "0.0000003"), (3, 1), "0.000002"),
    ],
)
def test_money_is_rounded_once_and_up(price: Price, tokens: tuple[int, int], cost: str) -> None:
    """Beyond the sixth decimal, and nowhere before, the cost of a request is rounded up."""
    assert price.cost(*tokens) == Decimal(cost)


@given(_FIGURES, _FIGURES, _TOKENS, _TOKENS)
def test_an_exact_price_is_kept_to_a_millionth(
    per_input: Decimal, per_output: Decimal, tokens_in: int, tokens_out: int
) -> None:
    """A cost is never below the exact one and less than a millionth above it, with six decimals."""
    price = _price(str(per_input), str(per_output))
    cost = price.cost(tokens_in, tokens_out)
    assert 0 <= Fraction(cost) - _exact(price, tokens_in, tokens_out) < Fraction(1, 10**6)
    assert cost.as_tuple().exponent == -6


@given(
    st.decimals(0, 100, places=2),
    st.decimals(0, 100, places=2),
    st.decimals("0.01", 10, places=2),
    _TOKENS,
    _TOKENS,
)
def test_whole_units_are_billed(
    units_in: Decimal, units_out: Decimal, per_1000: Decimal, tokens_in: int, tokens_out: int
) -> None:
    """With units a cost is a whole number of them, never below the exact cost and less than one unit above it."""
    unit = per_1000 / 1000
    price = _price(str(units_in * per_1000), str(units_out * per_1000), str(unit))
    cost = Fraction(price.cost(tokens_in, tokens_out))
    over = cost - (Fraction(price.input) * tokens_in + Fraction(price.output) * tokens_out) / 1000
    assert 0 <= over < Fraction(unit)
    assert (cost / Fraction(unit)).denominator == 1
    assert price.units == (units_in, units_out)


@given(st.lists(st.tuples(_TOKENS, _TOKENS), min_size=1, max_size=20))
def test_a_cap_for_the_worst_case_holds(rows: list[tuple[int, int]]) -> None:
    """More tokens never cost less, so what is reserved for a bound covers everything below it."""
    price = _known(BUILT_IN, "aliceai-llm", ASYNC)
    most = price.cost(max(row[0] for row in rows), max(row[1] for row in rows))
    assert all(price.cost(*row) <= most for row in rows)


@pytest.mark.parametrize("model", ["yandexgpt-lite", "aliceai-llm"])
@pytest.mark.parametrize("mode", MODES)
def test_costs_add_up_to_the_ledger_times_the_price_table(model: str, mode: str) -> None:
    """Over 100,000 random rows the decimal sum of costs is the bill, reckoned in hundredths of units, exactly."""
    chance, price, cost, units = random.Random(7), _known(BUILT_IN, model, mode), Decimal(0), 0
    hundredths = {
        ("yandexgpt-lite", SYNC): (100, 100), ("yandexgpt-lite", ASYNC): (50, 50),
        ("aliceai-llm", SYNC): (250, 1000), ("aliceai-llm", ASYNC): (125, 500),
    }[model, mode]  # fmt: skip
    for _ in range(100_000):
        tokens_in, tokens_out = chance.randrange(32_000), chance.randrange(2_000)
        cost += price.cost(tokens_in, tokens_out)
        units += -(-(hundredths[0] * tokens_in + hundredths[1] * tokens_out) // 100)
    assert cost == Decimal(units) * Decimal("0.0002")


def test_flags_are_the_price_of_every_model_and_mode() -> None:
    """Two flags price whatever is asked, exactly and without units, and nothing is halved."""
    table = load(Settings(price_input=Decimal("0.25"), price_output=Decimal("0.5"), currency="USD"))
    assert table.origin == "flags"
    assert [price.mode for price in table.all()] == [SYNC, ASYNC]
    for model in ("yandexgpt-lite", "ds:bt1abc", "llama3:8b"):
        for mode in MODES:
            price = _known(table, model, mode)
            assert price.model == pricing.identity(model)
            assert (price.input, price.output, price.unit) == (Decimal("0.25"), Decimal("0.5"), None)
            assert (price.currency, price.dated, price.origin, price.units) == ("USD", "", "flags", None)
            assert price.cost(1000, 1000) == Decimal("0.75")


def test_flags_go_before_a_file(tmp_path: Path) -> None:
    """With flags the file is not asked, not even where there is none; a stated price of zero is a price."""
    table = load(Settings(prices=tmp_path / "none", price_input=Decimal(0), price_output=Decimal(0)))
    assert _known(table, "yandexgpt", SYNC).cost(10**6, 10**6) == 0


@pytest.mark.parametrize("given_one", ["input", "output"])
def test_half_of_the_flags_is_refused(given_one: str) -> None:
    """A price of input without one of output, or the reverse, names the flag that is missing."""
    settings = Settings(price_input=Decimal(1)) if given_one == "input" else Settings(price_output=Decimal(1))
    other = "output" if given_one == "input" else "input"
    with pytest.raises(UsageError, match=f"--price-{given_one} needs --price-{other}"):
        load(settings)


def test_a_cap_without_a_price_is_refused() -> None:
    """Where the price is unknown the sentence names the model and the mode, and the hint what to set."""
    assert require(BUILT_IN, "yandexgpt/rc", ASYNC) == BUILT_IN.of("yandexgpt/rc", ASYNC)
    with pytest.raises(UsageError, match=r"price of gpt-oss-20b in async mode is unknown.*cap on money") as caught:
        require(BUILT_IN, "gpt:gpt-oss-20b/latest", ASYNC)
    for flag in ("--price-input", "--price-output", "--prices"):
        assert flag in caught.value.hint


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1500", "1,500.00 RUB"),
        ("0.0002", "0.0002 RUB"),
        ("0.00456", "0.0046 RUB"),
        ("0.000001", "0.000001 RUB"),
        ("1E-9", "0.000000001 RUB"),
        ("1E+5", "100,000.00 RUB"),
        ("0", "0.00 RUB"),
        ("0.000000", "0.00 RUB"),
        ("0.125", "0.13 RUB"),
        ("0.5", "0.50 RUB"),
        ("0.999999", "1.00 RUB"),
        ("0.0996", "0.10 RUB"),
        ("1234567.894999", "1,234,567.89 RUB"),
        ("-2.5", "-2.50 RUB"),
        ("999999999999.999999", "1,000,000,000,000.00 RUB"),
    ],
)
def test_money_for_people(amount: str, text: str) -> None:
    """Hundredths and thousands are told apart, and small amounts keep the digits that matter."""
    assert money(Decimal(amount), "RUB") == text


@given(st.decimals(0, 10**12, places=6))
def test_money_is_near_and_never_scientific(amount: Decimal) -> None:
    """The text is within half a hundredth of the amount, and never nothing where there is something."""
    text = money(amount, "USD").removesuffix(" USD").replace(",", "")
    assert set(text) <= set("0123456789.")
    assert abs(Decimal(text) - amount) <= Decimal("0.005")
    assert (Decimal(text) == 0) == (amount == 0)


@pytest.mark.parametrize(
    ("model", "short"),
    [
        ("gpt:yandexgpt-lite/latest", "yandexgpt-lite"),
        ("gpt://b1g/yandexgpt/rc", "yandexgpt/rc"),
        ("ds:bt1abc", "ds:bt1abc"),
        ("gpt:yandexgpt-lite/latest@sales", "yandexgpt-lite/latest@sales"),
    ],
)
def test_short_names_are_what_one_writes(model: str, short: str) -> None:
    """A short name has neither folder nor scheme nor the version that goes without saying, and means the same."""
    assert pricing.short_name(model) == short
    assert pricing.identity(short) == pricing.identity(model)


def test_a_price_that_is_copied_reckons_anew() -> None:
    """A copy of a price with another figure costs what the other figure says."""
    price = _price("1", "2")
    assert replace(price, output=Decimal(3)).cost(1000, 1000) == 4
    assert price.cost(1000, 1000) == 3
