"""From declared settings to click's options, and back to settings; no setting is named here."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from batch.settings import Declared, Layer, Resolved, Value, declared, from_environment, resolve


def settings_options(*names: str) -> list[click.Parameter]:
    """Return the options of these settings, or of all, in the order in which they are declared."""
    return [_option(item) for item in declared() if not names or item.name in names]


def _option(item: Declared) -> click.Option:
    help_text = item.help + _default(item) + f" [env: {item.variable}]"
    flags = [item.short, item.flag] if item.short else [item.flag]
    if item.name == "verbose":
        return click.Option([*flags, item.name], count=True, help=help_text)
    if item.switch:
        if item.negative:
            flags[-1] += "/--no-" + item.flag.removeprefix("--")
        return click.Option([*flags, item.name], is_flag=True, default=None, help=help_text)
    return click.Option([*flags, item.name], metavar=item.metavar, multiple=item.many, help=help_text)


def _default(item: Declared) -> str:
    if item.default in (None, (), False, 0, "") or "[default" in item.help:
        return ""
    shown = "on" if item.default is True else item.default
    seconds = item.metavar == "DURATION"
    return f" [default: {shown:g}s]" if seconds and isinstance(shown, float) else f" [default: {shown}]"


def settings_from(flags: Mapping[str, object]) -> Resolved:
    """Return the settings from a command's flags, the environment and the defaults, in this order."""
    return resolve([flag_layer(flags), from_environment(os.environ)])


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """Return what a command's flags set."""
    given: dict[str, Value] = {}
    for name, value in flags.items():
        if isinstance(value, tuple):
            given[name] = tuple(str(item) for item in value)
        elif isinstance(value, bool):
            given[name] = value
        elif value is not None and not (name == "verbose" and value == 0):
            given[name] = str(value)
    return Layer("flag", given)


def settings_table() -> str:
    """Return the README's table of settings, in Markdown; a test holds the two together."""
    lines, escaped = ["| flag | environment | |", "|---|---|---|"], "\\|"
    for item in declared():
        flag = f"{item.short}, {item.flag}" if item.short else item.flag
        if item.negative:
            flag += "/--no-" + item.flag.removeprefix("--")
        value = "" if item.switch or item.name == "verbose" else f" {item.metavar}"
        cells = (f"`{flag}{value}`", f"`{item.variable}`", item.help + _default(item))
        lines.append(f"| {' | '.join(cell.replace('|', escaped) for cell in cells)} |")
    return "\n".join(lines) + "\n"
