"""Every mode with what it would cost and how long it would take, and both of them at once.

Pure: nothing is read and nobody is asked. Money is decimal; a model without a price makes its mode's cost unknown
and never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

from batch.accounts import Accounts
from batch.plan.estimation.estimates import Cost, Mode, ModelTokens
from batch.plan.estimation.projecting import Basis, sum_of
from batch.plan.estimation.schedule import (
    BOTH,
    FIRST_TOKEN_S,
    TOKENS_PER_S,
    BothModes,
    Deadline,
    Earlier,
    Quotas,
    scheduled,
)
from batch.pricing import ASYNC, MODES, SYNC, Price

# The output column `cost` has so many decimals, and each row is rounded up to them.
_MICROS = 1_000_000
_LEAST_MONEY = Fraction(1, _MICROS)


@dataclass(frozen=True, slots=True)
class Beginning:
    """When a run would begin, in seconds since 1970, and what it would find.

    `granted` is how many requests at once the service grants everybody; `earlier` by mode what was sent of late.
    """

    now: float
    deadline: Deadline
    granted: int
    earlier: Mapping[str, Earlier] = field(default_factory=dict)


def project_modes(models: Sequence[ModelTokens], basis: Basis, beginning: Beginning) -> list[Mode]:
    """Return each mode by itself with its cost and its hours; also both at once, where a run would do that."""
    rows = sum(item.rows for item in models)
    latencies = latency_of(models, basis)
    modes, quotas = [], {}
    for mode in MODES:
        earlier = beginning.earlier.get(mode, {})
        quotas[mode] = Quotas.of(basis.settings, mode, beginning.granted, earlier)
        schedule = scheduled(quotas[mode], rows, latencies, beginning.deadline, beginning.now)
        modes.append(Mode(mode, *_costs(mode, models, basis.accounts), schedule, {mode: rows}))
    if basis.settings.mode == BOTH and beginning.deadline.is_set:
        both = BothModes(quotas[ASYNC], quotas[SYNC])
        schedule, found = both.scheduled(rows, latencies, beginning.deadline, beginning.now)
        parts = {SYNC: found.at_once, ASYNC: found.deferred}
        modes.append(Mode(BOTH, *_shared([mode for mode in modes if parts[mode.mode]], parts), schedule, parts))
    return modes


def latency_of(models: Sequence[ModelTokens], basis: Basis) -> tuple[float, float, float]:
    """Return the seconds that an answer takes: as measured, else by its expected length."""
    measured = basis.learned.pooled.latency
    if basis.answers_known and measured.count > 1:
        return max(0.0, measured.mean - measured.half_width), measured.mean, measured.mean + measured.half_width
    rows = max(1, sum(item.rows for item in models))
    tokens = sum_of(item.completion for item in models)
    low, expected, high = (
        FIRST_TOKEN_S + count / rows / TOKENS_PER_S for count in (tokens.low, tokens.expected, tokens.high)
    )
    return low, expected, high


def latency_basis(models: Sequence[ModelTokens], basis: Basis) -> str:
    """Return where the seconds of an answer come from, as a sentence."""
    low, expected, high = latency_of(models, basis)
    if basis.answers_known and basis.learned.pooled.latency.count > 1:
        return f"{expected:,.2f} s, measured on {basis.learned.pooled.latency.count:,} rows"
    return (
        f"{expected:,.1f} s ({low:,.1f} to {high:,.1f}), assumed: {FIRST_TOKEN_S} s and "
        f"{TOKENS_PER_S:.0f} tokens a second"
    )


def _costs(mode: str, models: Sequence[ModelTokens], accounts: Accounts) -> tuple[list[Cost], list[str], str]:
    """Return what all rows cost in a mode by currency, the models without a price, and when prices were stated."""
    costs: list[Cost] = []
    unpriced, dates = [], set()
    for item in models:
        price = accounts.price(item.model, mode)
        if price is None:
            unpriced.append(item.model)
            continue
        dates.add(price.dated)
        costs.append(cost_of(item, price))
    return _by_currency(costs), unpriced, min(dates - {""}, default="")


def _shared(modes: Sequence[Mode], parts: Mapping[str, int]) -> tuple[list[Cost], list[str], str]:
    """Return the same for rows that are divided among modes; which rows each takes nobody knows beforehand.

    So the bound is that of the dearest mode for all of them.
    """
    costs = _by_currency(
        _scaled(cost, Fraction(parts[mode.mode], mode.rows[mode.mode])) for mode in modes for cost in mode.costs
    )
    whole = [cost for mode in modes for cost in mode.costs]
    bounded = [
        replace(cost, most=max(other.most for other in whole if other.currency == cost.currency)) for cost in costs
    ]
    unpriced = dict.fromkeys(model for mode in modes for model in mode.unpriced)
    return bounded, list(unpriced), min((mode.dated for mode in modes if mode.dated), default="")


def _scaled(cost: Cost, share: Fraction) -> Cost:
    low, expected, high = (
        (amount * share.numerator / share.denominator).quantize(Decimal(1) / _MICROS, ROUND_CEILING)
        for amount in (cost.low, cost.expected, cost.high)
    )
    return Cost(cost.currency, low, expected, high, cost.most)


def _by_currency(costs: Iterable[Cost]) -> list[Cost]:
    found: dict[str, Cost] = {}
    for cost in costs:
        known = found.get(cost.currency)
        found[cost.currency] = _added(known, cost) if known else cost
    return list(found.values())


def cost_of(item: ModelTokens, price: Price) -> Cost:
    """Return what one model's rows cost; each row is rounded up by itself, which is added on average."""
    usual, most = _rounding(price)
    given, taken = item.input, item.completion
    low, expected, high = (
        price.cost(tokens_in, tokens_out) + usual * item.rows
        for tokens_in, tokens_out in (
            (given.low, taken.low),
            (given.expected, taken.expected),
            (given.high, taken.high),
        )
    )
    bound = price.cost(item.most_input, item.most_completion) + most * item.rows
    return Cost(price.currency, low, min(expected, bound), min(high, bound), bound)


def _rounding(price: Price) -> tuple[Decimal, Decimal]:
    """Return what rounding a row up to whole units adds to it: on average, and at most.

    Where tokens count for whole units it adds nothing; for n-ths of one, the n remainders are equally likely.
    """
    per_token = [Fraction(figure) / 1000 for figure in (price.input, price.output)]
    grain = Fraction(price.unit) if price.unit else _LEAST_MONEY
    parts = math.lcm(*((figure / grain).denominator for figure in per_token))
    most = grain * (parts - 1) / parts
    if price.unit and (grain / _LEAST_MONEY).denominator != 1:
        most += _LEAST_MONEY
    return _decimal(most / 2), _decimal(most)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _added(one: Cost, other: Cost) -> Cost:
    return Cost(
        one.currency,
        one.low + other.low,
        one.expected + other.expected,
        one.high + other.high,
        one.most + other.most,
    )
