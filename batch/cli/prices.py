"""`chatbatch prices`: the price table in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode

if TYPE_CHECKING:
    from batch.pricing import Price, PriceTable

_SETTINGS = ("prices", "price_input", "price_output", "currency", "quiet", "json", "verbose")
_HEADS = ("model", "mode", "input", "output", "currency", "units", "dated", "source")
_RIGHT = ("input", "output")


@click.command(params=settings_options(*_SETTINGS))
@click.argument("models", nargs=-1, metavar="[MODEL...]")
def command(models: tuple[str, ...], **flags: object) -> int:
    """Show what 1,000 tokens of each MODEL cost, or of every model that has a price.

    `input` and `output` are per 1,000 tokens; `units` are what a token counts for where whole units are
    billed (a request's are rounded up); `dated` is when the oldest of the figures was stated. A price that
    replaces a built-in one is marked with *. A MODEL without a price is shown as unknown, with what to set;
    that is an answer, so the exit code is 0. Sends nothing and needs no credentials.

    \b
    Examples:
      chatbatch prices
      chatbatch prices yandexgpt-lite yandexgpt/rc
      chatbatch prices --prices my-prices.toml --json
      chatbatch prices my-model --price-input 0.25 --price-output 0.50 --currency USD

    \b
    A file for --prices (figures in quotes; what it leaves out stays as built in):
      dated = "2026-11-01"         # a year, a month or a day
      currency = "RUB"
      source = "contract 17/2026"  # [default: the file's name]
      [unit]                       # the price of what is billed in units
      per_1000 = "0.18"
      [models."yandexgpt-lite/latest@sales"]
      sync = { units = "1.5" }     # or input_units and output_units, per token
      async = { input = "0.15", output = "0.30" }   # or a price per 1,000 tokens

    With --json there is one line for each price, money as decimal text:

    \b
      {"event":"price","model":…,"mode":"sync"|"async","input":…,"output":…,"currency":…,
       "unit":…|null,"units_input":…|null,"units_output":…|null,"dated":…|null,"source":…,
       "origin":"built in"|"flags"|FILE}
      {"event":"price_unknown","model":…,"mode":…,"fix":…}
    """
    from batch.pricing import MODES, identity, load

    settings = settings_from(flags).settings
    table = load(settings)
    named = dict.fromkeys(identity(model.strip()) for model in models)
    asked = [(model, mode, table.of(model, mode)) for model in named for mode in MODES]
    if not models:
        asked = [(price.model, price.mode, price) for price in table.all()]
    if settings.json:
        _show_json(asked)
    else:
        _show_lines(asked, table, quiet=settings.quiet)
    return ExitCode.OK


def _show_json(asked: Iterable[tuple[str, str, Price | None]]) -> None:
    from batch.jsontext import JsonObject, encode_text
    from batch.pricing import HOW_TO_SET

    for model, mode, price in asked:
        if price is None:
            click.echo(encode_text({"event": "price_unknown", "model": model, "mode": mode, "fix": HOW_TO_SET}))
            continue
        units_in, units_out = (f"{units:f}" for units in price.units) if price.units else (None, None)
        told: JsonObject = {
            "event": "price", "model": model, "mode": mode,
            "input": f"{price.input:f}", "output": f"{price.output:f}", "currency": price.currency,
            "unit": None if price.unit is None else f"{price.unit:f}",
            "units_input": units_in, "units_output": units_out,
            "dated": price.dated or None, "source": price.source, "origin": price.origin,
        }  # fmt: skip
        click.echo(encode_text(told))


def _show_lines(asked: Sequence[tuple[str, str, Price | None]], table: PriceTable, *, quiet: bool) -> None:
    """Print the prices in columns and their sources below; with `quiet` only what is unknown."""
    from batch.cli.tables import show
    from batch.pricing import BUILT_IN, FLAGS, HOW_TO_SET

    sources = list(dict.fromkeys(price.source for _, _, price in asked if price))
    rows = [_cells(model, mode, price, sources) for model, mode, price in asked if price is None or not quiet]
    unknown = any(price is None for _, _, price in asked)
    if not rows:
        return
    if not quiet:
        origins = {BUILT_IN: BUILT_IN, FLAGS: "* as set by flags, whatever the model and the mode"}
        told = origins.get(table.origin, f"* as set by {table.origin}, else built in")
        show([f"Prices of 1,000 tokens, {told}."])
        rows.insert(0, _HEADS)
    show(_columns(rows))
    show(f"[{number}] {source}" for number, source in enumerate(() if quiet else sources, 1))
    if unknown:
        show([f"Unknown does not mean free. {HOW_TO_SET}"])


def _cells(model: str, mode: str, price: Price | None, sources: Sequence[str]) -> tuple[str, ...]:
    from batch.pricing import ANY_MODEL, BUILT_IN, at_least_hundredths, short_name

    name = "every model" if model == ANY_MODEL else short_name(model)
    if price is None:
        return (name, mode, "unknown", "unknown", "", "", "", "")
    units = "" if price.units is None else " / ".join(dict.fromkeys(f"{unit:f}" for unit in price.units))
    return (
        name if price.origin == BUILT_IN else f"{name} *",
        mode,
        at_least_hundredths(price.input),
        at_least_hundredths(price.output),
        price.currency,
        units,
        price.dated,
        f"[{sources.index(price.source) + 1}]",
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if head in _RIGHT else cell.ljust(width)
            for head, cell, width in zip(_HEADS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
