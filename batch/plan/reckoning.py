"""What an output's rows tell while it is written: how good the estimate was, and what those left need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from batch.accounts import Accounts
from batch.errors import UsageError
from batch.events import Estimated, Needs
from batch.journal import ASYNC, SYNC
from batch.parsing import Money
from batch.records import Answer, Request, Status
from batch.tokens import Estimator

# How long an answer is where nothing is known of it, in tokens: two paragraphs. An assumption, and said to be one.
USUAL_ANSWER = 300.0


@dataclass(slots=True)
class _Answered:
    """Sums over the answered rows of one model and mode: tokens as estimated and assumed, and as stated."""

    rows: int = 0
    estimated: float = 0.0
    assumed: float = 0.0
    stated: int = 0
    answers: int = 0


@dataclass(slots=True)
class _Left:
    """Sums over the rows of one model that are left."""

    rows: int = 0
    input_tokens: float = 0.0


@dataclass(slots=True)
class Reckoning:
    """Told of every row of an output; rows that are left are priced in `mode`."""

    accounts: Accounts
    mode: str = SYNC
    _estimators: dict[str, Estimator] = field(default_factory=dict)  # few: one per model, as all below
    _answered: dict[tuple[str, str], _Answered] = field(default_factory=dict)
    _left: dict[str, _Left] = field(default_factory=dict)
    _at_most: Decimal = Decimal(0)
    _unpriced: bool = False

    def row(self, request: Request, answer: Answer) -> None:
        """Take in a row that can be sent, with what became of it."""
        if answer.status is Status.PENDING:
            self._wanted(request)
        elif answer.input_tokens is not None and answer.completion_tokens is not None:
            key = (request.model, SYNC if answer.operation_id is None else ASYNC)
            sums = self._answered.get(key)
            if sums is None:
                sums = self._answered[key] = _Answered()
            sums.rows += 1
            sums.estimated += self._estimate(request)
            sums.assumed += min(USUAL_ANSWER, request.options.max_tokens or USUAL_ANSWER)
            sums.stated += answer.input_tokens
            sums.answers += answer.completion_tokens

    def _estimate(self, request: Request) -> float:
        estimator = self._estimators.get(request.model)
        if estimator is None:
            identity = self.accounts.identity(request.model)
            estimator = self._estimators[request.model] = Estimator.for_model(identity)
        return estimator.input_tokens(request)

    def _wanted(self, request: Request) -> None:
        sums = self._left.setdefault(request.model, _Left())
        sums.rows += 1
        sums.input_tokens += self._estimate(request)
        try:
            cost = self.accounts.worst(request, self.mode).cost
        except UsageError:  # under a cap this row could not be sent at all
            cost = None
        self._at_most += cost.amount if cost else 0
        self._unpriced = self._unpriced or cost is None

    @property
    def estimated(self) -> Estimated | None:
        """Return the estimate for the answered rows beside what the service stated; None where none was answered.

        The money is what an estimate before the run would have said, with answers of `USUAL_ANSWER` tokens.
        """
        sums = list(self._answered.values())
        if not sums:
            return None
        rows, stated = sum(item.rows for item in sums), sum(item.stated for item in sums)
        estimated = round(sum(item.estimated for item in sums))
        as_estimated = self._priced((key, item.estimated, item.assumed) for key, item in self._answered.items())
        as_stated = self._priced((key, item.stated, item.answers) for key, item in self._answered.items())
        return Estimated(rows, estimated, stated, as_estimated, as_stated)

    def needs(self) -> Needs | None:
        """Return what the rows that are left need, or None where none is left.

        Input tokens as estimated, in the proportion in which the estimate was off so far; answers as long as
        they were on average; both are None where nothing was answered yet.
        """
        if not self._left:
            return None
        known = self.estimated
        scale = known.stated / known.estimated if known is not None and known.estimated else 1.0
        mean = sum(item.answers for item in self._answered.values()) / known.rows if known is not None else None
        rows = sum(item.rows for item in self._left.values())
        given = round(sum(item.input_tokens for item in self._left.values()) * scale)
        taken = None if mean is None else round(mean * rows)
        expected = None
        if mean is not None and not self._unpriced:
            expected = self._priced(
                ((model, self.mode), item.input_tokens * scale, mean * item.rows)
                for model, item in self._left.items()
            )
        return Needs(rows, given, taken, expected, self._most())

    def _most(self) -> Money | None:
        price = next((price for model in self._left if (price := self.accounts.price(model, self.mode))), None)
        return None if price is None or self._unpriced else Money(self._at_most, price.currency)

    def _priced(self, parts: Iterable[tuple[tuple[str, str], float, float]]) -> Money | None:
        """Return what tokens in and out cost by model and mode; None without a price, or with two currencies."""
        amount, currency = Decimal(0), ""
        for (model, mode), given, taken in parts:
            price = self.accounts.price(model, mode)
            if price is None or (currency and currency != price.currency):
                return None
            currency = price.currency
            amount += price.cost(round(given), round(taken))
        return Money(amount, currency)
