"""How long a generation takes: a distribution of seconds, written as text.

Knows nothing of clocks: it draws a number, and others wait.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

_FORMS = (
    'a latency is "0", "fixed:SECONDS", "uniform:LOW-HIGH" or "lognormal:MEDIAN,SIGMA", '
    'for example "fixed:0.3", "uniform:0.2-1.5" or "lognormal:0.8,0.5"'
)


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of seconds.

    `first` and `second` are: fixed, the seconds and unused; uniform, the bounds; lognormal,
    the median in seconds and sigma, the spread of the logarithm.
    """

    kind: Literal["fixed", "uniform", "lognormal"] = "fixed"
    first: float = 0.0
    second: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Read "0", "fixed:0.3", "uniform:0.2-1.5" or "lognormal:0.8,0.5".

        Raises:
            ValueError: a sentence that says which forms there are.
        """
        kind, colon, values = text.strip().partition(":")
        try:
            if not colon:
                return cls("fixed", _seconds(kind))
            if kind == "fixed":
                return cls("fixed", _seconds(values))
            if kind == "uniform":
                low, high = (_seconds(value) for value in values.split("-"))
                if low <= high:
                    return cls("uniform", low, high)
            elif kind == "lognormal":
                median, sigma = (_seconds(value) for value in values.split(","))
                if median > 0:
                    return cls("lognormal", median, sigma)
        except ValueError:
            pass
        raise ValueError(f"{text!r} is not a latency: {_FORMS}")

    def draw(self, source: random.Random) -> float:
        """Seconds of one generation."""
        if self.kind == "uniform":
            return source.uniform(self.first, self.second)
        if self.kind == "lognormal":
            return source.lognormvariate(math.log(self.first), self.second)
        return self.first


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError
    return value
