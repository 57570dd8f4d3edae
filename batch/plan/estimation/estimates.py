"""What an estimate says: frozen data, from rows to money and hours. Spans are low, expected and high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from batch.plan.estimation.schedule import Schedule

OFFLINE, CALIBRATED, SAMPLED = "offline", "calibrated", "sampled"
PILOT, EARLIER, GIVEN, ASSUMED = "pilot", "earlier answers", "given", "assumed"


@dataclass(frozen=True, slots=True)
class Span:
    """A number of tokens between a low and a high one."""

    low: int
    expected: int
    high: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of the input by what would become of them."""

    total: int
    valid: int
    invalid: int
    answered: int
    duplicates: int
    held_back: int
    to_send: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a kind: `grade` is one word for where they come from, `basis` the same as a sentence."""

    span: Span
    grade: str
    basis: str


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """What one model would be asked: rows, tokens in and out, and the most that both can be."""

    model: str
    rows: int
    input: Span
    completion: Span
    most_input: int
    most_completion: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a currency's part of a mode would cost; `most` is the hard bound that no bill exceeds."""

    currency: str
    low: Decimal
    expected: Decimal
    high: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class Mode:
    """One mode beside the other, or both at once: what it would cost and how long it would take.

    `unpriced` are the models without a price in it; where there are any, `costs` hold only the others.
    `dated` says when the prices were stated; `rows` how many each mode would send.
    """

    mode: str
    costs: Sequence[Cost]
    unpriced: Sequence[str]
    dated: str
    schedule: Schedule
    rows: Mapping[str, int]

    @property
    def is_known(self) -> bool:
        """Return whether every row has a price."""
        return not self.unpriced


@dataclass(frozen=True, slots=True)
class CapOutlook:
    """Whether a cap suffices: low, expected and high number of rows that fit under what earlier runs `left`."""

    cap: str
    left: str
    rows: Span
    to_send: int

    @property
    def suffices(self) -> bool:
        """Return whether all rows are expected to fit."""
        return self.rows.expected >= self.to_send


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the service for this estimate: rows counted by its tokenizer, or really sent."""

    rows: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything that an estimate says.

    `mode` is how the run would ask; `emulated` says that it rests on what the emulator counted or answered.
    """

    files: Sequence[str]
    mode: str
    emulated: bool
    rows: Rows
    input: Tokens
    completion: Tokens
    models: Sequence[ModelTokens]
    modes: Sequence[Mode]
    caps: Sequence[CapOutlook]
    latency_basis: str
    exact: Asked | None
    pilot: Asked | None

    @property
    def own(self) -> Mode:
        """Return the mode of the run; the synchronous one where both would be used, and nobody said until when."""
        return own_mode(self.modes, self.mode)


def own_mode(modes: Sequence[Mode], name: str) -> Mode:
    """Return the mode of this name, or the first one."""
    return next((mode for mode in modes if mode.mode == name), modes[0])
