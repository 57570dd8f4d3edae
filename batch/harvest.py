"""Asynchronous mode: requests are handed in as operations, and their results collected later.

The operation's id is committed before it is looked at for the first time, so that a crash leaves operations to be
finished and none to be bought again. What is open lives in the journal; in memory an operation is a few words
until its end. Submitting and collecting have limits of their own and run side by side.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from batch.attempts import Ends, Made, Parts, Task
from batch.budget import Reservation
from batch.errors import AttemptFailed, Billed
from batch.events import OperationExpired
from batch.journal import ASYNC, OpenOperation, Outcome, Receipt, Submitted
from batch.polling import Durations
from batch.providers.operations import KEPT_S, Operation
from batch.records import Reply, RequestIds
from batch.stopping import Stopped
from batch.verdicts import Life, Unreadable

# Looks that are on their way at once; beyond that the quota of readings is what limits.
LOOKS_AT_ONCE = 32
# So many operations may be open: beyond that no more are submitted, which bounds memory (about 1 kB each).
MOST_OPEN = 100_000
# A look that failed is repeated no sooner.
AFTER_FAILURE_S = 1.0
EXPIRED = "EXPIRED"
# An operation that is not known so soon after its submission may not have reached whoever is asked.
NOT_YET_KNOWN_S = 60.0
# Before durations are known so many operations are looked at early and often, to find out for the others, which
# are looked at after `UNSCOUTED_S` at the latest.
SCOUTS = 30
UNSCOUTED_S = 60.0


@dataclass(slots=True)
class _Open:
    """An operation whose end nobody has seen; `life` counts the looks that failed."""

    known: OpenOperation
    reservation: Reservation
    life: Life
    adopted: bool
    looks: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """What is allowed to a row whose operation failed: so many attempts in a run, also where it may have cost."""

    attempts: int
    maybe_billed: bool


@dataclass(slots=True)
class Harvest:
    """Looks at open operations when it pays, and writes their ends down.

    `failed` counts rows whose operation failed in a way that may pass: the input is to be read again for them.
    `attempts_of` says how often a row was asked in this run.
    """

    parts: Parts
    ends: Ends
    again: Again
    attempts_of: Callable[[str], int]
    durations: Durations = field(default_factory=Durations)
    failed: int = 0
    _due: list[tuple[float, int, _Open]] = field(default_factory=list)
    _open: int = 0
    _scouts: int = 0
    _unseen: int = 0
    _nap: anyio.CancelScope | None = None
    _serving: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _served: anyio.Event = field(default_factory=anyio.Event)
    _unreadable: Unreadable = field(init=False)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self._unreadable = Unreadable(self.parts.stop)

    @property
    def open(self) -> int:
        """Return how many operations are open."""
        return self._open

    @property
    def has_room(self) -> bool:
        """Return whether one more may be submitted."""
        return self._open < MOST_OPEN

    def ages(self) -> Iterator[float]:
        """Yield how old the operations are that were seen not to be done; others may be, for all we know."""
        return (self._age(item) for _, _, item in self._due if item.looks)

    # -- what is open

    def adopt(self, found: Iterable[OpenOperation]) -> None:
        """Take over the operations that earlier runs left open; each is looked at once, the oldest first."""
        for known in found:
            reservation = self.parts.budget.adopt(known.charge)
            self._unseen += 1
            self._add(known, reservation, self.parts.clock.monotonic(), adopted=True)

    def add(self, known: OpenOperation, reservation: Reservation) -> None:
        """Take over an operation that was just submitted, and its reservation."""
        first = self.durations.next_age(0.0)
        if not self.durations.informed:
            self._scouts += 1
            first = first if self._scouts <= SCOUTS else UNSCOUTED_S
        self._add(known, reservation, self.parts.clock.monotonic() + first, adopted=False)

    def _add(self, known: OpenOperation, reservation: Reservation, due: float, *, adopted: bool) -> None:
        reservation.keep()
        self._open += 1
        self._push(due, _Open(known, reservation, Life(known.row_key, own_model=False), adopted))

    def _push(self, due: float, item: _Open) -> None:
        heapq.heappush(self._due, (due, item.known.attempt, item))
        if self._due[0][2] is item and self._nap is not None:
            self._nap.cancel()

    def _close(self, item: _Open) -> None:
        self._open -= 1
        self._seen(item)

    def _seen(self, item: _Open) -> None:
        if item.adopted and item.looks == 0:
            self._unseen -= 1
        item.looks += 1
        self._changed.set()

    def _learn(self, took_s: float) -> None:
        """Take in a duration; once enough are known, look at those that nobody looked at when it pays."""
        informed = self.durations.informed
        self.durations.add(took_s)
        if informed or not self.durations.informed:
            return
        now = self.parts.clock.monotonic()
        self._due = [
            (due if item.looks or item.adopted else now + self._until_next(self._age(item)), number, item)
            for due, number, item in self._due
        ]
        heapq.heapify(self._due)
        if self._nap is not None:
            self._nap.cancel()

    def _age(self, item: _Open) -> float:
        """Return how old an operation is; the wall clock may have been set back."""
        return max(0.0, self.parts.clock.time() - item.known.submitted_at)

    def _until_next(self, age: float) -> float:
        return self.durations.next_age(age) - age

    # -- waiting for them

    async def drained(self, early: Callable[[], bool]) -> None:
        """Return when no operation is open, or `early` and one has failed.

        Raises `Stopped` where the collecting stops first.
        """
        await self._until(lambda: not self._open or (self.failed > 0 and early()))

    async def looked_once(self) -> None:
        """Return when every operation that earlier runs left was looked at; raises `Stopped`."""
        await self._until(lambda: not self._unseen)

    async def room(self) -> None:
        """Return when one more operation may be submitted; raises `Stopped`."""
        await self._until(lambda: self.has_room)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed = anyio.Event()
            with self.parts.stop.interruptible():
                await self._changed.wait()

    # -- looking at them

    async def serve(self) -> None:
        """Look at operations as they come due, until `finish`, or until the collecting stops."""
        seats = anyio.Semaphore(LOOKS_AT_ONCE)
        try:
            async with anyio.create_task_group() as looking:
                with self._serving:
                    while await self._serve_next(looking, seats):
                        pass
        finally:
            self._served.set()

    async def finish(self) -> None:
        """Begin no more looks, and return when those on their way have ended: what they bring is told then."""
        self._serving.cancel()
        await self._served.wait()

    async def _serve_next(self, looking: TaskGroup, seats: anyio.Semaphore) -> bool:
        try:
            with self.parts.stop.interruptible():
                await seats.acquire()
                item = await self._next()
        except Stopped:
            return False
        looking.start_soon(self._look, item, seats)
        return True

    async def _next(self) -> _Open:
        clock = self.parts.clock
        while True:
            now = clock.monotonic()
            if self._due and self._due[0][0] <= now:
                return heapq.heappop(self._due)[2]
            with anyio.CancelScope() as self._nap:
                await (clock.sleep(self._due[0][0] - now) if self._due else anyio.sleep_forever())
            self._nap = None

    async def _look(self, item: _Open, seats: anyio.Semaphore) -> None:
        try:
            async with self.parts.limits.slot():
                due = await self._poll(item)
        except Stopped:
            return
        finally:
            seats.release()
        if due is None:
            self._close(item)
        else:
            self._seen(item)
            self._push(due, item)

    async def _poll(self, item: _Open) -> float | None:
        """Look once; returns when to look again, or None where the operation has ended."""
        parts, known = self.parts, item.known
        sent_at = parts.clock.monotonic()
        try:
            async with parts.limits.on_the_way():
                reply = await parts.provider.poll(known.operation_id)
            operation = parts.provider.operation(reply)
        except AttemptFailed as error:
            return await self._look_failed(item, error, sent_at)
        parts.verdicts.answered(sent_at)
        item.life.attempts = 0
        age = self._age(item)
        if operation.done:
            await self._ended(item, reply, operation, age)
            return None
        if age > KEPT_S:
            await self._expire(item, f"it was not done after {KEPT_S / 86400:.0f} days")
            return None
        return parts.clock.monotonic() + self._until_next(age)

    async def _look_failed(self, item: _Open, error: AttemptFailed, sent_at: float) -> float | None:
        parts = self.parts
        gone = error.code == "NOT_FOUND"
        if gone and self._age(item) > NOT_YET_KNOWN_S:
            await self._expire(item, f"the service does not know it any more ({error.code}: {error})")
            return None
        item.life.attempts += 1
        if gone:
            return parts.clock.monotonic() + NOT_YET_KNOWN_S / 3
        delay = parts.verdicts.delay(item.life, error, sent_at, parts.clock.monotonic() - sent_at)
        if delay is None:  # no answer of the service's, as of a proxy: the operation may well be there
            delay = parts.verdicts.patience.retry.pause(item.life.attempts)
        return parts.clock.monotonic() + max(delay, AFTER_FAILURE_S)

    async def _ended(self, item: _Open, reply: Reply, operation: Operation, age: float) -> None:
        parts, known = self.parts, item.known
        took = operation.took_s if operation.took_s is not None else age
        self._learn(took)
        made = Made(known.attempt, known.number, 0.0, took, reply)
        await parts.commits.commit(Receipt(known.attempt, reply, parts.clock.time(), took))
        try:
            completion = parts.provider.judge(reply)
        except AttemptFailed as error:
            await self._failed(item, made, error)
            return
        self._unreadable.answered()
        charge = parts.accounts.actual(known.model, ASYNC, completion.usage)
        item.reservation.settle(charge)
        self.ends.succeed(known.row_key, made, completion, charge)

    async def _failed(self, item: _Open, made: Made, error: AttemptFailed) -> None:
        known = item.known
        self.ends.lost(made, error, item.reservation)
        self._unreadable.failed(error)
        if error.stops_run is not None:
            self.parts.stop.request(f"The service refused an operation ({error.code}): {error}", error.stops_run)
        asked = self.attempts_of(known.row_key)
        passing = error.retryable and (error.billed is Billed.NO or self.again.maybe_billed)
        once_more = passing and asked < self.again.attempts
        self.ends.tell_lost(known.row_key, known.number, error, 0.0 if once_more else None)
        if once_more:
            self.failed += 1
        else:
            await self.ends.fail(known.row_key, made, error)

    async def _expire(self, item: _Open, reason: str) -> None:
        """Write down that nobody will ever see an operation's end: what it may have cost stays spent."""
        known = item.known
        item.reservation.settle(None)
        self.ends.commits.defer(Outcome(known.attempt, "expired", EXPIRED))
        told = f"operation {known.operation_id} is lost: {reason}; --retry-expired buys its row again"
        made = Made(known.attempt, known.number, 0.0, 0.0, None)
        await self.ends.fail(known.row_key, made, AttemptFailed(told, code=EXPIRED))
        self.parts.news.publish(OperationExpired(known.row_key, known.operation_id, reason))


@dataclass(frozen=True, slots=True)
class Submitting:
    """Asynchronous mode: the reply is an operation, whose id is committed before anybody looks at it."""

    parts: Parts
    harvest: Harvest

    @property
    def mode(self) -> str:
        """Return `async`."""
        return ASYNC

    async def send(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Hand a body in."""
        return await self.parts.provider.submit(body, ids, number)

    async def take(self, task: Task, made: Made, reply: Reply, reservation: Reservation) -> None:
        """Commit the operation's id, and have it looked at from then on; raises `AttemptFailed`."""
        parts = self.parts
        operation = parts.provider.operation(reply)
        now = parts.clock.time()
        await parts.commits.commit(Submitted(made.attempt, operation.id, now))
        parts.verdicts.answered(made.sent_at)
        known = OpenOperation(
            made.attempt, task.row_key, made.number, task.request.model, operation.id, now, reservation.worst
        )
        self.harvest.add(known, reservation)
