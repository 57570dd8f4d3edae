"""Fits the token estimator to recorded pairs, and says how far it is off on pairs that it was not fitted to.

By hand: `python -m tests.fitting.tokens ../shared/data/token-counts.jsonl`; the coefficients that it prints
stand in `batch/tokens/families.py`.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson

from batch.tokens.families import SHARE
from batch.tokens.features import NAMES, Counts
from batch.tokens.regression import Ridge

from .pairs import Pair, pairs_of

# What is expected before any pair is seen, and how strongly (a standard deviation): a word is about one token and
# its letters make it more, a digit or a mark is one. The templates of Qwen and Gemma are public.
_TEXT = {
    "latin": (0.04, 0.04), "words": (0.85, 0.2), "digits": (1.0, 0.15), "marks": (1.0, 0.15), "lines": (0.6, 0.4),
    "two_bytes": (1.0, 0.3), "three_bytes": (1.0, 0.3), "json": (0.2, 0.1),
}  # fmt: skip
PRIORS = {
    "yandexgpt": _TEXT | {
        "requests": (8.0, 3.0), "messages": (4.0, 1.0), "cyrillic": (0.03, 0.04), "four_bytes": (2.0, 0.5),
        "tools": (5.0, 10.0),
    },
    "qwen": _TEXT | {
        "requests": (3.0, 1.0), "messages": (5.0, 0.3), "cyrillic": (0.27, 0.1), "four_bytes": (1.5, 0.5),
        "tools": (90.0, 40.0),
    },
}  # fmt: skip
# Shorter texts are mostly template or chance; the error is stated for these.
LEAST_TOKENS = 20


def fit(pairs: Sequence[Pair], family: str) -> tuple[float, ...]:
    """Return the coefficients that the family's pairs give, rounded as they are written down."""
    prior = [PRIORS[family][name] for name in NAMES]
    ridge = Ridge([1 / doubt**2 for _, doubt in prior])
    alike = Counter((pair.group, pair.kind) for pair in pairs if pair.family == family)
    for pair in pairs:
        counts, tokens = pair.fitted
        if pair.family == family and tokens > 0:
            # Chance adds up with the tokens, every kind of text is off by a twentieth of its own, and what is
            # said again in the same conversation teaches less each time.
            weight = 1 / (1 + 0.2 * tokens + (0.05 * tokens) ** 2) / math.sqrt(alike[pair.group, pair.kind])
            off = tokens - sum(mean * count for (mean, _), count in zip(prior, counts, strict=True))
            ridge.add([float(count) for count in counts], off, weight)
    return tuple(round(mean + more, 3) for (mean, _), more in zip(prior, ridge.solve(), strict=True))


def estimate(coefficients: Sequence[float], counts: Counts) -> float:
    """Return the tokens that the coefficients expect."""
    return sum(each * count for each, count in zip(coefficients, counts, strict=True))


def left_out(pairs: Sequence[Pair], family: str) -> list[tuple[Pair, float]]:
    """Return the family's pairs, each with the estimate of a fit that saw nothing of its group."""
    judged = []
    for group in dict.fromkeys(pair.group for pair in pairs if pair.family == family):
        coefficients = fit([pair for pair in pairs if pair.group != group], family)
        judged += [
            (pair, estimate(coefficients, pair.counts))
            for pair in pairs
            if pair.family == family and pair.group == group
        ]
    return judged


def median_error(judged: Sequence[tuple[Pair, float]], kind: str) -> float:
    """Return the median relative error of the pairs of one kind that are long enough."""
    return statistics.median(
        abs(expected / pair.tokens - 1)
        for pair, expected in judged
        if pair.kind == kind and pair.tokens >= LEAST_TOKENS
    )


def held(judged: Sequence[tuple[Pair, float]], factors: tuple[float, float]) -> float:
    """Return the share of long enough texts whose truth the factors hold; each group counts as one."""
    groups: dict[str, list[bool]] = {}
    for pair, expected in judged:
        if pair.tokens >= LEAST_TOKENS and pair.kind != "tools":
            within = factors[0] * expected <= pair.tokens <= factors[1] * expected
            groups.setdefault(pair.group, []).append(within)
    return statistics.fmean(statistics.fmean(within) for within in groups.values())


def half_width(judged: Sequence[tuple[Pair, float]], share: float = SHARE) -> float:
    """Return w such that exp(-w) and exp(w) hold `share` of the groups' and of one more group's truth."""
    worst: dict[str, list[float]] = {}
    for pair, expected in judged:
        if pair.tokens >= LEAST_TOKENS and pair.kind != "tools":
            worst.setdefault(pair.group, []).append(abs(math.log(pair.tokens / expected)))
    errors = sorted(statistics.fmean(group) for group in worst.values())
    return errors[min(len(errors), math.ceil(share * (len(errors) + 1))) - 1]


def main() -> None:
    """Print coefficients and errors of every family that has enough pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    pairs = pairs_of([orjson.loads(line) for line in parser.parse_args().pairs.read_bytes().splitlines()])
    for family in PRIORS:
        coefficients = fit(pairs, family)
        print(f"\n{family}: {coefficients}")
        print("  ", ", ".join(f"{name} {value:g}" for name, value in zip(NAMES, coefficients, strict=True)))
        judged = left_out(pairs, family)
        for pair, expected in judged:
            error = 100 * (expected / pair.tokens - 1)
            print(f"  {pair.kind:<6} {pair.tokens:>4} {expected:>6.1f} {error:>+6.1f} %  {pair.shown[:50]!r}")
        for kind in ("input", "answer"):
            print(f"  median error of {kind}s of {LEAST_TOKENS} tokens and more: {median_error(judged, kind):.1%}")
        width = half_width(judged)
        print(f"  {SHARE:.0%} of groups are within {math.exp(-width):.3f} to {math.exp(width):.3f}")


if __name__ == "__main__":
    main()
