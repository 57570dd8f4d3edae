"""Samples of an input, stratified by length: drawn in one pass, in memory that does not grow with the input.

Pure statistics: no request is sent here. Sources: Vitter 1985 (algorithm R) for reservoirs; Cochran, Sampling
Techniques, 3rd edition, 6.12 (the combined ratio estimator and its variance).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
# Within a stratum the longest row is at most twice as long as the shortest.
_STRATA_PER_DOUBLING = 1
# Reservoirs may hold so many times the sample together before the largest are thinned out.
_HELD_TIMES = 4
_CONFIDENCE = 0.95
# Student's t at 97.5 % where the expansion below is not good enough.
_T_SMALL = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def stratum_of(length: int) -> int:
    """Return the stratum of a length above 0: one to a doubling, so some twenty in all."""
    return int(math.log2(max(1, length)) * _STRATA_PER_DOUBLING)


def t_value(freedom: int) -> float:
    """Return how many standard errors to each side make a 95 % interval (Abramowitz and Stegun, 26.7.5)."""
    if freedom < 1:
        return math.inf
    if freedom in _T_SMALL:
        return _T_SMALL[freedom]
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


@dataclass(slots=True)
class Stratum(Generic[ItemT]):
    """Rows of about one length: how many there are, what they weigh together, and some, all equally likely."""

    rows: int = 0
    weight: float = 0.0
    capacity: int = 0
    items: list[ItemT] = field(default_factory=list)


class Reservoirs(Generic[ItemT]):
    """Draws a stratified sample of about `size` rows; strata are of any hashable name.

    A row's weight is what the sample is to be proportional to: 1 for rows, tokens for tokens. Where the standard
    deviation of what is measured grows with the weight, that is Neyman's allocation.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._random = random.Random(seed)
        self._strata: dict[tuple[str, int], Stratum[ItemT]] = {}
        self._held = 0

    def add(self, name: tuple[str, int], item: ItemT, weight: float) -> None:
        """Take a row."""
        stratum = self._strata.get(name)
        if stratum is None:
            stratum = self._strata[name] = Stratum(capacity=self._size)
        stratum.rows += 1
        stratum.weight += weight
        if len(stratum.items) < min(stratum.rows, stratum.capacity):
            stratum.items.append(item)
            self._held += 1
            if self._held > _HELD_TIMES * self._size + 2 * len(self._strata):
                self._thin()
        elif (place := self._random.randrange(stratum.rows)) < len(stratum.items):
            stratum.items[place] = item

    def _thin(self) -> None:
        """Keep twice what each stratum's share would be; a part of a random sample is a random sample."""
        total = sum(stratum.weight for stratum in self._strata.values()) or 1.0
        for stratum in self._strata.values():
            wanted = max(2, math.ceil(2 * self._size * stratum.weight / total))
            stratum.capacity = min(stratum.capacity, wanted, len(stratum.items))
            if stratum.capacity < len(stratum.items):
                stratum.items = self._random.sample(stratum.items, stratum.capacity)
        self._held = sum(len(stratum.items) for stratum in self._strata.values())

    def drawn(self, least: int) -> dict[tuple[str, int], Stratum[ItemT]]:
        """Return the strata with the rows that were drawn, `least` of each where there are so many.

        With `least` 0 they are `size` in all, where there are so many; else they may be a few more.
        """
        shares = _allocated(self._strata, self._size, least)
        return {
            name: Stratum(
                stratum.rows, stratum.weight, share, self._random.sample(stratum.items, share) if share else []
            )
            for (name, stratum), share in zip(self._strata.items(), shares, strict=True)
        }


def _allocated(strata: Mapping[tuple[str, int], Stratum[ItemT]], size: int, least: int) -> list[int]:
    """Return how many rows of each stratum make a sample: by weight, largest remainders first."""
    known = list(strata.values())
    total = sum(stratum.weight for stratum in known) or 1.0
    exact = [size * stratum.weight / total for stratum in known]
    shares = [min(len(stratum.items), max(least, int(share))) for stratum, share in zip(known, exact, strict=True)]
    by_remainder = sorted(range(len(known)), key=lambda index: int(exact[index]) - exact[index])
    while sum(shares) < size:
        open_ones = [index for index in by_remainder if shares[index] < len(known[index].items)]
        if not open_ones:
            break
        for index in open_ones[: size - sum(shares)]:
            shares[index] += 1
    return shares


@dataclass(frozen=True, slots=True)
class Measured:
    """A stratum with its measured rows: pairs of what was expected and what was found."""

    rows: int
    pairs: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class RatioEstimate:
    """How many times the expectation the truth is, with the standard error of that, from so many pairs.

    `freedom` are the degrees of freedom of that error.
    """

    ratio: float
    error: float
    freedom: int
    pairs: int

    @property
    def half_width(self) -> float:
        """Return the half of the 95 % interval of the ratio."""
        return self.error * t_value(self.freedom) if self.error else 0.0


def ratio_estimate(strata: Sequence[Measured]) -> RatioEstimate:
    """Return the combined ratio of found to expected; raises `ValueError` where nothing was measured.

    Strata without a pair count as if they were like the others. The finite population correction is made: where
    every row was measured, there is no error left.
    """
    used = [stratum for stratum in strata if stratum.pairs]
    expected = sum(stratum.rows * _mean([pair[0] for pair in stratum.pairs]) for stratum in used)
    if not used or expected <= 0:
        raise ValueError("nothing was measured")
    found = sum(stratum.rows * _mean([pair[1] for pair in stratum.pairs]) for stratum in used)
    ratio = found / expected
    variances = [_variance(stratum, ratio) for stratum in used]
    pairs = sum(len(stratum.pairs) for stratum in used)
    if pairs == 1 and used[0].rows > 1:  # one alone says nothing of how far the others are from it
        return RatioEstimate(ratio, ratio, 1, pairs)
    return RatioEstimate(ratio, math.sqrt(sum(variances)) / expected, _freedom(used, variances), pairs)


def _freedom(strata: Sequence[Measured], variances: Sequence[float]) -> int:
    """Return the degrees of freedom of a sum of variances (Satterthwaite 1946; Cochran 5.4): at least one."""
    weighted = zip(strata, variances, strict=True)
    spread = math.fsum(variance**2 / max(1, len(stratum.pairs) - 1) for stratum, variance in weighted)
    return max(1, int(math.fsum(variances) ** 2 / spread)) if spread else 1


def _variance(stratum: Measured, ratio: float) -> float:
    """Return the variance of a stratum's estimated total; one pair alone is judged by its own residual."""
    count = len(stratum.pairs)
    if count >= stratum.rows:
        return 0.0
    residuals = [found - ratio * expected for expected, found in stratum.pairs]
    mean = _mean(residuals) if count > 1 else 0.0
    spread = sum((residual - mean) ** 2 for residual in residuals) / max(1, count - 1)
    return stratum.rows**2 * (1 - count / stratum.rows) * spread / count


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@dataclass(slots=True)
class Running:
    """Mean and variance of a stream of numbers (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, value: float) -> None:
        """Take a number."""
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self._squares += step * (value - self.mean)

    @property
    def half_width(self) -> float:
        """Return the half of the 95 % interval of the mean; infinite for fewer than two numbers."""
        if self.count < 2:
            return math.inf
        return t_value(self.count - 1) * math.sqrt(self._squares / (self.count - 1) / self.count)
