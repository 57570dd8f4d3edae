"""Tokens from counts: a family of models is thirteen coefficients and how far they were found to be off."""

from __future__ import annotations

import math
from dataclasses import dataclass

from batch.records import Request
from batch.tokens.families import Family, family_of
from batch.tokens.features import Counts, count_request, count_text

# The completion count includes one token beyond the visible text: "7" is 2, "Andrew." is 3 (recorded).
UNSEEN_TOKENS = 1
OFFLINE = "offline"
# A normal deviate lies within this many standard deviations with a probability of 80 %.
_DEVIATIONS_80 = 1.2816


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies with a probability of `share`: factors, low and high, on an estimate.

    `row` is of one row's estimate and `total` of the sum over very many rows. The error of an offline estimate
    is shared by rows that are alike, so adding up does not shrink it and both are the same; that of a calibrated
    one is mostly each row's own: `spread` is its standard deviation, relative to the mean row.
    """

    share: float
    row: tuple[float, float]
    total: tuple[float, float]
    spread: float = 0.0

    def of_total(self, rows: int) -> tuple[float, float]:
        """Return the factors on the sum over so many rows."""
        own = _DEVIATIONS_80 * self.spread / math.sqrt(max(rows, 1))
        low, high = self.total
        return max(0.0, 1 - math.hypot(1 - low, own)), 1 + math.hypot(high - 1, own)


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates the tokens of one model; `grade` says what it has learned from."""

    coefficients: tuple[float, ...]
    interval: Interval
    grade: str = OFFLINE

    @classmethod
    def for_model(cls, identity: str) -> Estimator:
        """Return the offline estimator of a model such as `gpt:yandexgpt-lite/latest`; any name has one."""
        return cls.of(family_of(identity))

    @classmethod
    def of(cls, family: Family) -> Estimator:
        """Return the offline estimator of a family."""
        return cls(family.coefficients, Interval(family.share, family.factors, family.factors))

    def input_tokens(self, request: Request) -> float:
        """Return how many input tokens a request is expected to be billed, the template's included."""
        return max(1.0, self.total(count_request(request)))

    def text_tokens(self, text: str) -> float:
        """Return how many tokens a text by itself is expected to have; none where it is empty."""
        return max(0.0, self.total(count_text(text))) if text else 0.0

    def completion_tokens(self, text: str) -> float:
        """Return how many completion tokens an answer of this text is expected to be billed."""
        return self.text_tokens(text) + UNSEEN_TOKENS

    def total(self, counts: Counts) -> float:
        """Return the expected tokens of the counts of one request, or of the sums over many."""
        return math.fsum(map(float.__mul__, self.coefficients, map(float, counts)))
