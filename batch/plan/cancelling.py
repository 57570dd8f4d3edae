"""Open operations are given up, and what the service says of each is written down.

Nothing is lost on the way: an operation that was done meanwhile brings its answer, which was paid for. One that
was cancelled fails its row, which the next run may ask again; what it may have cost stays spent, since whether
a cancelled operation is billed is not documented. Where the service cannot be asked, the operation stays open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio

from batch import pricing
from batch.accounts import Accounts
from batch.attempts import OUTCOMES, Ends, Made
from batch.clock import Clock
from batch.errors import AttemptFailed, Billed, ChatbatchError, ExitCode, OutputHeld, UsageError
from batch.events import News
from batch.harvest import EXPIRED
from batch.journal import ASYNC, BEAT_S, Commits, Inspection, Journal, OpenOperation, Outcome, Owner, Receipt
from batch.limits import Concurrency, Limits
from batch.parsing import rates_over
from batch.plan.opening import Access, asked_of, find_access, journal_of
from batch.plan.rewriting import Remembered
from batch.providers import Provider, models_of, open_provider, service_address
from batch.providers.operations import Operation
from batch.records import NOTHING_CHARGED, Reply
from batch.retry import RetryPolicy
from batch.runner import listen
from batch.settings import Settings
from batch.stopping import Stop, Stopped
from batch.transport import open_client

# Requests to the service that are on their way at once; beyond that the quota of readings is what limits.
AT_ONCE = 8
# So often an operation is asked about before it is left: after failures, and while it does not end.
TRIES = 4
# So many operations in a row that the service could not be asked about: the others fare no better.
IN_A_ROW = 2 * AT_ONCE
# The code of an operation that was cancelled (google.rpc.Code 1), as its row's `error_code`.
CANCELLED = "CANCELLED"
_ADDRESSES = ("base_url", "operations_url")
_Ask = Callable[[str], Awaitable[Reply]]


@dataclass(slots=True)
class Cancelled:
    """What became of the operations that were open.

    `cancelled` were; `answered` had ended with an answer, `failed` without; the service does not know `expired`
    ones any more; `left` are still open. `reason` and `exit_code` say why where any are left.
    """

    open: int = 0
    cancelled: int = 0
    answered: int = 0
    failed: int = 0
    expired: int = 0
    reason: str = ""
    exit_code: ExitCode = ExitCode.OK

    @property
    def left(self) -> int:
        """Return how many operations are still open."""
        return self.open - self.cancelled - self.answered - self.failed - self.expired


def cancel(output: Path, given: Settings, environment: Mapping[str, str], clock: Clock) -> Cancelled:
    """Cancel an output's open operations and write down what the service says; the output is left as it is.

    `given` are the settings of the command: the address, the credentials, the limit of readings. Raises
    `OutputHeld` while a run goes on, `JournalError` where there is no journal or it cannot be written,
    `UsageError` for a journal of emulated answers or an address that is not the run's.
    """
    journal_path = given.journal or journal_of(output)
    Inspection.open(journal_path).close()  # before anything is locked or made
    with ExitStack() as stack:
        owners = [stack.enter_context(closing(_own(path))) for path in _held(output, journal_path)]
        settings = _settings(journal_path, given)
        journal = stack.enter_context(closing(Journal.begin(journal_path, asked_of(settings))))
        found = Cancelled(sum(1 for _ in journal.open_operations()))
        if not found.open:
            return found
        _check_addresses(journal_path, given)
        access = find_access(settings, environment, clock)
        anyio.run(partial(_cancel_all, access, journal, owners, clock, found))
    return found


def _held(output: Path, journal_path: Path) -> list[Path]:
    return list(dict.fromkeys([journal_of(output), journal_path]))


def _own(path: Path) -> Owner:
    try:
        return Owner.take(path)
    except OutputHeld as error:
        hint = "Interrupt it first (Ctrl-C): what is open then can be cancelled."
        raise OutputHeld(str(error), hint=hint) from None


def _remembered(journal_path: Path) -> Remembered:
    with closing(Inspection.open(journal_path)) as journal:
        return Remembered.of(journal)


def _settings(journal_path: Path, given: Settings) -> Settings:
    """Return what the command was given, with what only the last run knows."""
    known = _remembered(journal_path).settings
    if known.emulate:
        raise UsageError(
            f"The journal {journal_path} holds answers of the emulator, whose operations ended with it.",
            hint="There is nothing to cancel: chatbatch run with --emulate goes on.",
        )
    return replace(
        given,
        provider=known.provider,
        model=known.model,
        folder=given.folder or known.folder,
        prices=known.prices,
        price_input=known.price_input,
        price_output=known.price_output,
        currency=known.currency,
    )


def _check_addresses(journal_path: Path, given: Settings) -> None:
    """Raise `UsageError` where the run asked elsewhere: whoever does not know an operation says it is lost."""
    told = _remembered(journal_path).told
    for name in _ADDRESSES:
        asked = told.get(name)
        if isinstance(asked, str) and given.base_url is None and given.operations_url is None:
            flag = f"--{name.replace('_', '-')} {asked}"
            raise UsageError(f"The last run asked another address; add {flag}.", hint="Nothing was cancelled.")


async def _cancel_all(
    access: Access, journal: Journal, owners: Sequence[Owner], clock: Clock, found: Cancelled
) -> None:
    settings = access.settings
    auth = access.credentials.auth(access.folder)
    stop, commits = Stop(), Commits(journal)
    identity = models_of(settings, access.folder).identity
    async with open_client(service_address(settings), settings.timeout, auth, use_proxies=True) as http:
        provider = open_provider(settings, http, access.credentials, access.folder)
        at_once = Concurrency(AT_ONCE, AT_ONCE, AT_ONCE)
        rates = rates_over(settings.poll_limit, provider.granted_async[1])
        limits = Limits(at_once, rates, clock=clock, stop=stop)
        accounts = Accounts(pricing.load(settings), identity)
        work = _Cancelling(provider, commits, limits, accounts, clock, stop, found)
        async with anyio.create_task_group() as beside:
            beside.start_soon(commits.serve)
            beside.start_soon(_beat, owners)
            beside.start_soon(listen, stop, News(), beside.cancel_scope)
            try:
                await work.run(journal.open_operations())
            finally:
                commits.close()
                beside.cancel_scope.cancel()  # not the commits: what is left of them is written
    if error := work.error or commits.error:
        raise error
    if found.left:
        found.reason = stop.reason or found.reason or "the service did not say that they ended"
        found.exit_code = stop.exit_code or ExitCode.UNAVAILABLE


async def _beat(owners: Sequence[Owner]) -> None:
    """Show that this command is alive, in real time."""
    while True:
        await anyio.sleep(BEAT_S)
        for owner in owners:
            owner.beat()


class _Left(Exception):
    """Raised for an operation that stays open."""


class _Cancelling:
    """Works operations off, some at once; `error` is what broke it off."""

    def __init__(
        self,
        provider: Provider,
        commits: Commits,
        limits: Limits,
        accounts: Accounts,
        clock: Clock,
        stop: Stop,
        found: Cancelled,
    ) -> None:
        self._provider, self._commits, self._limits = provider, commits, limits
        self._accounts, self._clock, self._stop = accounts, clock, stop
        self._found = found
        self._ends = Ends(commits, clock, News())
        self._retry = RetryPolicy(TRIES, None)
        self._in_a_row = 0
        self.error: ChatbatchError | None = None

    async def run(self, operations: Iterator[OpenOperation]) -> None:
        """Cancel all, until they end or the command is asked to stop."""
        async with anyio.create_task_group() as working:
            for _ in range(AT_ONCE):
                working.start_soon(self._work, operations)  # each takes the next one

    async def _work(self, operations: Iterator[OpenOperation]) -> None:
        try:
            for known in operations:
                try:
                    await self._bring_to_its_end(known)
                except _Left:
                    continue
        except Stopped:
            return
        except ChatbatchError as error:
            self.error = self.error or error
            self._stop.request(str(error), error.exit_code)

    async def _bring_to_its_end(self, known: OpenOperation) -> None:
        """Cancel an operation and write its end down; raises `_Left`, `Stopped`, `JournalError`."""
        try:
            reply = await self._asked(self._provider.cancel, known)
        except AttemptFailed:  # such as one that is done and cannot be cancelled: how it stands will tell
            reply = None
        for number in range(1, TRIES + 1):
            if reply is None:
                try:
                    reply = await self._asked(self._provider.poll, known)
                except AttemptFailed as error:
                    if error.code != "NOT_FOUND":
                        raise _Left from None
                    await self._expire(known, error)
                    return
            operation = self._provider.operation(reply)
            if operation.done:
                await self._ended(known, reply, operation)
                return
            reply = None
            await self._sleep(self._retry.pause(number))
        raise _Left

    async def _asked(self, ask: _Ask, known: OpenOperation) -> Reply:
        """Ask about an operation, again where that may help.

        Raises `AttemptFailed` for what the service refuses for this operation, `_Left` where it cannot be asked.
        """
        for number in range(1, TRIES + 1):
            try:
                async with self._limits.slot():
                    reply = await ask(known.operation_id)
                self._provider.operation(reply)
            except AttemptFailed as error:
                if not error.retryable:
                    self._in_a_row = 0
                    self._limits.trust()
                    raise
                await self._could_not_ask(error, number)
            else:
                self._in_a_row = 0
                self._limits.trust()
                return reply
        self._in_a_row += 1
        raise _Left

    async def _could_not_ask(self, error: AttemptFailed, number: int) -> None:
        told = self._found.reason = f"the service could not be asked ({error.code}): {error}"
        if error.stops_run is not None:
            self._stop.request(f"the service refused ({error.code}): {error}", error.stops_run)
        elif self._in_a_row >= IN_A_ROW:
            self._stop.request(told, ExitCode.UNAVAILABLE)
        elif error.slow_down:
            self._limits.refused(None, error.retry_after)
        if number < TRIES:
            await self._sleep(max(self._retry.pause(number), error.retry_after or 0.0))

    async def _sleep(self, seconds: float) -> None:
        with self._stop.interruptible():
            await self._clock.sleep(seconds)

    # -- what is written down

    async def _ended(self, known: OpenOperation, reply: Reply, operation: Operation) -> None:
        now = self._clock.time()
        took = operation.took_s if operation.took_s is not None else now - known.submitted_at
        made = Made(known.attempt, known.number, 0.0, took, reply)
        await self._commits.commit(Receipt(known.attempt, reply, now, took))
        try:
            completion = self._provider.judge(reply)
        except AttemptFailed as error:
            charge = NOTHING_CHARGED if error.billed is Billed.NO else None
            self._commits.defer(Outcome(known.attempt, OUTCOMES[error.billed], error.code, charge))
            await self._ends.fail(known.row_key, made, error)
            if error.code == CANCELLED:
                self._found.cancelled += 1
            else:
                self._found.failed += 1
            return
        charge = self._accounts.actual(known.model, ASYNC, completion.usage)
        self._ends.succeed(known.row_key, made, completion, charge)
        self._found.answered += 1

    async def _expire(self, known: OpenOperation, error: AttemptFailed) -> None:
        self._commits.defer(Outcome(known.attempt, "expired", EXPIRED))
        told = (
            f"operation {known.operation_id} is lost: the service does not know it any more ({error}); "
            "--retry-expired buys its row again"
        )
        made = Made(known.attempt, known.number, 0.0, 0.0, None)
        await self._ends.fail(known.row_key, made, AttemptFailed(told, code=EXPIRED))
        self._found.expired += 1
