"""Open operations are given up, and what the service says of each is written down.

Nothing is lost on the way: an operation that was done meanwhile brings its answer, which was paid for. One that
was cancelled fails its row, which the next run may ask again; what it may have cost stays spent, since whether
a cancelled operation is billed is not documented. Where the service cannot be asked, the operation stays open.
Asked to end, the command lets requests in flight finish for the grace, and the same command again goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio

from batch import pricing
from batch.accounts import Accounts
from batch.attempts import Ends
from batch.clock import Clock
from batch.errors import ExitCode, OutputHeld, UsageError
from batch.events import CancelBegun, CancelEnded, LimitChanged, Notice, Stopping
from batch.journal import BEAT_S, Commits, Inspection, Journal, Owner
from batch.limits import Concurrency, LimitChange, Limits
from batch.parsing import rates_over
from batch.plan.exporting import settle
from batch.plan.job import Outside, ticking
from batch.plan.opening import Access, asked_of, find_access, journal_of
from batch.plan.rewriting import Remembered
from batch.plan.sharing import LOOKS, open_partner, shared
from batch.plan.withdrawing import AT_ONCE, Cancelled, Withdrawal
from batch.providers import Provider, models_of, open_provider, service_address
from batch.runner import listen
from batch.settings import Settings
from batch.stopping import Stop
from batch.transport import open_client

__all__ = ["Cancelled", "cancel"]

_ADDRESSES = ("base_url", "operations_url")


def cancel(output: Path, given: Settings, environment: Mapping[str, str], outside: Outside) -> Cancelled:
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
        access = find_access(settings, environment, outside.clock)
        anyio.run(partial(_cancel_all, access, journal, owners, outside, found))
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


@dataclass(frozen=True, slots=True)
class _Work:
    """What the cancelling is done with; its `limits` are a run's for looks, and shared like these."""

    access: Access
    journal: Journal
    commits: Commits
    stop: Stop
    outside: Outside

    def withdrawal(self, provider: Provider, found: Cancelled) -> Withdrawal:
        """Return what works the operations off."""
        settings, outside = self.access.settings, self.outside
        rates = rates_over(settings.poll_limit, provider.granted_async[1])
        at_once = Concurrency(AT_ONCE, AT_ONCE, AT_ONCE)
        limits = Limits(at_once, rates, clock=outside.clock, stop=self.stop, told=self._told, prompt=True)
        accounts = Accounts(pricing.load(settings), models_of(settings, self.access.folder).identity)
        settle(self.journal, provider, accounts)  # what a cancelling that was killed had received
        ends = Ends(self.commits, outside.clock, outside.news)
        return Withdrawal(
            provider, self.commits, limits, accounts, ends, outside.clock, self.stop, outside.news, found
        )

    def _told(self, change: LimitChange) -> None:
        limit = change.limit.replace("requests", "looks at operations", 1)
        self.outside.news.publish(LimitChanged(limit, change.value, change.reason))


async def _cancel_all(
    access: Access, journal: Journal, owners: Sequence[Owner], outside: Outside, found: Cancelled
) -> None:
    settings, news = access.settings, outside.news
    stop, commits = Stop(lambda reason, code: news.publish(Stopping(reason, code))), Commits(journal)
    auth = access.credentials.auth(access.folder)
    _tell_of_credentials(access, outside)
    async with open_client(service_address(settings), settings.timeout, auth, use_proxies=True) as http:
        provider = open_provider(settings, http, access.credentials, access.folder)
        work = _Work(access, journal, commits, stop, outside).withdrawal(provider, found)
        news.publish(CancelBegun(found.open))
        async with anyio.create_task_group() as beside:
            beside.start_soon(commits.serve)
            beside.start_soon(_beat, owners)
            beside.start_soon(ticking, outside.tick)
            beside.start_soon(listen, stop, news, beside.cancel_scope)
            try:
                await _work_off(work, access, journal)
            finally:
                commits.close()
                beside.cancel_scope.cancel()  # not the commits: what is left of them is written
    news.publish(CancelEnded())
    if error := work.error or commits.error:
        raise error
    found.at_once = stop.at_once
    if found.left:
        found.reason = stop.reason or found.reason or "the service did not say that they ended"
        found.exit_code = stop.exit_code or ExitCode.UNAVAILABLE


async def _work_off(work: Withdrawal, access: Access, journal: Journal) -> None:
    """Work the operations off within our part of the quota; after a signal, for the grace."""
    place = (work.limits, (work.clock, work.news), LOOKS, AT_ONCE)
    partner = open_partner(access, journal.path, *place)
    async with shared([partner] if partner is not None else []), anyio.create_task_group() as working:
        working.start_soon(_end_grace, work.stop, work.clock, access.settings.grace, working.cancel_scope)
        await work.run(journal.open_operations())
        working.cancel_scope.cancel()


async def _end_grace(stop: Stop, clock: Clock, grace_s: float, working: anyio.CancelScope) -> None:
    await stop.wait()
    if stop.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        await clock.sleep(grace_s)
        working.cancel()  # what was in flight stays open


def _tell_of_credentials(access: Access, outside: Outside) -> None:
    """Have warnings of credentials told, those of now and those to come."""
    for warning in access.credentials.warnings:
        outside.news.publish(Notice(warning))
    if (keeper := access.credentials.keeper) is not None:
        keeper.warn = lambda sentence: outside.news.publish(Notice(sentence))


async def _beat(owners: Sequence[Owner]) -> None:
    """Show that this command is alive, in real time."""
    while True:
        await anyio.sleep(BEAT_S)
        for owner in owners:
            owner.beat()
