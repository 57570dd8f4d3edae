"""From counts to tokens, money and caps, by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batch import pricing
from batch.accounts import CONTEXT_TOKENS, Accounts
from batch.budget import Caps, Sum
from batch.parsing import Money, RateLimit
from batch.plan.estimation.estimates import (
    ASSUMED,
    CALIBRATED,
    EARLIER,
    GIVEN,
    OFFLINE,
    PILOT,
    SAMPLED,
    Mode,
    ModelTokens,
    Span,
)
from batch.plan.estimation.learning import Learned
from batch.plan.estimation.modes import Beginning, cost_of, latency_of, project_modes
from batch.plan.estimation.projecting import (
    Basis,
    by_model,
    project_answers,
    project_caps,
    project_input,
)
from batch.plan.estimation.sampling import RatioEstimate
from batch.plan.estimation.schedule import Deadline
from batch.plan.estimation.surveying import Survey
from batch.pricing import Price, identity
from batch.records import Message, Options, Request
from batch.settings import Settings
from batch.tokens import Estimator, Share, count_request

LITE = "yandexgpt-lite"
HELLO = Request(LITE, (Message("user", "Where is my parcel?"),), Options())
NOW = 1_750_000_000.0
TONIGHT = Beginning(NOW, Deadline(NOW + 60, "x"), 10)


def _accounts(caps: Caps | None = None, **settings: object) -> Accounts:
    return Accounts(pricing.load(Settings(**settings)), identity, caps or Caps())  # type: ignore[arg-type]


def _basis(settings: Settings | None = None, **others: object) -> Basis:
    known = {"accounts": _accounts(), "learned": Learned(identity), **others}
    return Basis(settings or Settings(), **known)  # type: ignore[arg-type]


def _survey(rows: int, *, cap: int | None = None, capped: int = 0, model: str = LITE) -> Survey:
    counts = tuple(rows * count for count in count_request(HELLO))
    share = Share(rows, counts, capped if cap else 0, capped * (cap or 0), bound=100 * rows)
    return Survey(rows=rows, parts={model: share})


def _learned(rows: int) -> Learned:
    learned = Learned(identity, sources=["before.parquet"])
    for row in range(rows):
        learned.add(HELLO, LITE, (20, 100 + 10 * (row % 2)), 2.0 + row % 2)
    return learned


def _price(unit: str | None, given: str, taken: str) -> Price:
    return Price("m", "sync", "RUB", "", "2024", Decimal(given), Decimal(taken), Decimal(unit) if unit else None)


def test_offline_input() -> None:
    """Without anything else the texts' estimate and its family's interval are what is said."""
    spans, tokens = project_input(_survey(10), _basis())
    expected = Estimator.for_model(identity(LITE)).input_tokens(HELLO) * 10
    low, high = Estimator.for_model(identity(LITE)).interval.of_total(10)
    assert spans[LITE] == Span(round(expected * low), round(expected), round(expected * high))
    assert (tokens.grade, tokens.span) == (OFFLINE, spans[LITE])


def test_calibrated_input() -> None:
    """Answered rows teach the estimator, which then says what they were billed."""
    _, tokens = project_input(_survey(1000), _basis(learned=_learned(100)))
    assert tokens.grade == CALIBRATED
    assert tokens.span.expected == pytest.approx(20_000, rel=0.02)
    assert "100 rows" in tokens.basis


def test_sampled_input() -> None:
    """A measured ratio scales the estimate, and its half width makes the interval."""
    offline = Estimator.for_model(identity(LITE)).input_tokens(HELLO) * 1000
    ratio = RatioEstimate(1.1, 0.01, 1000, 1001)
    _, tokens = project_input(_survey(1000), _basis(ratios={LITE: ratio}))
    assert tokens.grade == SAMPLED
    assert tokens.span.expected == round(offline * 1.1)
    assert tokens.span.high - tokens.span.expected == pytest.approx(offline * 0.01 * 1.962, abs=2)


@pytest.mark.parametrize(
    ("cap", "capped", "span"),
    [
        (None, 0, Span(500, 3000, 20_000)),
        (1000, 10, Span(500, 3000, 10_000)),
        (20, 10, Span(200, 200, 200)),
        (100, 5, Span(500, 1500 + 500, 10_000 + 500)),
    ],
)
def test_assumed_answers(cap: int | None, capped: int, span: Span) -> None:
    """Nothing known: 50, 300 and the longest that is allowed, 2,000 where nobody said."""
    _, tokens = project_answers(_survey(10, cap=cap, capped=capped), _basis())
    assert (tokens.span, tokens.grade) == (span, ASSUMED)
    assert "assumed" in tokens.basis


def test_the_best_that_is_known_of_answers_wins() -> None:
    """The user's word, then a pilot, then enough earlier answers, then the assumption."""
    survey = _survey(10)
    grades = [
        project_answers(survey, basis)[1].grade
        for basis in (
            _basis(learned=_learned(30), answer_tokens=70),
            _basis(learned=_learned(5), piloted=5),
            _basis(learned=_learned(20)),
            _basis(learned=_learned(5), insisted=True),
            _basis(learned=_learned(19)),
        )
    ]
    assert grades == [GIVEN, PILOT, EARLIER, EARLIER, ASSUMED]


