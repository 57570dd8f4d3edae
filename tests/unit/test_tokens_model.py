"""The offline estimate, held against recorded counts that it was not fitted to."""

from __future__ import annotations

import math
import statistics

import pytest
from fitting.pairs import Pair, pairs_of
from fitting.tokens import LEAST_TOKENS, PRIORS, fit, half_width, held, left_out, median_error
from reference import recorded

from batch.records import Message, Options, Request
from batch.tokens import UNSEEN_TOKENS, Estimator, Interval
from batch.tokens.families import FAMILIES, SHARE, UNKNOWN, family_of


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return pairs_of(recorded("token-counts.jsonl"))


def test_input_tokens_are_within_a_tenth(pairs: list[Pair]) -> None:
    """On conversations left out of the fit, the median error of Russian and English inputs is at most 10 %."""
    judged = [each for family in PRIORS for each in left_out(pairs, family)]
    assert sum(pair.kind == "input" and pair.tokens >= LEAST_TOKENS for pair, _ in judged) >= 12
    assert median_error(judged, "input") <= 0.10
    assert median_error(left_out(pairs, "yandexgpt"), "input") <= 0.10


def test_answers_are_within_a_tenth(pairs: list[Pair]) -> None:
    """Plain texts of answers left out of the fit are off by less than a tenth, in the median of each language."""
    judged = left_out(pairs, "yandexgpt")
    russian = [each for each in judged if each[0].counts[3] > each[0].counts[2]]
    english = [each for each in judged if each not in russian]
    assert median_error(russian, "answer") <= 0.10
    assert median_error(english, "answer") <= 0.10


@pytest.mark.parametrize("family", PRIORS)
def test_the_stated_interval_holds_what_it_claims(family: str, pairs: list[Pair]) -> None:
    """The shipped interval holds the truth of at least the share that it claims, on pairs left out of the fit."""
    assert held(left_out(pairs, family), FAMILIES[family].factors) >= FAMILIES[family].share


def test_an_interval_from_other_conversations_holds(pairs: list[Pair]) -> None:
    """The rule by which intervals are made holds for groups that neither fit nor interval has seen."""
    judged = left_out(pairs, "yandexgpt")
    groups = {pair.group for pair, _ in judged if pair.tokens >= LEAST_TOKENS and pair.kind != "tools"}
    shares = []
    for group in groups:
        width = half_width([each for each in judged if each[0].group != group])
        own = [each for each in judged if each[0].group == group]
        shares.append(held(own, (math.exp(-width), math.exp(width))))
    assert statistics.fmean(shares) >= SHARE


@pytest.mark.parametrize("family", PRIORS)
def test_the_shipped_coefficients_are_the_fit(family: str, pairs: list[Pair]) -> None:
    """What is written down is what the command prints, and the interval is no narrower than its errors."""
    assert FAMILIES[family].coefficients == fit(pairs, family)
    width = half_width(left_out(pairs, family))
    low, high = FAMILIES[family].factors
    assert low <= math.exp(-width)
    assert high >= math.exp(width)


def test_recorded_requests_are_estimated_whole(pairs: list[Pair]) -> None:
    """The estimator of each recorded model, tools included, is within 0.75 to 1.34 of the bill."""
    for pair in pairs:
        if pair.request is not None:
            expected = Estimator.for_model(f"gpt:{pair.request.model}").input_tokens(pair.request)
            assert 0.75 < expected / pair.tokens < 1.34, pair


@pytest.mark.parametrize(
    ("identity", "family"),
    [
        ("gpt:yandexgpt-lite/latest", FAMILIES["yandexgpt"]),
        ("gpt:yandexgpt/rc", FAMILIES["yandexgpt"]),
        ("gpt:qwen3-235b-a22b-fp8/latest", FAMILIES["qwen"]),
        ("gpt:gemma-3-27b-it/latest", FAMILIES["gemma"]),
        ("gpt:llama-lite/latest", FAMILIES["llama"]),
        ("ds:bt1abc", UNKNOWN),
        ("nonsense", UNKNOWN),
    ],
)
def test_every_model_has_a_family(identity: str, family: object) -> None:
    """A model is known by the beginning of its name; of an unknown one more is doubted."""
    assert family_of(identity) is family
    assert UNKNOWN.factors[0] < min(each.factors[0] for each in FAMILIES.values())
    assert UNKNOWN.factors[1] > max(each.factors[1] for each in FAMILIES.values())


def test_estimates_of_texts() -> None:
    """A text by itself has no template, an empty one no tokens, and an answer one token beyond its text."""
    estimator = Estimator.for_model("gpt:yandexgpt/latest")
    assert estimator.grade == "offline"
    assert estimator.text_tokens("") == 0
    assert 3 < estimator.text_tokens("Три слова тут") < 5
    assert estimator.completion_tokens("ping") == estimator.text_tokens("ping") + UNSEEN_TOKENS
    request = Request("yandexgpt", (Message("user", "ping"),), Options())
    assert estimator.input_tokens(request) - estimator.text_tokens("ping") == pytest.approx(12, abs=2)


def test_totals_of_own_errors_are_surer_than_rows() -> None:
    """Adding up shrinks what is each row's own, and never what all rows share."""
    interval = Interval(0.8, (0.8, 1.2), (0.99, 1.01), spread=0.1)
    widths = [high - low for low, high in map(interval.of_total, (1, 100, 10_000, 10**9))]
    assert widths == sorted(widths, reverse=True)
    assert interval.of_total(1) == pytest.approx((0.87, 1.13), abs=0.005)
    assert interval.of_total(10**9) == pytest.approx((0.99, 1.01), abs=1e-4)
    offline = Estimator.for_model("gpt:yandexgpt/latest").interval
    assert offline.of_total(10**6) == pytest.approx(offline.row)
