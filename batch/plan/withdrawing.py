"""Open operations brought to their end, round by round: first each is cancelled, then those are looked at that did
not end at once.

So the quota of readings goes to cancelling as long as that saves money, and an operation is looked at when it has
had time to end. What the service says is written down; where it cannot be asked, the operation stays open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import anyio

from batch.accounts import Accounts
from batch.attempts import OUTCOMES, Ends, Made
from batch.clock import Clock
from batch.errors import AttemptFailed, Billed, ChatbatchError, ExitCode
from batch.events import News, OperationGivenUp
from batch.harvest import EXPIRED, NOT_YET_KNOWN_S
from batch.journal import ASYNC, Commits, OpenOperation, Outcome, Receipt
from batch.limits import Limits
from batch.parsing import RateLimit
from batch.providers import Provider
from batch.providers.operations import Operation
from batch.records import NOTHING_CHARGED, Reply
from batch.retry import RetryPolicy
from batch.stopping import Stop, Stopped

# Requests to the service that are on their way at once, enough for 50 a second where each takes half a second;
# beyond that the quota of readings is what limits.
AT_ONCE = 32
# So often an operation is asked about before it is left: after failures, and while it does not end.
TRIES = 4
# So many operations in a row that the service could not be asked about: the others fare no better.
IN_A_ROW = AT_ONCE
# So long nothing but refusals for a quota: somebody else uses it up.
SHUT_S = 600.0
# The code of an operation that was cancelled (google.rpc.Code 1), as its row's `error_code`.
CANCELLED = "CANCELLED"
_Ask = Callable[[str], Awaitable[Reply]]
_Step = Callable[[OpenOperation], Awaitable[bool]]


@dataclass(slots=True)
class Cancelled:
    """What became of the operations that were open.

    `cancelled` were; `answered` had ended with an answer, `failed` without; the service does not know `expired`
    ones any more; `left` are still open. `reason` and `exit_code` say why where any are left; `at_once`: somebody
    wants no more to be done, not even the output.
    """

    open: int = 0
    cancelled: int = 0
    answered: int = 0
    failed: int = 0
    expired: int = 0
    reason: str = ""
    exit_code: ExitCode = ExitCode.OK
    at_once: bool = False

    @property
    def left(self) -> int:
        """Return how many operations are still open."""
        return self.open - self.cancelled - self.answered - self.failed - self.expired


class _Left(Exception):
    """Raised for an operation that stays open."""


@dataclass(slots=True)
class Withdrawal:
    """Works operations off, some at once; `error` is what broke it off."""

    provider: Provider
    commits: Commits
    limits: Limits
    accounts: Accounts
    ends: Ends
    clock: Clock
    stop: Stop
    news: News
    found: Cancelled
    error: ChatbatchError | None = None
    _retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(TRIES, None))
    _in_a_row: int = 0
    _shut_since: float | None = None

    async def run(self, operations: Iterable[OpenOperation]) -> None:
        """Cancel all, until they end or the command is asked to stop."""
        try:
            waiting = await self._round(operations, self._cancel)
            for number in range(1, TRIES + 1):
                if not waiting:
                    return
                await self._sleep(self._retry.pause(number))
                waiting = await self._round(waiting, self._look)
        except Stopped:
            return  # the Stop says why

    async def _round(self, operations: Iterable[OpenOperation], step: _Step) -> list[OpenOperation]:
        """Take a step with each, and return those that have not ended."""
        source, waiting = iter(operations), list[OpenOperation]()

        async def work() -> None:
            try:
                for known in source:  # each takes the next one
                    try:
                        if not await step(known):
                            waiting.append(known)
                    except _Left:
                        continue
            except Stopped:
                return
            except ChatbatchError as error:
                self.error = self.error or error
                self.stop.request(str(error), error.exit_code)

        async with anyio.create_task_group() as working:
            for _ in range(AT_ONCE):
                working.start_soon(work)
        return waiting

    async def _cancel(self, known: OpenOperation) -> bool:
        """Cancel an operation; returns whether its end was written down.

        Raises `_Left`, `Stopped`, `JournalError`.
        """
        try:
            reply = await self._asked(self.provider.cancel, known)
        except AttemptFailed:  # such as one that is done and cannot be cancelled: how it stands will tell
            self._tell(known, "asked")
            return False
        self._tell(known, "asked")
        return await self._stands(known, reply)

    async def _look(self, known: OpenOperation) -> bool:
        """Look at an operation; returns and raises as `_cancel` does."""
        try:
            reply = await self._asked(self.provider.poll, known)
        except AttemptFailed as error:
            if error.code != "NOT_FOUND":
                raise _Left from None
            if self.clock.time() - known.submitted_at < NOT_YET_KNOWN_S:
                return False  # its submission may not have reached whoever is asked
            await self._expire(known, error)
            return True
        return await self._stands(known, reply)

    async def _asked(self, ask: _Ask, known: OpenOperation) -> Reply:
        """Ask about an operation, again where that may help.

        Raises `AttemptFailed` for what the service refuses for this operation, `_Left` where it cannot be asked.
        """
        number = 1
        while number <= TRIES:
            try:
                async with self.limits.slot(), self.limits.on_the_way():
                    reply = await ask(known.operation_id)
                self.provider.operation(reply)
            except AttemptFailed as error:
                if not error.retryable:
                    self._up()
                    raise
                number += not error.slow_down  # a quota that is used up is no failure
                await self._could_not_ask(known, error, number)
            else:
                self._up()
                return reply
        self._in_a_row += 1
        raise _Left

    def _up(self) -> None:
        self._in_a_row, self._shut_since = 0, None
        self.limits.trust()

    async def _could_not_ask(self, known: OpenOperation, error: AttemptFailed, number: int) -> None:
        """Wait where the operation is to be asked about again, as its attempt `number`."""
        told = self.found.reason = f"the service could not be asked ({error.code}): {error}"
        delay = max(self._retry.pause(number - 1), error.retry_after or 0.0)
        if error.stops_run is not None:
            self.stop.request(f"the service refused ({error.code}): {error}", error.stops_run)
        elif self._in_a_row >= IN_A_ROW:
            self.stop.request(told, ExitCode.UNAVAILABLE)
        elif error.slow_down:
            delay = self._slow_down(error)
        again = number <= TRIES and not self.stop.requested
        self.ends.tell_lost(known.row_key, known.number, error, delay if again else None)
        if number <= TRIES:
            await self._sleep(delay)

    def _slow_down(self, error: AttemptFailed) -> float:
        """Let the limits know of a refusal for a quota, whose pause is shared; returns some jitter besides."""
        now = self.clock.monotonic()
        self._shut_since = now if self._shut_since is None else self._shut_since
        if now - self._shut_since > SHUT_S:
            self.stop.request(f"the quota has not cleared for {SHUT_S:.0f} s: {error}", ExitCode.QUOTA)
        self.limits.give_back()
        quota = error.quota
        if quota is not None and quota.seconds is not None:
            self.limits.learn(RateLimit(quota.count, quota.seconds), error.retry_after)
        else:
            self.limits.refused(quota.count if quota else None, error.retry_after)
        return self._retry.jitter(1)

    async def _sleep(self, seconds: float) -> None:
        with self.stop.interruptible():
            await self.clock.sleep(seconds)

    # -- what is written down

    async def _stands(self, known: OpenOperation, reply: Reply) -> bool:
        """Write an operation's end down where it has come; returns whether it has."""
        operation = self.provider.operation(reply)
        if operation.done:
            with anyio.CancelScope(shield=True):  # what the service said is not lost at the end of a grace
                await self._ended(known, reply, operation)
        return operation.done

    async def _ended(self, known: OpenOperation, reply: Reply, operation: Operation) -> None:
        now = self.clock.time()
        took = operation.took_s if operation.took_s is not None else now - known.submitted_at
        made = Made(known.attempt, known.number, 0.0, took, reply)
        await self.commits.commit(Receipt(known.attempt, reply, now, took))
        try:
            completion = self.provider.judge(reply)
        except AttemptFailed as error:
            charge = NOTHING_CHARGED if error.billed is Billed.NO else None
            self.commits.defer(Outcome(known.attempt, OUTCOMES[error.billed], error.code, charge))
            await self.ends.fail(known.row_key, made, error)
            if error.code == CANCELLED:
                self.found.cancelled += 1
            else:
                self.found.failed += 1
            self._tell(known, "cancelled" if error.code == CANCELLED else "failed")
            return
        charge = self.accounts.actual(known.model, ASYNC, completion.usage)
        self.ends.succeed(known.row_key, made, completion, charge)
        self.found.answered += 1
        self._tell(known, "answered")

    async def _expire(self, known: OpenOperation, error: AttemptFailed) -> None:
        self.commits.defer(Outcome(known.attempt, "expired", EXPIRED))
        told = (
            f"operation {known.operation_id} is lost: the service does not know it any more ({error}); "
            "--retry-expired buys its row again"
        )
        made = Made(known.attempt, known.number, 0.0, 0.0, None)
        await self.ends.fail(known.row_key, made, AttemptFailed(told, code=EXPIRED))
        self.found.expired += 1
        self._tell(known, "expired")

    def _tell(self, known: OpenOperation, became: str) -> None:
        self.news.publish(OperationGivenUp(known.row_key, known.operation_id, became))
