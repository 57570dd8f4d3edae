"""What can be configured, written as text, and what is refused with a sentence."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest

import batch.emulator
from batch.emulator import Config, Fault, Latency
from batch.emulator.faults import FaultPlan


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("0", 0, 0),
        ("fixed:0.3", 0.3, 0.3),
        ("uniform:0.2-1.5", 0.2, 1.5),
        ("lognormal:0.8,0.5", 0.05, 15),
    ],
)
def test_latencies_are_drawn_within_their_bounds(text: str, least: float, most: float) -> None:
    """Each written form is a distribution of seconds."""
    dice = random.Random(0)
    drawn = sorted(Latency.parse(text).draw(dice) for _ in range(1_000))
    assert least <= drawn[0] <= drawn[-1] <= most
    if text.startswith("lognormal"):
        assert drawn[500] == pytest.approx(0.8, rel=0.1)


@pytest.mark.parametrize("text", ["", "fast", "fixed:", "fixed:-1", "uniform:2-1", "lognormal:0,1", "fixed:nan"])
def test_a_wrong_latency_is_told_the_forms(text: str) -> None:
    """The error says what may be written instead."""
    with pytest.raises(ValueError, match="lognormal:MEDIAN,SIGMA"):
        Latency.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("429", "KIND=PROBABILITY"),
        ("429=often", "KIND=PROBABILITY"),
        ("429=1.5", "from 0 to 1"),
        ("boom=0.1", "there are: 429, "),
    ],
)
def test_a_wrong_fault_is_told_the_form(text: str, words: str) -> None:
    """The error says what a fault looks like, or which there are."""
    with pytest.raises(ValueError, match=words):
        Fault.parse(text)


def test_faults_are_read() -> None:
    """KIND=PROBABILITY gives both."""
    assert Fault.parse("drop-after=0.05") == Fault("drop-after", 0.05)


def test_impossible_configurations_are_refused() -> None:
    """What no emulator can do is a ValueError when it is written down."""
    with pytest.raises(ValueError, match="no fault 'boom'"):
        Config(script=("ok", "boom"))
    with pytest.raises(ValueError, match="completion_tokens"):
        Config(completion_tokens=(5, 1))
    with pytest.raises(ValueError, match="speed"):
        Config(speed=0)
    with pytest.raises(ValueError, match="at most 1"):
        FaultPlan([Fault("429", 0.6), Fault("500", 0.6)], (), random.Random(0))


def test_the_public_names_exist() -> None:
    """Every name of `__all__` is there."""
    assert all(hasattr(batch.emulator, name) for name in batch.emulator.__all__)


def test_the_emulator_is_independent() -> None:
    """No module of the emulator imports the package around it, nor asyncio."""
    for file in Path(batch.emulator.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] != "asyncio", file
                assert name.split(".")[0] != "batch" or name.startswith("batch.emulator"), file
