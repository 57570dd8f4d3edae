"""What tokens cost: by model and mode, from the built-in list, a file of the user's, or two flags.

Money is decimal and exact; it is rounded once, at the end of a request, and always up, so that a cap holds. A
model that nobody stated a price for has none: None, never zero. The built-in list is `prices.toml` beside this
module, from the service's documentation; a user's list has the same form.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from importlib import resources
from pathlib import Path

from batch import parsing
from batch.errors import UsageError
from batch.settings import Settings

SYNC, ASYNC = "sync", "async"
MODES = (SYNC, ASYNC)
BUILT_IN, FLAGS, ANY_MODEL = "built in", "flags", "*"
# What a price is stated for, and how many decimals the output column `cost`, decimal128(18, 6), has.
_PER_TOKENS, _DECIMALS = 1000, 6
# More digits than a product of two figures of a price list can have (18 each).
_EXACT = Context(prec=80)
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_STATED, _PLAIN, _UNITS = ("currency", "dated", "source"), ("input", "output"), ("input_units", "output_units")
HOW_TO_SET = "Set --price-input and --price-output (per 1,000 tokens), or name the model in a file for --prices."
_FORM = "chatbatch prices --help shows the form of a price list."


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs in one mode.

    `model` is its identity as providers give it; `input` and `output` are per 1,000 tokens; `unit` is the price
    of one unit where whole units are billed, else None. `dated` is when the oldest of the figures was stated, in
    ISO 8601 (a year, a month or a day; empty for flags); `origin` the list it stands in.
    """

    model: str
    mode: str
    currency: str
    source: str
    dated: str
    input: Decimal
    output: Decimal
    unit: Decimal | None
    origin: str = BUILT_IN
    # input, output and 1,000 units as whole numbers of 1/scale, and scale: integers are exact and quick.
    _scaled: tuple[int, int, int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        figures = (self.input, self.output, _times(self.unit or Decimal(0), Decimal(_PER_TOKENS)))
        scale = 10 ** max(len(f"{figure:f}".partition(".")[2]) for figure in figures)
        per_input, per_output, units = (int(_times(figure, Decimal(scale))) for figure in figures)
        object.__setattr__(self, "_scaled", (per_input, per_output, units, scale))

    def cost(self, input_tokens: int, completion_tokens: int) -> Decimal:
        """Return what a request costs: its units rounded up to a whole one, the money up to 6 decimals."""
        per_input, per_output, unit, scale = self._scaled
        total = per_input * input_tokens + per_output * completion_tokens
        if unit:
            total = -(-total // unit) * unit
        return Decimal(f"{-(-total * 10**_DECIMALS // (scale * _PER_TOKENS))}E-{_DECIMALS}")

    @property
    def units(self) -> tuple[Decimal, Decimal] | None:
        """Return the units that a token of input and one of output count for; None where none are billed."""
        per_input, per_output, unit, _ = self._scaled
        if not unit:
            return None
        return _EXACT.divide(Decimal(per_input), Decimal(unit)), _EXACT.divide(Decimal(per_output), Decimal(unit))


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices in force; `origin` says where they are from: `built in`, a file's path, or `flags`."""

    origin: str
    by_model: Mapping[tuple[str, str], Price]

    def of(self, model: str, mode: str) -> Price | None:
        """Return what a model costs in a mode, or None where that is unknown.

        A bare name and its version `latest` are the same; every other version, every fine-tuned model
        (`name/version@suffix`, `ds:id`) has only a price of its own.
        """
        name = identity(model)
        price = self.by_model.get((name, mode))
        if price is None and (price := self.by_model.get((ANY_MODEL, mode))):
            price = replace(price, model=name)
        return price

    def all(self) -> Sequence[Price]:
        """Return every price, in the order of the lists; with flags one for each mode, of the model `*`."""
        return tuple(self.by_model.values())


def load(settings: Settings) -> PriceTable:
    """Return the price table that the settings ask for.

    `--price-input` and `--price-output` are the price of every model in the mode that the run uses, whichever
    it is, and nothing is halved for asynchronous mode. Else the built-in list is in force, and over it the file
    of `--prices`: an entry (a model in a mode) replaces the built-in one, and a `[unit]` gives everything that
    is billed in units its price. Raises `UsageError` for half of the flags and for a file that cannot be used.
    """
    if settings.price_input is not None or settings.price_output is not None:
        return _from_flags(settings.price_input, settings.price_output, settings.currency)
    shipped = _document(resources.files("batch").joinpath("prices.toml").read_text(encoding="utf-8"), BUILT_IN)
    unit = _unit(shipped, None)
    if settings.prices is None:
        return PriceTable(BUILT_IN, _entries(shipped, unit))
    own = _document(_text(settings.prices), str(settings.prices))
    own_unit = _unit(own, unit)
    own_prices = _entries(own, own_unit)
    if own_unit is unit and not own_prices:
        raise UsageError(f"{settings.prices}: it states no price.", hint=_FORM)
    return PriceTable(str(settings.prices), _entries(shipped, own_unit) | own_prices)


def require(table: PriceTable, model: str, mode: str) -> Price:
    """Return what a model costs in a mode; raises `UsageError`, which says what to set, where it is unknown."""
    price = table.of(model, mode)
    if price is None:
        raise UsageError(
            f"The price of {short_name(model)} in {mode} mode is unknown, so a cap on money cannot be held.",
            hint=HOW_TO_SET,
        )
    return price


def identity(model: str) -> str:
    """Return a model without its folder and with its version spelled out, however it was written."""
    scheme, separator, tail = model.partition("://")
    if separator:
        tail = tail.partition("/")[2]
    elif model.startswith(("gpt:", "ds:")):
        scheme, _, tail = model.partition(":")
    else:
        scheme, tail = "gpt", model
    return f"{scheme}:{tail}" if scheme != "gpt" or "/" in tail else f"gpt:{tail}/latest"


def short_name(model: str) -> str:
    """Return a model as one writes it for `--model`: `yandexgpt-lite`, `yandexgpt/rc`, `ds:id`."""
    return identity(model).removeprefix("gpt:").removesuffix("/latest")


def money(amount: Decimal, currency: str) -> str:
    """Return an amount for people, rounded to hundredths or, where smaller, to its two leading digits.

    `1,500.00 RUB`, `0.0038 RUB`; never in scientific notation.
    """
    decimals = max(2, 1 - amount.adjusted()) if amount else 2
    rounded = amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _EXACT)
    return f"{at_least_hundredths(rounded)} {currency}"


def at_least_hundredths(amount: Decimal) -> str:
    """Return every digit of an amount, without superfluous zeros but with two decimals: `0.20`, `0.0125`."""
    whole, _, decimals = f"{amount:,f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


def _from_flags(per_input: Decimal | None, per_output: Decimal | None, currency: str) -> PriceTable:
    if per_input is None or per_output is None:
        given, other = ("input", "output") if per_output is None else ("output", "input")
        raise UsageError(f"--price-{given} needs --price-{other} as well: 1,000 tokens of each have a price.")
    prices = [
        Price(ANY_MODEL, mode, currency, "--price-input, --price-output", "", per_input, per_output, None, FLAGS)
        for mode in MODES
    ]
    return PriceTable(FLAGS, {(price.model, price.mode): price for price in prices})


@dataclass(frozen=True, slots=True)
class _Unit:
    """The price of one unit; `origin` is the list that states it."""

    price: Decimal
    currency: str
    dated: str
    source: str
    origin: str


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a price list; the currency, date and source that it does not state are those of `outer`."""

    file: str
    name: str
    values: Mapping[str, object]
    outer: _Table | None = None

    def only(self, *known: str) -> None:
        """Raise `UsageError` for a key that means nothing here."""
        for key in self.values:
            if key not in known:
                raise self.wrong(key, f"no such key here{parsing.nearest(key, known)}")

    def wrong(self, key: str, what: str, hint: str = _FORM) -> UsageError:
        """Return the error that says what is wrong with a key, or with the table where it has no name."""
        place = f"[{self.name}] {key}".rstrip() if self.name else key
        return UsageError(f"{self.file}: {place}: {what}.", hint=hint)

    def table(self, key: str, known: Sequence[str]) -> _Table:
        """Return the table under a key, empty where there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "it must be a table")
        name = key if re.fullmatch(r"[\w-]+", key, re.ASCII) else f'"{key}"'
        inner = _Table(self.file, f"{self.name}.{name}".lstrip("."), value, self)
        if known:
            inner.only(*known)
        return inner

    def amount(self, key: str) -> Decimal | None:
        """Return a figure, None where it is not stated."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, _Float):
            raise self.wrong(key, f'write it in quotes, {key} = "{value}"', "A number with a point is not exact.")
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.wrong(key, 'it must be a figure in quotes, such as "0.20"')
        try:
            return parsing.price(str(value))
        except ValueError as error:
            raise self.wrong(key, str(error)) from None

    def stated(self, key: str) -> str:
        """Return the text under a key here or in a table around, empty where there is none."""
        value = self.values.get(key)
        if value is None:
            return self.outer.stated(key) if self.outer else ""
        if type(value) is date:
            value = value.isoformat()
        if not isinstance(value, str) or isinstance(value, _Float) or not value.strip():
            raise self.wrong(key, "it must be a text in quotes")
        try:
            return _CHECKS[key](value.strip())
        except ValueError as error:
            raise self.wrong(key, str(error)) from None

    def needed(self, key: str) -> str:
        """Return the text under a key here or in a table around."""
        text = self.stated(key)
        if not text:
            raise self.wrong(key, "it is not stated, here or at the top of the file")
        return text


class _Float(str):
    """A TOML float as it was written: it must not become a float, and is refused where a figure is expected."""

    __slots__ = ()


def _date(text: str) -> str:
    try:
        if _DATE.fullmatch(text):
            date.fromisoformat(text + "-01-01"[len(text) - 4 :])
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a date such as 2026-01-31, 2026-01 or 2026")


_CHECKS: Mapping[str, Callable[[str], str]] = {"currency": parsing.currency, "dated": _date, "source": str}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"The price list {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The price list {path} is not UTF-8 text.") from None


def _document(text: str, file: str) -> _Table:
    try:
        values: dict[str, object] = tomllib.loads(text, parse_float=_Float)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The price list {file} is not TOML: {error}.", hint=_FORM) from None
    document = _Table(file, "", values)
    document.only("unit", "models", *_STATED)
    return document


def _unit(document: _Table, inherited: _Unit | None) -> _Unit | None:
    """Return the price of a unit that a list states, or the inherited one."""
    if "unit" not in document.values:
        return inherited
    table = document.table("unit", ("per_1000", *_STATED))
    per_1000 = table.amount("per_1000")
    if per_1000 is None:
        raise table.wrong("per_1000", "the price of 1,000 units is not stated")
    return _Unit(
        _times(per_1000, Decimal("0.001")),
        table.needed("currency"),
        table.needed("dated"),
        table.stated("source") or document.file,
        document.file,
    )


def _entries(document: _Table, unit: _Unit | None) -> dict[tuple[str, str], Price]:
    """Return the prices that a list states, by model and mode."""
    found: dict[tuple[str, str], Price] = {}
    models = document.table("models", ())
    for written in models.values:
        table = models.table(written, (*MODES, *_STATED))
        modes = [mode for mode in MODES if mode in table.values]
        if not modes:
            raise models.wrong(written, "it states neither sync nor async")
        for mode in modes:
            key = identity(written.strip()), mode
            if key in found:
                raise models.wrong(written, f"{short_name(written.strip())} is stated twice")
            found[key] = _price(*key, table.table(mode, ("units", *_PLAIN, *_UNITS, *_STATED)), unit)
    return found


def _price(model: str, mode: str, table: _Table, unit: _Unit | None) -> Price:
    per_input, per_output = (table.amount(key) for key in _PLAIN)
    both = table.amount("units")
    units_in, units_out = (both if both is not None else table.amount(key) for key in _UNITS)
    forms = [tuple(key for key in keys if key in table.values) for keys in (_PLAIN, ("units",), _UNITS)]
    if [form for form in forms if form] not in [[_PLAIN], [("units",)], [_UNITS]]:
        raise table.wrong("", "state input and output, or units, or input_units and output_units")
    source, dated = table.stated("source") or table.file, table.needed("dated")
    if per_input is not None and per_output is not None:
        currency = table.needed("currency")
        return Price(model, mode, currency, source, dated, per_input, per_output, None, table.file)
    if unit is None or units_in is None or units_out is None:
        raise table.wrong("", "units are stated, and no price of 1,000 units")
    if table.stated("currency") not in ("", unit.currency):
        raise table.wrong("currency", f"units are paid in {unit.currency}, by the [unit] of {unit.origin}")
    return Price(
        model,
        mode,
        unit.currency,
        source if source == unit.source else f"{source}; price of 1,000 units: {unit.source}",
        min(dated, unit.dated),
        _times(units_in, unit.price, Decimal(_PER_TOKENS)),
        _times(units_out, unit.price, Decimal(_PER_TOKENS)),
        unit.price or None,
        unit.origin if table.file == BUILT_IN else table.file,
    )


def _times(first: Decimal, *others: Decimal) -> Decimal:
    """Return an exact product, without superfluous zeros but never in tens or hundreds."""
    for other in others:
        first = _EXACT.multiply(first, other)
    return first if first == 0 else Decimal(f"{first.normalize(_EXACT):f}")