def test_measured_answers() -> None:
    """The mean of answers of 100 and 110 tokens is 105; ten of them are 1,050, within the mean's interval."""
    _, tokens = project_answers(_survey(10), _basis(learned=_learned(20)))
    half = 10 * 2.093 * (500 / 19 / 20) ** 0.5
    assert tokens.span == Span(round(1050 - half), 1050, round(1050 + half))
    assert "before.parquet" in tokens.basis


@pytest.mark.parametrize(
    ("price", "expected", "most"),
    [
        (_price("0.0002", "0.20", "0.20"), "0.0600", "0.2200"),  # whole units: no rounding at all
        (_price("0.0002", "0.10", "0.10"), "0.0305", "0.1110"),  # half units: a quarter on average, a half at most
        (_price(None, "0.0005", "0.0010"), "0.0002525", "0.000805"),  # half millionths
    ],
)
def test_a_cost_by_hand(price: Price, expected: str, most: str) -> None:
    """Ten rows of 10 tokens in and 20 out: exact, with what rounding each row up adds."""
    item = ModelTokens(LITE, 10, Span(100, 100, 100), Span(200, 200, 200), 600, 500)
    cost = cost_of(item, price)
    assert (cost.expected, cost.most) == (Decimal(expected), Decimal(most))
    assert cost.low <= cost.expected <= cost.high <= cost.most


def test_an_unknown_price_is_no_zero() -> None:
    """A model without a price leaves the mode's cost unknown, and is named; the other mode stays known."""
    models = [ModelTokens("llama-9", 1, Span(1, 1, 1), Span(1, 1, 1), 1, 1)]
    modes = project_modes(models, _basis(), TONIGHT)
    assert [(mode.is_known, mode.costs, mode.unpriced) for mode in modes] == [(False, [], ["llama-9"])] * 2


def test_both_modes_side_by_side() -> None:
    """Asynchronous tokens cost half of synchronous ones."""
    basis = _basis(answer_tokens=100)
    survey = _survey(1000)
    models = by_model(survey, project_input(survey, basis)[0], project_answers(survey, basis)[0])
    sync, deferred = project_modes(models, basis, TONIGHT)
    assert sync.costs[0].expected == pytest.approx(2 * deferred.costs[0].expected, rel=Decimal("0.01"))
    assert models[0].most_completion == 1000 * (CONTEXT_TOKENS + 1)
    assert sync.schedule.binding == "10 requests at once"


def _both(rows: int, hours: float, **settings: object) -> list[Mode]:
    known = {"mode": "both", "async_limit": (RateLimit(1000, 3600),), **settings}
    chosen = Settings(**known)  # type: ignore[arg-type]
    basis, survey = _basis(chosen, answer_tokens=100), _survey(rows)
    models = by_model(survey, project_input(survey, basis)[0], project_answers(survey, basis)[0])
    return project_modes(models, basis, Beginning(NOW, Deadline(NOW + hours * 3600, "--stop-at 07:00"), 10))


