"""Settings: each declared once, and the same value wherever it was written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from batch.errors import UsageError
from batch.parsing import Bounds, FailureLimit, KeptField, RateLimit
from batch.settings import Declared, Layer, Settings, Value, declared, from_environment, resolve

DECLARED = {item.name: item for item in declared()}
PRECIOUS = ("output", "model", "concurrency", "limit", "retries", "timeout", "max_rows", "grace")


def _flags(**values: Value) -> Layer:
    return Layer("flag", values)


@pytest.mark.parametrize("item", declared(), ids=lambda item: item.name)
def test_every_setting_can_be_written_and_is_explained(item: Declared) -> None:
    """A setting has a flag, a variable, a section and a sentence of help."""
    assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", item.flag)
    assert re.fullmatch(r"CHATBATCH_[A-Z]+(_[A-Z]+)*", item.variable)
    assert item.section
    assert re.search(r"[.\]]$", item.help)
    assert item.help[0].isupper() or item.help[0].isdigit()
    assert re.fullmatch(r"|-[a-z]", item.short)
    assert not (item.switch and item.many)
    assert item.switch == isinstance(item.default, bool)


def test_every_field_is_declared_and_no_name_is_used_twice() -> None:
    """The declarations are the fields of `Settings`, and flags do not clash."""
    assert list(DECLARED) == [field.name for field in fields(Settings)]
    assert set(PRECIOUS) <= set(DECLARED)
    names = Counter(item.flag for item in declared())
    names.update(item.short for item in declared() if item.short)
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize("item", declared(), ids=lambda item: item.name)
def test_defaults_are_of_the_kind_that_is_parsed(item: Declared) -> None:
    """A default that can be written is accepted when it is written."""
    if item.default is None or item.default == () or item.switch:
        return
    text = str(item.default)
    layers = [_flags(**{item.name: text})]
    assert getattr(resolve(layers).settings, item.name) == item.default


def test_precedence() -> None:
    """A flag wins over the environment, the environment over the default, and each is told."""
    environment = from_environment({"CHATBATCH_CONCURRENCY": "3", "CHATBATCH_RETRIES": "4", "HOME": "/"})
    resolved = resolve([_flags(concurrency="2"), environment])
    settings, origins = resolved.settings, resolved.origins
    assert (settings.concurrency, settings.retries, settings.timeout) == (Bounds(2, 2), 4, 180.0)
    assert (origins["concurrency"], origins["retries"], origins["timeout"]) == (
        "flag",
        "environment",
        "default",
    )
    assert set(origins) == set(DECLARED)


def test_nothing_set_gives_the_defaults() -> None:
    """Without layers, and with layers that set nothing, the settings are the defaults."""
    assert resolve([]).settings == Settings()
    assert resolve([_flags(limit=(), keep=()), from_environment({})]).settings == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("CHATBATCH_OUTPUT", "a.parquet", "output", Path("a.parquet")),
        ("CHATBATCH_LIMIT", "10/s, 5000/h", "limit", (RateLimit(10, 1), RateLimit(5000, 3600))),
        ("CHATBATCH_LIMIT", "off", "limit", ()),
        ("CHATBATCH_KEEP", "a n:int", "keep", (KeptField("a", "string"), KeptField("n", "int"))),
        ("CHATBATCH_EMULATE", "yes", "emulate", True),
        ("CHATBATCH_DATA_LOGGING", "0", "data_logging", False),
        ("CHATBATCH_MAX_FAILED", "5%", "max_failed", FailureLimit(0, 5.0)),
        ("CHATBATCH_MAX_ROWS", "off", "max_rows", None),
        ("CHATBATCH_STATS", "off", "stats", None),
        ("CHATBATCH_RETRY_TIMEOUT", "0", "retry_timeout", None),
        ("CHATBATCH_MODEL", "yandexgpt/rc", "model", "yandexgpt/rc"),
        ("CHATBATCH_TEMPERATURE", " ", "temperature", None),
    ],
)
def test_variables(variable: str, text: str, name: str, value: object) -> None:
    """A variable's text is parsed like the flag's; lists by commas or spaces; empty means not set."""
    assert getattr(resolve([from_environment({variable: text})]).settings, name) == value


def test_a_flag_takes_a_limit_away() -> None:
    """`off` on the command line takes away what the environment set."""
    environment = from_environment({"CHATBATCH_LIMIT": "10/s", "CHATBATCH_MAX_ROWS": "5"})
    resolved = resolve([_flags(limit=("off",), max_rows="off"), environment])
    assert (resolved.settings.limit, resolved.settings.max_rows) == ((), None)
    assert resolved.origins["limit"] == "flag"


def test_switches() -> None:
    """A switch is set by a flag's truth value, and a false one wins over the environment too."""
    environment = from_environment({"CHATBATCH_EMULATE": "1", "CHATBATCH_DATA_LOGGING": "1"})
    resolved = resolve([_flags(emulate=False, data_logging=False), environment])
    assert (resolved.settings.emulate, resolved.settings.data_logging) == (False, False)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("CHATBATCH_CONCURENCY", "(did you mean CHATBATCH_CONCURRENCY?)"),
        ("CHATBATCH_MAXTOKENS", "(did you mean CHATBATCH_MAX_TOKENS?)"),
        ("CHATBATCH_COLOUR_OF_THE_SKY", "names no setting"),
    ],
)
def test_misspelt_variables(variable: str, sentence: str) -> None:
    """A variable that names no setting is an error with a suggestion, since nobody would miss it."""
    with pytest.raises(UsageError) as caught:
        from_environment({variable: "1"})
    assert variable in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (_flags(max_tokens="many"), "--max-tokens: 'many' is not a whole number from 1."),
        (
            from_environment({"CHATBATCH_MAX_TOKENS": "many"}),
            "CHATBATCH_MAX_TOKENS: 'many' is not a whole number from 1.",
        ),
        (_flags(limit=("10/s", "fast")), "--limit: 'fast' is not a rate"),
        (from_environment({"CHATBATCH_EMULATE": "maybe"}), "CHATBATCH_EMULATE: 'maybe' is neither true nor"),
    ],
)
def test_wrong_values(layer: Layer, sentence: str) -> None:
    """A value that cannot be parsed is named by the flag or the variable that it came from."""
    with pytest.raises(UsageError) as caught:
        resolve([layer])
    assert sentence in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    """Settings are what they were when the run began."""
    with pytest.raises(AttributeError):
        Settings().concurrency = 5  # type: ignore[misc]
