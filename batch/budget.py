"""The hard cap: what may be spent is reserved before a request leaves, and settled when its end is known.

A cap is a cap. A request leaves only when all that was spent, all that is reserved by the requests in flight and
its own worst case fit under it together. Where it would not fit, it waits for those in flight, which mostly need
less than was reserved for them; where nothing is in flight any more, the budget is spent. Nothing here knows a
price or a journal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import anyio

from batch.errors import ExitCode
from batch.parsing import Money
from batch.records import NOTHING_CHARGED, Charge
from batch.stopping import Stop, Stopped


@dataclass(frozen=True, slots=True)
class Caps:
    """What a job may spend in all its runs: money, tokens in and out; None for no cap."""

    cost: Money | None = None
    tokens: int | None = None

    @property
    def any(self) -> bool:
        """Return whether there is a cap at all."""
        return self.cost is not None or self.tokens is not None


@dataclass(slots=True)
class Sum:
    """An amount of tokens and of money that grows and shrinks."""

    tokens: int = 0
    cost: Decimal = Decimal(0)

    def add(self, charge: Charge) -> None:
        """Add a charge; without a price it costs no money here."""
        self.tokens += charge.tokens
        self.cost += charge.cost.amount if charge.cost else 0

    def subtract(self, charge: Charge) -> None:
        """Take a charge away again."""
        self.tokens -= charge.tokens
        self.cost -= charge.cost.amount if charge.cost else 0


@dataclass(slots=True)
class Budget:
    """Keeps spending under the caps; `spent` is what earlier runs of the job were charged, or may have been.

    `overcharged` is called, with the charge and the reservation, where the service billed more than the bound.
    `patient`: whether a request waits for those that go on beyond their sending (operations).
    """

    caps: Caps
    stop: Stop
    spent: Sum = field(default_factory=Sum)
    overcharged: Callable[[Charge, Charge], None] = lambda _charge, _bound: None
    patient: bool = True
    _reserved: Sum = field(default_factory=Sum)
    _open: int = 0
    _kept: int = 0
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _settled: anyio.Event = field(default_factory=anyio.Event)

    async def reserve(self, worst: Charge) -> Reservation:
        """Set the worst case of a request aside, first come, first served; waits while others may leave room.

        Raises `Stopped` when the budget is spent, and has then asked the run to end.
        """
        if self.caps.any and (self._turn.statistics().locked or not self._fits(worst)):
            with self.stop.interruptible():
                async with self._turn:
                    await self._until_it_fits(worst)
        self._reserved.add(worst)
        self._open += 1
        return Reservation(self, worst)

    async def _until_it_fits(self, worst: Charge) -> None:
        while not self._fits(worst):
            if self._open == (0 if self.patient else self._kept):
                self.stop.request(self._exhausted(worst), ExitCode.BUDGET)
                raise Stopped
            self._settled = anyio.Event()
            await self._settled.wait()

    def adopt(self, worst: Charge | None) -> Reservation:
        """Return the reservation of a request of an earlier run that goes on; it is among `spent` so far."""
        known = NOTHING_CHARGED if worst is None else worst
        self.spent.subtract(known)
        self._reserved.add(known)
        self._open += 1
        return Reservation(self, known, _left=True)

    def _fits(self, worst: Charge) -> bool:
        caps, taken = self.caps, self.spent.tokens + self._reserved.tokens
        if caps.tokens is not None and taken + worst.tokens > caps.tokens:
            return False
        if caps.cost is None or worst.cost is None:
            return True
        return self.spent.cost + self._reserved.cost + worst.cost.amount <= caps.cost.amount

    def _exhausted(self, worst: Charge) -> str:
        caps = self.caps
        if caps.tokens is not None and self.spent.tokens + worst.tokens > caps.tokens:
            left = max(0, caps.tokens - self.spent.tokens)
            return (
                f"--max-total-tokens {caps.tokens:,} is reached: {left:,} tokens are left, and the next row may "
                f"take {worst.tokens:,}"
            )
        if caps.cost is None or worst.cost is None:
            return "the budget is reached"
        rest = max(Decimal(0), caps.cost.amount - self.spent.cost)
        money = caps.cost.currency
        return (
            f"--max-cost {caps.cost} is reached: {plain(rest)} {money} are left, and the next row may cost "
            f"{plain(worst.cost.amount)} {money}"
        )

    def note_kept(self) -> None:
        """Note that a reservation outlives its request's sending; to be called by it, once."""
        self._kept += 1
        self._settled.set()

    def close(self, worst: Charge, charged: Charge, *, kept: bool) -> None:
        """Count what a reservation came to; to be called by it, once."""
        self._reserved.subtract(worst)
        self._open -= 1
        self._kept -= kept
        self.spent.add(charged)
        self._settled.set()
        if charged is not worst and exceeds(charged, worst):
            self.overcharged(charged, worst)


@dataclass(slots=True)
class Reservation:
    """What was set aside for one request, until `settle` or `release`."""

    _budget: Budget
    worst: Charge
    _left: bool = False
    _kept: bool = False
    _closed: bool = False

    def keep(self) -> None:
        """Note that the request goes on beyond the block that made the reservation: `release` does nothing now."""
        if not self._kept:
            self._kept = True
            self._budget.note_kept()

    def leave(self) -> None:
        """Note that the request leaves: from now on its worst case is spent, unless `settle` says otherwise."""
        self._left = True

    def settle(self, charged: Charge | None) -> None:
        """Count what the request was charged; None where that is not known: then the worst case stays spent."""
        if not self._closed:
            self._closed = True
            self._budget.close(self.worst, self.worst if charged is None else charged, kept=self._kept)

    def release(self) -> None:
        """Give back what was set aside for a request that never left; nothing after `settle`."""
        if not self._kept:
            self.settle(None if self._left else NOTHING_CHARGED)


def exceeds(charged: Charge, worst: Charge) -> bool:
    """Return whether a charge is more than its bound was."""
    if charged.tokens > worst.tokens:
        return True
    return bool(charged.cost and worst.cost and charged.cost.amount > worst.cost.amount)


def plain(amount: Decimal) -> str:
    """Return an amount without needless zeros and never in powers of ten: `12.5`, `0.0002`."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
