"""The life of one row: wait for the limits, write the intent, send, write the receipt, judge, ask again.

Order is the point. The intent is on disk before the request leaves, and the raw answer before anybody judges
it, so that a crash at any instant loses nothing that was paid for and leaves at most the rows in flight in
doubt. A row that waits to be asked again holds no slot. What a failure means for the row and for the run is
decided by `verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batch.attempts import Delivery, Ends, Made, Numbers, Parts, Task
from batch.budget import Reservation
from batch.errors import AttemptFailed, UsageError
from batch.journal import SYNC, Intent, Receipt
from batch.records import Reply, RequestIds
from batch.stopping import Stopped
from batch.verdicts import Life


@dataclass(frozen=True, slots=True)
class _Lost:
    """An attempt that brought no usable answer."""

    error: AttemptFailed
    made: Made


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Synchronous mode: the reply is the answer. Its receipt is committed before it is judged."""

    parts: Parts
    ends: Ends

    @property
    def mode(self) -> str:
        """Return `sync`."""
        return SYNC

    async def send(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Send a body and wait for its answer."""
        return await self.parts.provider.send(body, ids, number)

    async def take(self, task: Task, made: Made, reply: Reply, reservation: Reservation) -> None:
        """Commit the receipt, judge it, and write the answer down; raises `AttemptFailed` where it holds none."""
        parts = self.parts
        if made.is_receipt:
            await parts.commits.commit(Receipt(made.attempt, reply, parts.clock.time(), made.latency_s))
        completion = parts.provider.judge(reply)
        parts.verdicts.answered(made.sent_at)
        charge = parts.accounts.actual(task.request.model, SYNC, completion.usage)
        reservation.settle(charge)
        self.ends.succeed(task.row_key, made, completion, charge)


class Client:
    """Brings rows to their end, or to the service's promise of one; `waiting` of them wait to be asked again."""

    def __init__(self, parts: Parts, numbers: Numbers, delivery: Delivery) -> None:
        self._parts = parts
        self._numbers = numbers
        self._delivery = delivery
        self._ends = Ends(parts.commits, parts.clock, parts.news)
        self.waiting = 0

    async def answer(self, task: Task, waits: Callable[[], None]) -> None:
        """Bring a row to its end, which is then in the journal; `waits` is called when it has to wait for that.

        Raises `Stopped` where the run ends first (the row stays without a result), and `JournalError`.
        """
        parts = self._parts
        try:
            body = parts.provider.encode(task.request)
            worst = parts.accounts.worst(task.request, self._delivery.mode)
        except UsageError as error:  # a row's own model may need a folder, or a price, that the run's does not
            made = Made(0, task.attempts, 0.0, 0.0, None)
            await self._ends.fail(task.row_key, made, AttemptFailed(str(error), code="USAGE"))
            return
        ids = RequestIds.of(self._numbers.journal, task.row_key)
        life = Life(task.row_key, task.own_model)
        while True:
            life.attempts += 1
            reservation = await parts.budget.reserve(worst)
            try:
                async with parts.limits.slot():
                    lost = await self._send(task, body, ids, life.attempts, reservation)
                    if lost is None:
                        return
                    # Judged while it still counts as running: how many ran is part of what a refusal says.
                    delay = parts.verdicts.delay(life, lost.error, lost.made.sent_at, lost.made.latency_s)
            finally:
                reservation.release()
            self._ends.tell_lost(task.row_key, life.attempts, lost.error, delay)
            if delay is None:
                await self._ends.fail(task.row_key, lost.made, lost.error)
                return
            await self._wait(delay, waits)

    async def _wait(self, delay: float, waits: Callable[[], None]) -> None:
        self.waiting += 1
        try:
            waits()
            with self._parts.stop.interruptible():
                await self._parts.clock.sleep(delay)
        finally:
            self.waiting -= 1

    async def _send(
        self, task: Task, body: bytes, ids: RequestIds, number: int, reservation: Reservation
    ) -> _Lost | None:
        """Make one attempt; returns None when the row has its answer, else what was lost."""
        parts = self._parts
        if parts.stop.requested:
            raise Stopped
        attempt, counted = self._numbers.take(), task.attempts + number
        asked = (task.request.model, task.content, self._delivery.mode, reservation.worst)
        now, run = parts.clock.time(), self._numbers.run
        await parts.commits.commit(Intent(attempt, task.row_key, counted, now, run, *asked))
        sent_at = parts.clock.monotonic()
        reply, left = None, False
        try:
            async with parts.limits.on_the_way():
                left = True
                reservation.leave()
                sent_at = parts.clock.monotonic()
                reply = await self._delivery.send(body, ids, number)
            made = Made(attempt, counted, sent_at, parts.clock.monotonic() - sent_at, reply)
            await self._delivery.take(task, made, reply, reservation)
        except AttemptFailed as error:
            lost = Made(attempt, counted, sent_at, parts.clock.monotonic() - sent_at, reply)
            self._ends.lost(lost, error, reservation)
            return _Lost(error, lost)
        finally:
            if not left:  # the run's end came first
                self._ends.unsent(attempt)
        return None
