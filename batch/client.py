"""The life of one row: wait for the limits, write the intent, send, write the receipt, judge, ask again.

Order is the point. The intent is on disk before the request leaves, and the raw answer before anybody judges
it, so that a crash at any instant loses nothing that was paid for and leaves at most the rows in flight in
doubt. A row that waits to be asked again holds no slot. What a failure means for the row and for the run is
decided by `verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batch.clock import Clock
from batch.errors import AttemptFailed, Billed, UsageError
from batch.events import AttemptLost, News, RowFinished
from batch.journal import Commits, Intent, Outcome, Receipt, Result
from batch.limits import Limits
from batch.providers import Provider
from batch.records import Completion, Reply, Request, RequestIds, Status, Usage
from batch.stopping import Stop, Stopped
from batch.verdicts import Life, Verdicts

_OUTCOMES = {Billed.NO: "not_billed", Billed.MAYBE: "maybe_billed", Billed.YES: "billed"}
_NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Task:
    """A row to be answered; `attempts` were made in earlier runs, `own_model` is not the run's model.

    `content` is the request's fingerprint where the key does not hold it.
    """

    row_key: str
    request: Request
    attempts: int
    own_model: bool
    content: str | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a run writes on its attempts: the journal's identity, the run's number, a free attempt number."""

    journal: str
    run: int
    first_attempt: int


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One request that was sent: its number in the journal, within the row, and its times."""

    attempt: int
    number: int
    sent_at: float
    latency_s: float
    reply: Reply | None

    @property
    def is_receipt(self) -> bool:
        """Return whether a reply came that may hold an answer: it is committed before it is judged."""
        return self.reply is not None and 200 <= self.reply.http_status < 300


@dataclass(frozen=True, slots=True)
class _Lost:
    """An attempt that brought no usable answer."""

    error: AttemptFailed
    made: _Attempt


@dataclass(frozen=True, slots=True)
class Parts:
    """What the client works with."""

    provider: Provider
    commits: Commits
    limits: Limits
    verdicts: Verdicts
    clock: Clock
    stop: Stop
    news: News


class Client:
    """Answers rows, many at a time; `waiting` of them wait to be asked again."""

    def __init__(self, parts: Parts, numbers: Numbers) -> None:
        self._parts = parts
        self._numbers = numbers
        self._next_attempt = numbers.first_attempt
        self.waiting = 0

    async def answer(self, task: Task, waits: Callable[[], None]) -> None:
        """Bring a row to its end, which is then in the journal; `waits` is called when it has to wait for that.

        Raises `Stopped` where the run ends first (the row stays without a result), and `JournalError`.
        """
        parts = self._parts
        try:
            body = parts.provider.encode(task.request)
        except UsageError as error:  # a row's own model may need a folder that the run does not
            made = _Attempt(0, task.attempts, 0.0, 0.0, None)
            await self._fail(task, made, AttemptFailed(str(error), code="USAGE"))
            return
        ids = RequestIds.of(self._numbers.journal, task.row_key)
        life = Life(task.row_key, task.own_model)
        while True:
            life.attempts += 1
            async with parts.limits.slot():
                lost = await self._send(task, body, ids, life.attempts)
                if lost is None:
                    return
                # Judged while it still counts as running: how many ran is part of what a refusal says.
                delay = parts.verdicts.delay(life, lost.error, lost.made.sent_at, lost.made.latency_s)
            self._publish_lost(task, lost.error, life.attempts, delay)
            if delay is None:
                await self._fail(task, lost.made, lost.error)
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

    async def _send(self, task: Task, body: bytes, ids: RequestIds, number: int) -> _Lost | None:
        """Make one attempt; returns None when the row has its answer, else what was lost."""
        parts = self._parts
        if parts.stop.requested:
            raise Stopped
        attempt, self._next_attempt = self._next_attempt, self._next_attempt + 1
        counted = task.attempts + number
        now = parts.clock.time()
        asked = (task.request.model, task.content)
        await parts.commits.commit(Intent(attempt, task.row_key, counted, now, self._numbers.run, *asked))
        await parts.limits.pace()
        sent_at = parts.clock.monotonic()
        try:
            reply = await parts.provider.send(body, ids, number)
        except AttemptFailed as error:
            return self._lost(error, self._made(attempt, counted, sent_at, None))
        made = self._made(attempt, counted, sent_at, reply)
        if made.is_receipt:
            await parts.commits.commit(Receipt(attempt, reply, parts.clock.time(), made.latency_s))
        try:
            completion = parts.provider.judge(reply)
        except AttemptFailed as error:
            return self._lost(error, made)
        parts.verdicts.answered(sent_at)
        self._succeed(task, made, completion)
        return None

    def _made(self, attempt: int, counted: int, sent_at: float, reply: Reply | None) -> _Attempt:
        return _Attempt(attempt, counted, sent_at, self._parts.clock.monotonic() - sent_at, reply)

    def _lost(self, error: AttemptFailed, made: _Attempt) -> _Lost:
        self._parts.commits.defer(Outcome(made.attempt, _OUTCOMES[error.billed], error.code))
        return _Lost(error, made)

    def _succeed(self, task: Task, made: _Attempt, completion: Completion) -> None:
        # The receipt is on disk, and these follow from it: they need not be waited for.
        commits, now = self._parts.commits, self._parts.clock.time()
        commits.defer(Outcome(made.attempt, "answered", None))
        commits.defer(answered(task.row_key, made.attempt, made.number, completion, made.latency_s, now))
        self._parts.news.publish(
            RowFinished(task.row_key, Status.OK, completion.usage, made.number, made.latency_s, None, None)
        )

    async def _fail(self, task: Task, made: _Attempt, error: AttemptFailed) -> None:
        parts, now, key = self._parts, self._parts.clock.time(), task.row_key
        if made.reply is not None and not made.is_receipt:
            parts.commits.defer(Receipt(made.attempt, made.reply, now, made.latency_s))
        told = (error.code, str(error))
        await parts.commits.commit(
            Result(key, made.attempt, Status.FAILED, made.number, _NO_USAGE, *told, made.latency_s, now)
        )
        parts.news.publish(RowFinished(key, Status.FAILED, _NO_USAGE, made.number, made.latency_s, *told))

    def _publish_lost(self, task: Task, error: AttemptFailed, number: int, delay: float | None) -> None:
        told = (error.code, str(error), error.billed, error.slow_down)
        self._parts.news.publish(AttemptLost(task.row_key, number, *told, delay))


def answered(
    row_key: str, attempt: int, attempts: int, completion: Completion, latency_s: float | None, now: float
) -> Result:
    """Return the result of a row whose receipt holds this completion."""
    return Result(row_key, attempt, Status.OK, attempts, completion.usage, None, None, latency_s, now)
