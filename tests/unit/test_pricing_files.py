"""Price lists of the user's: what they replace, what they add, and what is refused in them, by its place."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from batch.errors import ExitCode, UsageError
from batch.pricing import ASYNC, SYNC, Price, PriceTable, load
from batch.settings import Settings

BUILT_IN = load(Settings())
TOP = 'dated = "2026-11-01"\ncurrency = "RUB"\n'


def _known(table: PriceTable, model: str, mode: str) -> Price:
    price = table.of(model, mode)
    assert price is not None
    return price


def _file(folder: Path, text: str) -> Path:
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _load(folder: Path, text: str) -> PriceTable:
    return load(Settings(prices=_file(folder, text)))


def test_an_entry_of_a_file_replaces_one_and_no_other(tmp_path: Path) -> None:
    """A model in a mode is what is replaced; its other mode and the other models stay as built in."""
    table = _load(tmp_path, TOP + '[models.yandexgpt.sync]\ninput = "0.9"\noutput = "1.1"\n')
    own = _known(table, "yandexgpt/latest", SYNC)
    assert (own.input, own.output, own.unit, own.currency) == (Decimal("0.9"), Decimal("1.1"), None, "RUB")
    assert own.origin == own.source == table.origin == str(tmp_path / "prices.toml")
    assert own.dated == "2026-11-01"
    others = [price for price in table.all() if price != own]
    assert others == [price for price in BUILT_IN.all() if (price.model, price.mode) != (own.model, own.mode)]


@pytest.mark.parametrize(
    "written",
    ["yandexgpt-lite/latest@sales", "gpt:yandexgpt-lite/latest@sales", "gpt://b1g/yandexgpt-lite/latest@sales"],
)
def test_a_file_may_name_a_fine_tuned_model(written: str, tmp_path: Path) -> None:
    """A model that the built-in list cannot know has the price that the file states, in its modes only."""
    table = _load(tmp_path, TOP + f'[models."{written}"]\nsync = {{ units = "1.5" }}\n')
    price = _known(table, "gpt:yandexgpt-lite/latest@sales", SYNC)
    assert (price.input, price.unit) == (Decimal("0.3"), Decimal("0.0002"))
    assert table.of("gpt:yandexgpt-lite/latest@sales", ASYNC) is None
    assert table.of("gpt:yandexgpt-lite/latest@other", SYNC) is None
    assert len(table.all()) == len(BUILT_IN.all()) + 1


def test_a_model_of_any_other_service_can_be_named(tmp_path: Path) -> None:
    """Names that are no names of this service, with colons and slashes, and old tuned models are matched whole."""
    entry = 'sync = { input = "1", output = 2 }\n'
    names = ("llama3:8b", "openai:Qwen/Qwen3-8B", "ds://b1g/bt1abc")
    table = _load(tmp_path, TOP + "".join(f'[models."{name}"]\n{entry}' for name in names))
    for model in ("llama3:8b", "openai:Qwen/Qwen3-8B", "ds:bt1abc"):
        assert _known(table, model, SYNC).cost(1000, 1000) == 3


def test_a_new_price_of_units_is_that_of_all_that_are_billed_in_units(tmp_path: Path) -> None:
    """A file with nothing but `[unit]` gives every built-in model its new price, currency, date and source."""
    text = '[unit]\nper_1000 = "1.10"\ncurrency = "kzt"\ndated = 2026-11-01\nsource = "a contract"\n'
    table = _load(tmp_path, text)
    assert [price.units for price in table.all()] == [price.units for price in BUILT_IN.all()]
    for price in table.all():
        assert (price.currency, price.unit, price.dated) == ("KZT", Decimal("0.0011"), "2026")
        assert price.source.endswith("a contract")
        assert price.origin == str(tmp_path / "prices.toml")
    assert _known(table, "yandexgpt-lite", ASYNC).cost(26, 11) == Decimal("0.0209")


def test_units_that_cost_nothing_cost_nothing(tmp_path: Path) -> None:
    """A stated price of zero is accepted, also for units."""
    table = _load(tmp_path, TOP + "[unit]\nper_1000 = 0\n")
    price = _known(table, "aliceai-llm", SYNC)
    assert (price.input, price.unit, price.units, price.cost(10**6, 10**6)) == (0, None, None, 0)


def test_input_and_output_may_have_units_of_their_own(tmp_path: Path) -> None:
    """`input_units` and `output_units` are told apart; what is nearest states the date and the source."""
    text = 'dated = "2025"\n[models.new]\nsource = "a letter"\n'
    table = _load(tmp_path, text + 'async = { input_units = "0.125", output_units = 4, dated = "2026-11" }\n')
    price = _known(table, "new", ASYNC)
    assert (price.units, price.dated) == ((Decimal("0.125"), Decimal(4)), "2024")
    assert price.source.startswith("a letter; price of 1,000 units: ")
    assert (price.input, price.output) == (Decimal("0.025"), Decimal("0.8"))


def test_long_figures_stay_exact(tmp_path: Path) -> None:
    """A product of two figures of nine and nine digits loses none of them."""
    text = TOP + '[unit]\nper_1000 = "123456789.987654321"\n[models.x]\nsync = { units = "987654321.123456789" }\n'
    price = _known(_load(tmp_path, text), "x", SYNC)
    assert Fraction(price.input) == Fraction("123456789.987654321") * Fraction("987654321.123456789")
    assert Fraction(price.cost(1, 0)) >= Fraction(price.input) / 1000


REFUSED = [
    ("[models.x]\nsync = { input = 0.25, output = 1 }", ["[models.x.sync] input", 'in quotes, input = "0.25"']),
    ("[models.x]\nsync = { units = 1e3 }", ["[models.x.sync] units", 'units = "1e3"']),
    ("[models.x]\nsync = { units = nan }", ["[models.x.sync] units", "in quotes"]),
    ("[unit]\nper_1000 = 0.2", ["[unit] per_1000", 'per_1000 = "0.2"']),
    ('[models.x]\nsync = { input = "-1", output = "1" }', ["[models.x.sync] input", "'-1' is not a price"]),
    ("[models.x]\nsync = { input = -1, output = 1 }", ["[models.x.sync] input", "'-1' is not a price"]),
    ('[models.x]\nsync = { units = "cheap" }', ["[models.x.sync] units", "'cheap' is not a price"]),
    ('[models.x]\nsync = { units = "1e-4" }', ["[models.x.sync] units", "is not a price"]),
    ('[models.x]\nsync = { units = "" }', ["[models.x.sync] units", "is not a price"]),
    ("[models.x]\nsync = { units = true }", ["[models.x.sync] units", "figure in quotes"]),
    ("[models.x]\nsync = { units = [1] }", ["[models.x.sync] units", "figure in quotes"]),
    ('[models.x]\nsync = { inptu = "1", output = "1" }', ["[models.x.sync] inptu", "did you mean input?"]),
    ('[models.x]\nsnyc = { units = "1" }', ["[models.x] snyc", "did you mean sync?"]),
    ('[models.x]\ninput = "1"\noutput = "1"', ["[models.x] input"]),
    ('[model.x]\nsync = { units = "1" }', ["model: no such key", "did you mean models?"]),
    ('[unit]\nper_thousand = "1"', ["[unit] per_thousand", "no such key"]),
    ("[unit]", ["[unit] per_1000", "not stated"]),
    ("unit = 3", ["unit: it must be a table"]),
    ("models = 3", ["models: it must be a table"]),
    ("models = { x = 3 }", ["[models] x: it must be a table"]),
    ("[models.x]\nsync = 3", ["[models.x] sync: it must be a table"]),
    ("[models.x]", ["[models] x", "neither sync nor async"]),
    ("[models.x]\nsync = {}", ["[models.x.sync]:", "input and output, or units"]),
    ('[models.x]\nsync = { input = "1" }', ["[models.x.sync]:", "input and output, or units"]),
    ('[models.x]\nsync = { output_units = "1" }', ["[models.x.sync]:", "input and output, or units"]),
    ('[models.x]\nsync = { units = "1", input = "1", output = "1" }', ["[models.x.sync]:", "or units"]),
    ('[models.x]\nsync = { units = "1", input_units = "1" }', ["[models.x.sync]:", "or units"]),
    ('[models.x]\nsync.units = 1\n[models."x/latest"]\nsync.units = 2', ["[models] x/latest", "stated twice"]),
    ('[models.x]\nsync = { units = "1", currency = "USD" }', ["[models.x.sync] currency", "paid in RUB"]),
    ('[models.x]\ncurrency = "roubles"\nsync = { input = 1, output = 1 }', ["[models.x] currency", "roubles"]),
    ('[models.x]\ndated = "yesterday"\nsync.units = 1', ["[models.x] dated", "yesterday"]),
    ('[models.x]\ndated = "2026-02-30"\nsync.units = 1', ["[models.x] dated", "2026-02-30"]),
    ('[models.x]\ndated = "2026-13"\nsync.units = 1', ["[models.x] dated", "2026-13"]),
    ("[models.x]\ndated = 2026\nsync.units = 1", ["[models.x] dated", "text in quotes"]),
    ("[models.x]\ndated = 2026.5\nsync.units = 1", ["[models.x] dated", "text in quotes"]),
    ("[models.x]\ndated = 2026-11-01T00:00:00Z\nsync.units = 1", ["[models.x] dated", "text in quotes"]),
    ('[models.x]\nsource = " "\nsync.units = 1', ["[models.x] source", "text in quotes"]),
    ("", ["it states no price"]),
    ("[models]", ["it states no price"]),
    ("[models.x\n", ["is not TOML", "line 3"]),
    ("x = " + "[" * 5000, ["is not TOML"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_wrong_file_is_refused_by_place(text: str, said: list[str], tmp_path: Path) -> None:
    """What is wrong in a price list is said with the file, the table and the key, and how to mend it."""
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, TOP + text)
    sentence = str(caught.value)
    assert str(tmp_path / "prices.toml") in sentence
    assert [part for part in said if part not in sentence] == []
    assert (sentence[-1], caught.value.exit_code) == (".", ExitCode.USAGE)
    assert caught.value.hint


@pytest.mark.parametrize("missing", ["dated", "currency"])
@pytest.mark.parametrize("place", ['[unit]\nper_1000 = "1"\n', '[models.x.sync]\ninput = "1"\noutput = "1"\n'])
def test_a_figure_without_date_or_currency_is_refused(missing: str, place: str, tmp_path: Path) -> None:
    """Every figure of a file has a currency and a date, its own or the file's."""
    top = "".join(line + "\n" for line in TOP.splitlines() if not line.startswith(missing))
    name = place.partition("]")[0] + "]"
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, top + place)
    assert f"{name} {missing}: it is not stated" in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file that is missing, is a folder or is not text gives a sentence with its name."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "binary", "UTF-8"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            load(Settings(prices=path))
        assert str(path) in str(caught.value)


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    """A byte order mark and Windows line ends do not matter, and a comma may stand for the point."""
    path = tmp_path / "prices.toml"
    text = TOP + '[models.x]\nsync = { input = "0,25", output = "1" }\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert _known(load(Settings(prices=path)), "x", SYNC).input == Decimal("0.25")
