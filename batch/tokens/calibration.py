"""Learning from answered rows: a regression that starts from the offline model and judges itself as it goes.

Each row is predicted before it is learned from, and those predictions' errors make the interval: the estimator
was never shown what it is judged by. Memory: a matrix of fourteen by fourteen, and a sample of the errors.
"""

from __future__ import annotations

import math
import random

from batch.records import Request
from batch.tokens.families import SHARE, Family, family_of
from batch.tokens.features import Counts, count_request
from batch.tokens.model import Estimator, Interval
from batch.tokens.regression import Ridge

# How far a family's coefficients may be off, in their order: standard deviations of a normal prior.
_DOUBTS = (6.0, 2.0, 0.06, 0.1, 0.4, 0.4, 0.4, 0.5, 0.5, 0.5, 1.0, 0.15, 40.0)
_NO_DOUBT = 1e-9
_FIRST_JUDGED = 16  # rows that are learned from before predictions count as errors
_ENOUGH_JUDGED = 30  # errors that make an interval
_SAMPLE = 1000
_REFIT = 1.1  # the regression is solved again when there are so many times the rows
_DEVIATIONS_80 = 1.2816
# The same text is not always billed the same (recorded: 169 and 170 for one request).
_LEAST = 0.005


class Calibration:
    """Takes answered rows of one model and gives the estimator that has learned from them."""

    def __init__(self, identity: str) -> None:
        """Begin with what is known offline of a model such as `gpt:yandexgpt-lite/latest`."""
        family: Family = family_of(identity)
        self._offline = Estimator.of(family)
        # The first coefficient scales the offline estimate and is free; so errors add up to nothing, as the
        # weights are the inverse of that estimate. The others are differences from the family's coefficients.
        self._ridge = Ridge([_NO_DOUBT, *(1 / doubt**2 for doubt in _DOUBTS)])
        self._errors = _Errors()
        self._current = family.coefficients
        self._solve_at = _FIRST_JUDGED
        self.rows = 0

    def add(self, request: Request, input_tokens: int) -> None:
        """Learn what a request was billed."""
        self.add_counts(count_request(request), input_tokens)

    def add_counts(self, counts: Counts, input_tokens: int) -> None:
        """Learn what a request with these counts was billed; a count below 1 states nothing."""
        if input_tokens < 1:
            return
        if self.rows >= _FIRST_JUDGED:
            self._errors.add(_dot(self._current, counts), input_tokens)
        offline = max(1.0, self._offline.total(counts))
        self._ridge.add([offline, *map(float, counts)], input_tokens - offline, 1 / offline)
        self.rows += 1
        if self.rows >= self._solve_at:
            self._solve_at = math.ceil(self.rows * _REFIT)
            self._current = self._solved()

    def estimator(self) -> Estimator:
        """Return the estimator that has learned from all rows so far; the offline one where there are none."""
        if not self.rows:
            return self._offline
        enough = self._errors.count >= _ENOUGH_JUDGED
        interval = self._errors.interval() if enough else self._offline.interval
        return Estimator(self._solved(), interval, f"calibrated on {self.rows} rows")

    def _solved(self) -> tuple[float, ...]:
        scale, *differences = self._ridge.solve()
        known = self._offline.coefficients
        return tuple(own * (1 + scale) + more for own, more in zip(known, differences, strict=True))


class _Errors:
    """Predictions and truths: their sums, and a sample of the ratios (algorithm R) with a fixed seed."""

    def __init__(self) -> None:
        self.count = 0
        self._predicted = 0.0
        self._squares = 0.0
        self._ratios: list[float] = []
        self._random = random.Random(0)

    def add(self, predicted: float, truth: int) -> None:
        predicted = max(1.0, predicted)
        self.count += 1
        self._predicted += predicted
        self._squares += (truth - predicted) ** 2
        if len(self._ratios) < _SAMPLE:
            self._ratios.append(truth / predicted)
        elif (place := self._random.randrange(self.count)) < _SAMPLE:
            self._ratios[place] = truth / predicted

    def interval(self) -> Interval:
        """Return where the truth of the next row, and of the next million, is to be expected."""
        ratios, size = sorted(self._ratios), len(self._ratios)
        tail = (1 - SHARE) / 2
        # Of n errors and a new one, each is as likely to be the k-th: the ranks are of n + 1.
        low = ratios[max(0, math.floor(tail * (size + 1)) - 1)]
        high = ratios[min(size - 1, math.ceil((1 - tail) * (size + 1)) - 1)]
        spread = math.sqrt(self._squares / self.count) / (self._predicted / self.count)
        doubt = max(_LEAST, _DEVIATIONS_80 * spread / math.sqrt(self.count))
        return Interval(SHARE, (min(low, 1.0), max(high, 1.0)), (max(0.0, 1 - doubt), 1 + doubt), spread)


def _dot(coefficients: tuple[float, ...], counts: Counts) -> float:
    return sum(map(float.__mul__, coefficients, map(float, counts)))
