"""From layers of values as text (flags, the environment, a job's file) to the settings in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from batch import parsing
from batch.errors import UsageError
from batch.settings.declaring import ENVIRONMENT_PREFIX, Declared, Value
from batch.settings.fields import Settings

# Where the job files are: it says which settings there are, and is none.
JOBS_VARIABLE = ENVIRONMENT_PREFIX + "JOBS_DIR"


def declared() -> Sequence[Declared]:
    """Return every setting, in the order in which the help shows them."""
    return _DECLARED


def _declare() -> tuple[Declared, ...]:
    return tuple(Declared(name=item.name, default=item.default, **item.metadata) for item in fields(Settings))


_DECLARED = _declare()


@dataclass(frozen=True, slots=True)
class Layer:
    """Values of one origin, by setting's name; `origin` is what the user is told, such as `flag`."""

    origin: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force, and for each the origin of its value."""

    settings: Settings
    origins: Mapping[str, str]


def from_environment(environment: Mapping[str, str]) -> Layer:
    """Return the layer of `CHATBATCH_…` variables; empty ones count as not set.

    Raises `UsageError` for a variable that names no setting: a misspelt one would be silently ignored.
    """
    by_variable = {item.variable: item for item in _DECLARED}
    values: dict[str, Value] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == JOBS_VARIABLE or not text.strip():
            continue
        item = by_variable.get(variable)
        if item is None:
            near = parsing.nearest(variable, by_variable)
            raise UsageError(f"The environment variable {variable} names no setting{near}.")
        values[item.name] = tuple(text.replace(",", " ").split()) if item.many else text
    return Layer("environment", values)


def resolve(layers: Sequence[Layer]) -> Resolved:
    """Return the settings from `layers`, the first of which wins.

    Raises `UsageError` where a value cannot be parsed, naming the flag or the variable.
    """
    chosen: dict[str, object] = {}
    origins: dict[str, str] = {}
    for item in _DECLARED:
        origins[item.name] = "default"
        for layer in layers:
            value = layer.values.get(item.name)
            if value is None or value == ():
                continue
            chosen[item.name] = _parse(item, value, layer.origin)
            origins[item.name] = layer.origin
            break
    return Resolved(Settings(**chosen), origins)  # type: ignore[arg-type]  # each was parsed by its own field


def _parse(item: Declared, value: Value, origin: str) -> object:
    label = item.variable if origin == "environment" else item.flag
    try:
        if item.switch:
            return value if isinstance(value, bool) else parsing.boolean(str(value))
        if item.many:
            texts = value if isinstance(value, tuple) else (str(value),)
            return tuple(parsed for text in texts if (parsed := item.parse(text)) is not None)
        return item.parse(str(value))
    except ValueError as error:
        raise UsageError(f"{label}: {error}.") from None
