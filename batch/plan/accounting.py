"""What a job may spend, and what it has spent: caps, prices and the journal's attempts put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from batch import pricing
from batch.accounts import Accounts
from batch.budget import Caps
from batch.errors import UsageError
from batch.events import ModeShare, Spending
from batch.journal import ASYNC, SYNC, Spent
from batch.jsontext import Json
from batch.parsing import Money
from batch.pricing import Price
from batch.settings import Settings

ANSWERED, UNKNOWN = "answered", "unknown"


def caps_of(settings: Settings) -> Caps:
    """Return what a job may spend in all its runs."""
    return Caps(settings.max_cost, settings.max_total_tokens)


def open_accounts(settings: Settings, identity: Callable[[str], str]) -> Accounts:
    """Return the accounts of a run; raises `UsageError` where a cap that was set could not be held.

    `identity` names models without the folder that pays.
    """
    caps, table = caps_of(settings), pricing.load(settings)
    if caps.any and settings.max_tokens is None:
        flag = "--max-cost" if caps.cost else "--max-total-tokens"
        raise UsageError(
            f"{flag} needs to know how long an answer can get: set --max-tokens too.",
            hint="Such as --max-tokens 2000. It is the worst case that is set aside before a request leaves.",
        )
    if caps.cost is not None:
        for mode in (SYNC, ASYNC) if settings.mode == "both" else (settings.mode,):
            _check_price(settings, pricing.require(table, identity(settings.model), mode), caps.cost)
    return Accounts(table, identity, caps)


def _check_price(settings: Settings, price: Price, cap: Money) -> None:
    if price.currency != cap.currency:
        raise UsageError(
            f"--max-cost is in {cap.currency}, and the price of {settings.model} in {price.currency}.",
            hint="State the cap in the price list's currency, or a price in the cap's with --prices.",
        )


def price_facts(accounts: Accounts, model: str) -> Json:
    """Return the price of the run's model for the output's metadata, or None where it is unknown."""
    price = accounts.price(model, SYNC)
    if price is None:
        return None
    return {
        "model": price.model,
        "mode": price.mode,
        "input": f"{price.input:f}",
        "output": f"{price.output:f}",
        "currency": price.currency,
        "dated": price.dated,
        "source": price.source,
        "origin": price.origin,
    }


def spending(attempts: Iterable[Spent], answers: dict[str, Decimal]) -> list[Spending]:
    """Return what a job has spent in all its runs, a line for each currency; `answers` is the output's cost.

    What was asked while no price was known is counted in the line without a currency.
    """
    lines: dict[str, _Line] = defaultdict(_Line)
    for spent in attempts:
        if spent.cost is None:
            lines[""].unpriced += spent.attempts
            continue
        if not spent.cost.currency:
            continue  # nothing was charged, and nobody knew a price
        line, amount = lines[spent.cost.currency], spent.cost.amount
        if spent.outcome == ANSWERED:
            line.answered += amount
        elif spent.outcome in (UNKNOWN, None):
            line.unknown += amount
        else:
            line.lost += amount
    return [
        Spending(
            currency=currency,
            answers=answers.get(currency, Decimal(0)),
            lost=line.lost,
            unknown=line.unknown,
            total=line.answered + line.lost + line.unknown,
            unpriced=line.unpriced,
        )
        for currency, line in sorted(lines.items())
    ]


def mode_shares(attempts: Iterable[Spent]) -> list[ModeShare]:
    """Return what each mode did in all runs; its cost is None where a price or one currency is missing."""
    shares: dict[str, ModeShare] = {}
    for spent in attempts:
        known = shares.get(spent.mode) or ModeShare(spent.mode, 0, 0, 0, 0, Money(Decimal(0), ""))
        answered = spent.outcome == ANSWERED
        shares[spent.mode] = ModeShare(
            spent.mode,
            known.requests + spent.attempts,
            known.answered + spent.attempts * answered,
            known.input_tokens + spent.input_tokens * answered,
            known.completion_tokens + spent.output_tokens * answered,
            _added(known.cost, spent.cost),
        )
    return [shares[mode] for mode in sorted(shares)]


def _added(sum_: Money | None, more: Money | None) -> Money | None:
    if sum_ is None or more is None or (sum_.currency and more.currency and sum_.currency != more.currency):
        return None
    return Money(sum_.amount + more.amount, sum_.currency or more.currency)


@dataclass(slots=True)
class _Line:
    answered: Decimal = Decimal(0)
    lost: Decimal = Decimal(0)
    unknown: Decimal = Decimal(0)
    unpriced: int = 0