def test_both_modes_at_once() -> None:
    """What the windows of operations let through in time costs half; the bound is that of the dearer mode."""
    sync, deferred, both = _both(4000, 2.5)
    assert dict(both.rows) == {"sync": 4000 - 2850, "async": 2850}
    share = Decimal(2850) / 4000
    expected = sync.costs[0].expected * (1 - share) + deferred.costs[0].expected * share
    assert both.costs[0].expected == pytest.approx(expected, abs=Decimal("0.000002"))
    assert both.costs[0].most == sync.costs[0].most
    assert both.schedule.in_time
    assert not deferred.schedule.in_time
    assert both.schedule.binding == "1,000/h (async) and 10 requests at once (sync)"


def test_both_modes_where_one_is_enough() -> None:
    """Where the cheap mode does everything in time, nothing else is asked, and the cost is its own."""
    _, deferred, both = _both(2800, 2.5)
    assert dict(both.rows) == {"sync": 0, "async": 2800}
    assert both.costs[0].expected == deferred.costs[0].expected
    nothing = project_modes([], _basis(Settings(mode="both")), TONIGHT)[-1]
    assert (nothing.mode, dict(nothing.rows), nothing.costs) == ("both", {"sync": 0, "async": 0}, [])
    assert nothing.schedule.in_time


def test_both_modes_that_are_not_enough() -> None:
    """Rows that neither mode does in time are left and cost nothing; a cap is held against all of them."""
    sync, _, both = _both(20_000, 1.0, limit=(RateLimit(600, 3600),))
    assert dict(both.rows) == {"sync": 600, "async": 1000}
    assert (both.schedule.left, both.schedule.needed) == (18_400, "19,000/h (sync)")
    assert both.costs[0].expected < sync.costs[0].expected / 10
    accounts = _accounts(Caps(cost=Money(Decimal(100), "RUB")))
    models = [ModelTokens(LITE, 20_000, Span(1, 1, 1), Span(1, 1, 1), 1, 1)]
    outlook = project_caps(models, both, accounts, Sum())[0]
    per_row, worst = both.costs[0].expected / 1600, both.costs[0].most / 20_000
    assert outlook.rows.expected == pytest.approx(int((100 - worst) / per_row) + 1, abs=1)


@pytest.mark.parametrize("deadline", [Deadline(NOW + 3600, "the next morning", is_set=False), None])
def test_both_modes_need_a_deadline(deadline: Deadline | None) -> None:
    """Without a deadline of the run's own, and for a run in one mode, nothing is divided."""
    mode = "sync" if deadline is None else "both"
    beginning = Beginning(NOW, deadline or Deadline(NOW + 3600, "--max-duration"), 10)
    modes = project_modes([], _basis(Settings(mode=mode)), beginning)
    assert [item.mode for item in modes] == ["sync", "async"]


def test_how_long_an_answer_takes() -> None:
    """As measured where it was, else half a second and 40 tokens a second."""
    models = [ModelTokens(LITE, 10, Span(1, 1, 1), Span(400, 400, 400), 1, 1)]
    assert latency_of(models, _basis()) == (1.5, 1.5, 1.5)
    low, expected, high = latency_of(models, _basis(learned=_learned(40)))
    assert low < expected == 2.5 < high


def _capped(caps: Caps, spent: Sum) -> tuple[Span, bool]:
    models = [ModelTokens(LITE, 100, Span(500, 1000, 2000), Span(500, 1000, 2000), 5000, 5000)]
    accounts = _accounts(caps)
    mode: Mode = project_modes(models, _basis(accounts=accounts), TONIGHT)[0]
    outlook = project_caps(models, mode, accounts, spent)[0]
    return outlook.rows, outlook.suffices


def test_a_cap_on_tokens() -> None:
    """Of 2,000 tokens that 100 rows need, 1,020 are left and 100 kept free for the last row's worst case."""
    assert _capped(Caps(tokens=1520), Sum(tokens=500)) == (Span(24, 47, 93), False)


def test_a_cap_on_money() -> None:
    """The same in money: a Lite token is 0.0002 RUB."""
    cap = Money(Decimal("0.304"), "RUB")
    assert _capped(Caps(cost=cap), Sum(cost=Decimal("0.1"))) == (Span(24, 47, 93), False)


def test_a_cap_that_suffices_or_is_spent() -> None:
    """A cap above the high need takes all rows; one below a row's worst case takes none."""
    assert _capped(Caps(tokens=5000), Sum()) == (Span(100, 100, 100), True)
    assert _capped(Caps(tokens=5000), Sum(tokens=4950)) == (Span(0, 0, 0), False)
