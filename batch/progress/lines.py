"""The one line that says how far it is: of a run's rows, or of operations that are cancelled.

Texts and counts only: printers say when and where they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from batch.events import AttemptLost, CancelBegun, Event, OperationGivenUp, Tally
from batch.jsontext import JsonObject
from batch.wording import amount, duration, money

_RATE_WINDOW_S = 30.0
# What may become of an operation that is given up, in the order in which it is told.
_ENDS = ("cancelled", "answered", "failed", "expired")


class Line(Protocol):
    """Says how far it is, from the news."""

    def note(self, event: Event) -> None:
        """Take in one event."""
        ...

    def text(self) -> str:
        """Return the line as it is now."""
        ...


class _Rate:
    """Things finished per second over the last half minute."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._marks: list[tuple[float, float]] = [(now(), 0)]

    def per_second(self, done: float) -> float:
        now = self._now()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_WINDOW_S:
            self._marks.pop(0)
        began, before = self._marks[0]
        return (done - before) / (now - began) if now > began else 0.0


class RowsLine:
    """How many rows of a run have their end, and what they cost."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.tally = Tally()
        self._rate = _Rate(now)

    def note(self, event: Event) -> None:
        """Count an event."""
        self.tally.note(event)

    def text(self) -> str:
        """Return rows, rate, tokens, money, and the time that is left."""
        tally = self.tally
        share = f" ({100 * tally.finished / tally.rows:.1f} %)" if tally.rows else ""
        rate = self._rate.per_second(tally.ok + tally.failed)
        left = tally.rows - tally.finished
        parts = [f"{tally.finished:,}/{tally.rows:,} rows{share}"]
        if tally.failed or tally.invalid:
            parts.append(f"{tally.failed:,} failed, {tally.invalid:,} invalid")
        parts += [f"{rate:.1f} rows/s", f"{amount(tally.input_tokens + tally.completion_tokens)} tokens"]
        parts += [money(spent, currency) for currency, spent in tally.cost.items()]
        if tally.retries:
            parts.append(f"{tally.retries:,} retries")
        if rate > 0 and left > 0:
            parts.append(f"{duration(left / rate)} left")
        return "  ·  ".join(parts)


class OperationsLine:
    """How many of the operations that are given up have their end, and which.

    One that was asked to end is half done: where it does not end at once, another request is to come.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._operations = 0
        self._retries = 0
        self._became: Counter[str] = Counter()
        self._rate = _Rate(now)

    def note(self, event: Event) -> None:
        """Count an event."""
        match event:
            case CancelBegun():
                self._operations = event.operations
            case OperationGivenUp():
                self._became[event.became] += 1
            case AttemptLost():
                self._retries += event.delay_s is not None

    def text(self) -> str:
        """Return operations by what became of them, the rate, and the time that is left."""
        ended, waiting = self._ended(), self._waiting()
        share = f" ({100 * ended / self._operations:.1f} %)" if self._operations else ""
        done = ended + waiting / 2
        rate, left = self._rate.per_second(done), self._operations - done
        parts = [f"{ended:,}/{self._operations:,} operations{share}"]
        told = ", ".join(f"{self._became[name]:,} {name}" for name in _ENDS if self._became[name])
        parts += [told] if told else []
        parts += [f"{waiting:,} asked to end"] if waiting else []
        parts.append(f"{rate:.1f} operations/s")
        if self._retries:
            parts.append(f"{self._retries:,} retries")
        if rate > 0 and left > 0:
            parts.append(f"{duration(left / rate)} left")
        return "  ·  ".join(parts)

    def counts(self) -> JsonObject:
        """Return the same as numbers."""
        found: JsonObject = {"open": self._operations, "ended": self._ended(), "asked": self._waiting()}
        return found | {name: self._became[name] for name in _ENDS} | {"retries": self._retries}

    def _ended(self) -> int:
        return sum(self._became[name] for name in _ENDS)

    def _waiting(self) -> int:
        """How many were asked to end and have not yet; each is asked once, and told as asked before it ends."""
        return self._became["asked"] - self._ended()
