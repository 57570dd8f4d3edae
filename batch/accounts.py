"""What requests cost: the worst case before one leaves, and what it came to when the service has said.

Between the price list and the token bound on one side and the budget on the other, which know nothing of each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from batch.budget import Caps, Sum
from batch.errors import UsageError
from batch.journal import Spent
from batch.parsing import Money
from batch.pricing import Price, PriceTable
from batch.records import Charge, Request, Usage
from batch.tokens import upper_bound

# Request plus response of YandexGPT 5 (the service's documentation, "Quotas and limits"): the bound of an answer
# where nobody asked for one.
CONTEXT_TOKENS = 32_768
# A completion counts one token beyond the text that it shows.
UNSEEN_TOKENS = 1


@dataclass(slots=True)
class Accounts:
    """Prices the requests of one run; models by the provider's identity, so that the folder does not matter."""

    prices: PriceTable
    identity: Callable[[str], str]
    caps: Caps = field(default_factory=Caps)
    _known: dict[tuple[str, str], Price | None] = field(default_factory=dict)  # few: models times modes

    def price(self, model: str, mode: str) -> Price | None:
        """Return the price of a model as the user named it, or None where it is unknown."""
        key = (model, mode)
        if key not in self._known:
            self._known[key] = self.prices.of(self.identity(model), mode)
        return self._known[key]

    def worst(self, request: Request, mode: str) -> Charge:
        """Return a true upper bound on what a request may be charged.

        Raises `UsageError` where money is capped and this request's price is not known in the cap's currency.
        """
        most = (request.options.max_tokens or CONTEXT_TOKENS) + UNSEEN_TOKENS
        charge = self._charge(request.model, mode, upper_bound(request), most)
        self._check(charge.cost, f"The price of {request.model}")
        return charge

    def actual(self, model: str, mode: str, usage: Usage) -> Charge | None:
        """Return what a completion was charged; None where the service did not state its tokens."""
        if usage.input_tokens is None or usage.completion_tokens is None:
            return None
        return self._charge(model, mode, usage.input_tokens, usage.completion_tokens)

    def _charge(self, model: str, mode: str, given: int, taken: int) -> Charge:
        price = self.price(model, mode)
        return Charge(given, taken, Money(price.cost(given, taken), price.currency) if price else None)

    def _check(self, cost: Money | None, what: str) -> None:
        cap = self.caps.cost
        if cap is not None and (cost is None or cost.currency != cap.currency):
            is_what = f"is in {cost.currency}" if cost else "is unknown"
            raise UsageError(
                f"{what} {is_what}, so --max-cost {cap} cannot be held.",
                hint=f"Give it in {cap.currency} with --prices, or --price-input and --price-output.",
            )

    def earlier(self, spending: Iterable[Spent]) -> Sum:
        """Return what earlier runs spent, or may have; raises `UsageError` where a cap cannot be held against it.

        What was asked while no price was known is priced as of now.
        """
        total = Sum()
        for spent in spending:
            charge = Charge(spent.input_tokens, spent.output_tokens, spent.cost)
            if spent.cost is None and charge.tokens:
                charge = self._charge(spent.model, spent.mode, spent.input_tokens, spent.output_tokens)
            if charge.tokens:
                self._check(charge.cost, f"What earlier runs spent on {spent.model}")
            total.add(charge)
        return total
