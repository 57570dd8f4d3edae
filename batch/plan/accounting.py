"""What a job may spend, and what it has spent: caps, prices and the journal's attempts put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from batch import pricing
from batch.accounts import Accounts
from batch.budget import Caps
from batch.errors import UsageError
from batch.events import Estimated, ModeShare, Needs, Spending
from batch.journal import ASYNC, SYNC, Spent
from batch.jsontext import Json
from batch.parsing import Money
from batch.pricing import Price
from batch.records import Answer, Request, Status
from batch.settings import Settings
from batch.tokens import Estimator

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


@dataclass(slots=True)
class Reckoning:
    """Told of every row of an output: how good the estimate was, and what the rows that are left need."""

    accounts: Accounts
    _estimators: dict[str, Estimator] = field(default_factory=dict)  # few: one per model
    _rows: int = 0
    _estimated: float = 0.0
    _stated: int = 0
    _answers: int = 0
    _left: int = 0
    _left_input: float = 0.0
    _at_most: Decimal = Decimal(0)
    _models: dict[str, tuple[int, float]] = field(default_factory=dict)
    _unpriced: bool = False

    def row(self, request: Request, answer: Answer) -> None:
        """Take in a row that can be sent, with what became of it."""
        if answer.status is Status.OK:
            if answer.input_tokens is not None and answer.completion_tokens is not None:
                self._rows += 1
                self._estimated += self._estimate(request)
                self._stated += answer.input_tokens
                self._answers += answer.completion_tokens
        elif answer.status is Status.PENDING:
            self._wanted(request)

    def _estimate(self, request: Request) -> float:
        estimator = self._estimators.get(request.model)
        if estimator is None:
            identity = self.accounts.identity(request.model)
            estimator = self._estimators[request.model] = Estimator.for_model(identity)
        return estimator.input_tokens(request)

    def _wanted(self, request: Request) -> None:
        tokens = self._estimate(request)
        self._left += 1
        self._left_input += tokens
        rows, given = self._models.get(request.model, (0, 0.0))
        self._models[request.model] = (rows + 1, given + tokens)
        try:
            cost = self.accounts.worst(request, SYNC).cost
        except UsageError:  # under a cap this row could not be sent at all
            cost = None
        self._at_most += cost.amount if cost else 0
        self._unpriced = self._unpriced or cost is None

    @property
    def estimated(self) -> Estimated | None:
        """Return the estimate of the input tokens of the answered rows beside what the service stated."""
        return Estimated(self._rows, round(self._estimated), self._stated) if self._rows else None

    def needs(self) -> Needs | None:
        """Return what the rows that are left need, or None where none is left.

        Input tokens as estimated, in the proportion in which the estimate was off so far; answers as long as
        they were on average; both are None where nothing was answered yet.
        """
        if not self._left:
            return None
        scale = self._stated / self._estimated if self._estimated else 1.0
        mean = self._answers / self._rows if self._rows else None
        given = round(self._left_input * scale)
        taken = None if mean is None else round(mean * self._left)
        return Needs(self._left, given, taken, self._expected(scale, mean), self._most())

    def _most(self) -> Money | None:
        price = next((price for model in self._models if (price := self.accounts.price(model, SYNC))), None)
        return None if price is None or self._unpriced else Money(self._at_most, price.currency)

    def _expected(self, scale: float, mean: float | None) -> Money | None:
        if mean is None or self._unpriced:
            return None
        amount, currency = Decimal(0), ""
        for model, (rows, tokens) in self._models.items():
            price = self.accounts.price(model, SYNC)
            if price is None or (currency and currency != price.currency):
                return None
            currency = price.currency
            amount += price.cost(round(tokens * scale), round(mean * rows))
        return Money(amount, currency)
