"""What a job's run bought, by the journal's own number for the run.

Several jobs may write one journal, and a killed run is looked at only when its job runs again: so nothing is
compared with what the journal held before. Every request belongs to one run, and the runs add up to the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from batch.errors import JournalError
from batch.journal import IDENTITY, Inspection, Spent
from batch.jsontext import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands: its journal, whose identity tells it from a later one of that name, and its number."""

    journal: Path
    identity: str
    run: int

    @classmethod
    def latest(cls, journal: Path) -> Place:
        """Return the place of the run that began last; raises `JournalError` where none can be read."""
        records = Inspection.open(journal)
        try:
            return cls(journal, records.fact(IDENTITY), max((item.run for item in records.runs()), default=0))
        finally:
            records.close()

    def rows(self, total: int) -> dict[str, int]:
        """Return how `total` rows stand by the journal alone, if it can be read; `pending` holds invalid ones."""
        try:
            records = Inspection.open(self.journal)
        except JournalError:
            return {}
        try:
            results = records.sums().results
        except JournalError:
            return {}
        finally:
            records.close()
        ok, failed = results.get("ok", 0), results.get("failed", 0)
        return {"ok": ok, "failed": failed, "pending": max(0, total - ok - failed)}


@dataclass(frozen=True, slots=True)
class Bought:
    """What a run came to: answers with the tokens that the service stated, and money by currency.

    `sent` requests left in it, the last one at `last_sent`. `doubtful` ones brought no answer and may have been
    billed: what they cost is at most `doubtful_cost`. `unjudged` replies are on disk, and the next run that opens
    the journal takes them in.
    """

    answered: int = 0
    input_tokens: int = 0
    completion_tokens: int = 0
    cost: Mapping[str, Decimal] = field(default_factory=dict)
    doubtful: int = 0
    doubtful_cost: Mapping[str, Decimal] = field(default_factory=dict)
    sent: int = 0
    unjudged: int = 0
    last_sent: float | None = None

    @classmethod
    def by(cls, place: Place) -> Bought | None:
        """Return what a run bought, as far as the journal knows; None where the journal is gone or harmed."""
        try:
            records = Inspection.open(place.journal)
        except JournalError:
            return None
        try:
            if records.fact(IDENTITY) != place.identity:
                return None
            with records.snapshot():
                return cls.of(records.spending_of(place.run), *records.sent_in(place.run))
        except JournalError:
            return None
        finally:
            records.close()

    @classmethod
    def of(cls, spent: Iterable[Spent], sent: int, last_sent: float | None) -> Bought:
        """Return the sum of what requests were charged, or may have been."""
        answered = given = taken = doubtful = unjudged = 0
        cost: dict[str, Decimal] = {}
        at_most: dict[str, Decimal] = {}
        for item in spent:
            if item.outcome is None:
                unjudged += item.attempts
                continue
            if item.outcome == "not_billed":
                continue
            if item.outcome == "answered":
                answered, into = answered + item.attempts, cost
                given, taken = given + item.input_tokens, taken + item.output_tokens
            else:
                doubtful, into = doubtful + item.attempts, at_most
            if item.cost is not None and item.cost.currency:
                into[item.cost.currency] = into.get(item.cost.currency, Decimal(0)) + item.cost.amount
        return cls(answered, given, taken, cost, doubtful, at_most, sent, unjudged, last_sent)

    def as_json(self) -> JsonObject:
        """Return it with money as text, since JSON's numbers are not decimal."""
        return {
            "answered": self.answered, "input_tokens": self.input_tokens,
            "completion_tokens": self.completion_tokens, "cost": _as_texts(self.cost),
            "doubtful": self.doubtful, "doubtful_cost": _as_texts(self.doubtful_cost),
            "sent": self.sent, "unjudged": self.unjudged, "last_sent": self.last_sent,
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: JsonObject) -> Bought:
        """Return what `as_json` told; raises `ValueError` where that is damaged."""
        return cls(
            _count(told, "answered"),
            _count(told, "input_tokens"),
            _count(told, "completion_tokens"),
            _decimals(told.get("cost")),
            _count(told, "doubtful"),
            _decimals(told.get("doubtful_cost")),
            _count(told, "sent"),
            _count(told, "unjudged"),
            float(last) if isinstance(last := told.get("last_sent"), int | float) else None,
        )


def _as_texts(money: Mapping[str, Decimal]) -> JsonObject:
    return {code: f"{amount:f}" for code, amount in sorted(money.items())}


def _decimals(told: Json) -> dict[str, Decimal]:
    try:
        return {code: Decimal(str(amount)) for code, amount in told.items()} if isinstance(told, dict) else {}
    except InvalidOperation:
        raise ValueError("an amount that is no number") from None


def _count(told: JsonObject, name: str) -> int:
    value = told.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
