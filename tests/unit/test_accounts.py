"""What a request may cost, what it cost, and what earlier runs spent."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batch import pricing
from batch.accounts import CONTEXT_TOKENS, UNSEEN_TOKENS, Accounts
from batch.budget import Caps
from batch.errors import UsageError
from batch.journal import SYNC, Spent
from batch.parsing import Money
from batch.plan.accounting import open_accounts, price_facts, spending
from batch.plan.reckoning import Reckoning
from batch.providers.yandex import Models
from batch.records import Answer, Message, Options, Request, Status, Usage
from batch.settings import Settings
from batch.tokens import upper_bound

RUB = "RUB"
IDENTITY = Models("b1g").identity


def _accounts(cap: str | None = None) -> Accounts:
    caps = Caps(Money(Decimal(cap), RUB) if cap else None)
    return Accounts(pricing.load(Settings()), IDENTITY, caps)


def _request(text: str = "Привет", model: str = "yandexgpt-lite", most: int | None = 100) -> Request:
    return Request(model, (Message("user", text),), Options(max_tokens=most))


def test_the_worst_case_of_a_request() -> None:
    """The worst case is the bound of the input and the longest answer, at the price of the model."""
    worst = _accounts().worst(_request(), SYNC)
    assert (worst.input_tokens, worst.output_tokens) == (upper_bound(_request()), 100 + UNSEEN_TOKENS)
    assert worst.cost == Money(Decimal("0.0002") * worst.tokens, RUB)


def test_an_answer_of_unknown_length_may_fill_the_context() -> None:
    """Where nobody said how long an answer may get, the model's context bounds it."""
    assert _accounts().worst(_request(most=None), SYNC).output_tokens == CONTEXT_TOKENS + UNSEEN_TOKENS


def test_the_folder_does_not_matter_for_the_price() -> None:
    """A model by its name, with its version, or as a URI has one price."""
    accounts = _accounts()
    models = ("yandexgpt-lite", "yandexgpt-lite/latest", "gpt://b1gother/yandexgpt-lite")
    assert {accounts.price(model, SYNC) for model in models} == {accounts.price("yandexgpt-lite", SYNC)}


def test_what_the_service_did_not_state_is_not_guessed() -> None:
    """Without both counts there is no charge; with them it is the price list's."""
    accounts = _accounts()
    assert accounts.actual("yandexgpt-lite", SYNC, Usage(26, None, None, 37)) is None
    charge = accounts.actual("yandexgpt-lite", SYNC, Usage(26, 11, None, 37))
    assert charge is not None
    assert charge.cost == Money(Decimal("0.0074"), RUB)
    unpriced = accounts.actual("nobody-knows", SYNC, Usage(26, 11, None, 37))
    assert unpriced is not None
    assert unpriced.cost is None


def test_a_row_without_a_price_is_refused_under_a_cap() -> None:
    """Under a cap on money a row whose model has no price is not sent; without one it is."""
    assert _accounts().worst(_request(model="nobody-knows"), SYNC).cost is None
    with pytest.raises(UsageError, match="nobody-knows is unknown"):
        _accounts("10").worst(_request(model="nobody-knows"), SYNC)


def test_what_earlier_runs_spent() -> None:
    """Everything counts that was charged or may have been; what had no price then is priced as of now."""
    known = Spent("yandexgpt-lite", SYNC, "answered", 2, 50, 50, Money(Decimal("0.02"), RUB))
    unknown = Spent("yandexgpt-lite", SYNC, "unknown", 1, 1000, 1000, None)
    free = Spent("nobody-knows", SYNC, "not_billed", 3, 0, 0, None)
    total = _accounts("10").earlier([known, unknown, free])
    assert (total.tokens, total.cost) == (2100, Decimal("0.42"))


@pytest.mark.parametrize(
    "spent",
    [
        Spent("nobody-knows", SYNC, "answered", 1, 5, 5, None),
        Spent("yandexgpt-lite", SYNC, "answered", 1, 5, 5, Money(Decimal(1), "USD")),
    ],
)
def test_a_cap_that_cannot_be_held_against_the_past(spent: Spent) -> None:
    """Spending without a price, or in another currency, refuses a cap on money, and nothing else."""
    with pytest.raises(UsageError, match="earlier runs spent"):
        _accounts("10").earlier([spent])
    assert _accounts().earlier([spent]).tokens == 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(max_cost=Money(Decimal(9), RUB)), "set --max-tokens too"),
        (Settings(max_total_tokens=5), "--max-total-tokens needs to know"),
        (Settings(max_cost=Money(Decimal(9), RUB), max_tokens=9, model="nobody-knows"), "is unknown"),
        (Settings(max_cost=Money(Decimal(9), "USD"), max_tokens=9), "in USD, and the price"),
    ],
)
def test_caps_that_could_not_be_held_are_refused(settings: Settings, words: str) -> None:
    """A cap needs the longest answer, a price, and one currency; the sentence says what to set."""
    with pytest.raises(UsageError, match=words):
        open_accounts(settings, IDENTITY)


def test_spending_is_told_by_what_it_bought() -> None:
    """Answers, lost answers and requests in doubt stand apart; requests without a price have their own line."""
    one = Money(Decimal(1), RUB)
    attempts = [
        Spent("m", SYNC, "answered", 1, 1, 1, one),
        Spent("m", SYNC, "maybe_billed", 1, 1, 1, one),
        Spent("m", SYNC, "billed", 1, 1, 1, one),
        Spent("m", SYNC, "unknown", 1, 1, 1, one),
        Spent("m", SYNC, None, 1, 1, 1, one),
        Spent("m", SYNC, "not_billed", 1, 0, 0, Money(Decimal(0), "")),
        Spent("n", SYNC, "answered", 7, 1, 1, None),
    ]
    unpriced, priced = spending(attempts, {RUB: Decimal(1)})
    assert (unpriced.currency, unpriced.unpriced) == ("", 7)
    assert (priced.answers, priced.lost, priced.unknown, priced.total) == (1, 2, 2, 5)


def test_what_is_left_is_reckoned_from_what_was_answered() -> None:
    """Rows that are left need as much as those answered took, and never more than their worst case."""
    reckoning = Reckoning(_accounts())
    assert reckoning.estimated is None
    request = _request("Расскажи, пожалуйста, о реке Волге и её притоках. " * 4)
    for _ in range(10):
        reckoning.row(request, Answer(status=Status.OK, input_tokens=60, completion_tokens=30))
    for _ in range(5):
        reckoning.row(request, Answer(status=Status.PENDING))
    reckoning.row(request, Answer(status=Status.FAILED))
    needs, estimated = reckoning.needs(), reckoning.estimated
    assert needs is not None
    assert estimated is not None
    assert (estimated.rows, estimated.stated) == (10, 600)
    assert (needs.rows, needs.input_tokens, needs.completion_tokens) == (5, 300, 150)
    assert needs.cost == Money(Decimal("0.09"), RUB)
    assert needs.at_most is not None
    assert needs.at_most.amount == 5 * Decimal("0.0002") * (upper_bound(request) + 101)


def test_the_metadata_name_the_price() -> None:
    """The output says at what price, of which date and from where its costs were reckoned; unknown is None."""
    facts = price_facts(_accounts(), "yandexgpt-lite")
    assert isinstance(facts, dict)
    assert (facts["input"], facts["currency"]) == ("0.20", RUB) or facts["input"] == "0.2"
    assert facts["dated"]
    assert facts["source"]
    assert price_facts(_accounts(), "nobody-knows") is None
