"""From what a pass has counted to what a run would take: tokens in and out, and whether the caps suffice.

Pure: nothing is read and nobody is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from batch.accounts import CONTEXT_TOKENS, UNSEEN_TOKENS, Accounts
from batch.budget import Sum, plain
from batch.plan.estimation.estimates import (
    ASSUMED,
    CALIBRATED,
    EARLIER,
    GIVEN,
    OFFLINE,
    PILOT,
    SAMPLED,
    CapOutlook,
    Cost,
    Mode,
    ModelTokens,
    Span,
    Tokens,
)
from batch.plan.estimation.learning import ENOUGH_ANSWERS, Learned
from batch.plan.estimation.sampling import RatioEstimate
from batch.plan.estimation.surveying import Survey
from batch.plan.reckoning import USUAL_ANSWER
from batch.settings import Settings
from batch.tokens import Share

# Answers where nothing is known of them: a label or a short sentence; two paragraphs; and the longest that the
# service long allowed (`maxTokens` was at most 2,000). They are assumptions, and said to be.
SHORT_ANSWER, LONG_ANSWER = 50.0, 2000.0


@dataclass(frozen=True, slots=True)
class Basis:
    """What an estimate rests on besides the input itself.

    `ratios` are by model as the input names it; `answer_tokens` is the user's word; `piloted` rows were sent for
    this estimate, and `insisted` says that earlier answers are to be used however few they are.
    """

    settings: Settings
    accounts: Accounts
    learned: Learned
    ratios: Mapping[str, RatioEstimate] = field(default_factory=dict)
    answer_tokens: int | None = None
    piloted: int = 0
    insisted: bool = False

    @property
    def answers_known(self) -> bool:
        """Return whether earlier answers tell how long answers are."""
        known = self.learned.rows
        return known >= (2 if self.piloted or self.insisted else ENOUGH_ANSWERS)


@dataclass(frozen=True, slots=True)
class _Known:
    """The input tokens of one model: expected, factors low and high, whether these may be added as squares."""

    expected: float
    low: float
    high: float
    grade: str
    basis: str

    @property
    def span(self) -> Span:
        return Span(round(self.low), round(self.expected), round(self.high))


def project_input(survey: Survey, basis: Basis) -> tuple[dict[str, Span], Tokens]:
    """Return the input tokens by model, and in all."""
    known = {model: _input(model, share, basis) for model, share in survey.parts.items() if share.rows}
    if not known:
        return {}, Tokens(Span(0, 0, 0), OFFLINE, "nothing to send")
    items = list(known.values())
    expected = sum(item.expected for item in items)
    if all(item.grade == SAMPLED for item in items):  # errors of separate samples: their squares add up
        below = math.hypot(*(item.expected - item.low for item in items))
        above = math.hypot(*(item.high - item.expected for item in items))
    else:
        below = sum(item.expected - item.low for item in items)
        above = sum(item.high - item.expected for item in items)
    weakest = max(items, key=lambda item: (OFFLINE, CALIBRATED, SAMPLED)[::-1].index(item.grade))
    span = Span(max(0, round(expected - below)), round(expected), round(expected + above))
    return {model: item.span for model, item in known.items()}, Tokens(span, weakest.grade, weakest.basis)


def _input(model: str, share: Share, basis: Basis) -> _Known:
    estimator = basis.learned.estimator(basis.accounts.identity(model))
    total = max(float(share.rows), estimator.total(share.counts))
    ratio = basis.ratios.get(model)
    if ratio is not None:
        counted = sum(item.pairs for item in basis.ratios.values())
        return _Known(
            total * ratio.ratio,
            max(0.0, total * (ratio.ratio - ratio.half_width)),
            total * (ratio.ratio + ratio.half_width),
            SAMPLED,
            f"{counted:,} rows, stratified by length, were counted by the service's tokenizer; 95 % interval",
        )
    low, high = estimator.interval.of_total(share.rows)
    likely = f"{100 * estimator.interval.share:.0f} % interval"
    if estimator.grade == OFFLINE:
        return _Known(
            total, total * low, total * high, OFFLINE, f"from the texts alone, no request sent; {likely}"
        )
    return _Known(total, total * low, total * high, CALIBRATED, f"{estimator.grade} answered before; {likely}")


def answer_lengths(model: str, basis: Basis) -> tuple[float, float, float]:
    """Return the completion tokens of a row, low, expected and high, before any cap."""
    if basis.answer_tokens is not None:
        return (float(basis.answer_tokens),) * 3
    if not basis.answers_known:
        return SHORT_ANSWER, USUAL_ANSWER, math.inf
    known = basis.learned.lengths(basis.accounts.identity(model)).tokens
    return max(0.0, known.mean - known.half_width), known.mean, known.mean + known.half_width


def project_answers(survey: Survey, basis: Basis) -> tuple[dict[str, Span], Tokens]:
    """Return the completion tokens by model, and in all, with the assumption spelled out."""
    spans = {}
    for model, share in survey.parts.items():
        low, expected, high = (round(_capped(share, each)) for each in answer_lengths(model, basis))
        spans[model] = Span(min(low, expected), expected, max(high, expected))
    total = sum_of(spans.values())
    return spans, Tokens(total, *_answers_basis(basis))


def _capped(share: Share, tokens: float) -> float:
    """Return the tokens of answers that are so long where nobody capped them; infinite: as long as is allowed."""
    free = (share.rows - share.capped) * min(tokens, LONG_ANSWER if math.isinf(tokens) else tokens)
    return free + (min(tokens * share.capped, share.cap_tokens) if share.capped else 0)


def _answers_basis(basis: Basis) -> tuple[str, str]:
    if basis.answer_tokens is not None:
        return GIVEN, f"--answer-tokens {basis.answer_tokens:,} for each row"
    if not basis.answers_known:
        cap = basis.settings.max_tokens
        longest = f"--max-tokens {cap:,}" if cap is not None else f"{LONG_ANSWER:,.0f}, or a row's own maxTokens"
        return ASSUMED, (
            f"assumed, nothing was measured: an answer has {SHORT_ANSWER:.0f} tokens (low), {USUAL_ANSWER:.0f} "
            f"(expected), {longest} (high), and never more than maxTokens allows"
        )
    tokens = basis.learned.pooled.tokens
    half = tokens.half_width
    spread = (
        f"{tokens.mean:,.1f} tokens on average, ±{half:,.1f} with 95 %" if math.isfinite(half) else "one answer"
    )
    where = " and ".join(basis.learned.sources)
    if basis.piloted:
        more = f", {tokens.count:,} answers with those of earlier" if tokens.count > basis.piloted else ""
        return PILOT, f"a pilot of {basis.piloted:,} rows{more}: {spread}"
    return EARLIER, f"{tokens.count:,} answers in {where}: {spread}"


def by_model(survey: Survey, given: Mapping[str, Span], taken: Mapping[str, Span]) -> list[ModelTokens]:
    """Return what each model would be asked, and the most that it could come to."""
    lines = []
    for model, share in survey.parts.items():
        answers = share.cap_tokens + (share.rows - share.capped) * CONTEXT_TOKENS + share.rows * UNSEEN_TOKENS
        lines.append(ModelTokens(model, share.rows, given[model], taken[model], share.bound, answers))
    return lines


def project_caps(models: Sequence[ModelTokens], mode: Mode, accounts: Accounts, spent: Sum) -> list[CapOutlook]:
    """Return how far the caps on tokens and money reach, after what earlier runs have spent."""
    rows, caps, outlooks = sum(item.rows for item in models), accounts.caps, []
    if caps.tokens is not None:
        total = sum_of([*(item.input for item in models), *(item.completion for item in models)])
        most = sum(item.most_input + item.most_completion for item in models)
        left = max(0, caps.tokens - spent.tokens)
        fits = _fitting(
            Decimal(left), rows, tuple(Decimal(n) for n in (total.low, total.expected, total.high, most))
        )
        outlooks.append(CapOutlook(f"--max-total-tokens {caps.tokens:,}", f"{left:,} tokens", fits, rows))
    cost = next((item for item in mode.costs if caps.cost and item.currency == caps.cost.currency), None)
    if caps.cost is not None and (cost is not None or not rows):
        money = max(Decimal(0), caps.cost.amount - spent.cost)
        needs = _needs(cost, rows, sum(mode.rows.values())) if cost else (Decimal(0),) * 4
        fits = _fitting(money, rows, needs)
        outlooks.append(CapOutlook(f"--max-cost {caps.cost}", f"{plain(money)} {caps.cost.currency}", fits, rows))
    return outlooks


def _needs(cost: Cost, rows: int, sent: int) -> tuple[Decimal, ...]:
    """Return what all rows need where the cost is that of the rows that would be sent in time."""
    return (*(amount * rows / sent for amount in (cost.low, cost.expected, cost.high)), cost.most)


def _fitting(left: Decimal, rows: int, needs: tuple[Decimal, ...]) -> Span:
    """Return how many rows fit under a cap; the last one's worst case has to fit too, as a run demands."""
    *expected, most = needs
    worst = most / rows if rows else Decimal(0)
    high, middle, low = (_rows_within(left, rows, total, worst) for total in expected)
    return Span(low, middle, high)


def _rows_within(left: Decimal, rows: int, total: Decimal, worst: Decimal) -> int:
    if not rows or left < worst:
        return 0
    if not total:
        return rows
    return min(rows, int((left - worst) * rows / total) + 1)


def sum_of(spans: Iterable[Span]) -> Span:
    """Return spans added up."""
    low, expected, high = 0, 0, 0
    for span in spans:
        low, expected, high = low + span.low, expected + span.expected, high + span.high
    return Span(low, expected, high)
