"""The parts of a run put together: feed, limits, verdicts, crews and runner, from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batch.attempts import Ends, Numbers, Parts
from batch.budget import Budget
from batch.client import AtOnce, Client
from batch.clock import Clock
from batch.errors import ExitCode
from batch.events import Event, LimitChanged, News, RowFinished, RowsSkipped
from batch.harvest import LOOKS_AT_ONCE, Again, Harvest, Submitting
from batch.journal import ASYNC, SYNC, Commits
from batch.limits import Concurrency, LimitChange, Limits
from batch.parsing import RateLimit, rates_over
from batch.plan.deadlines import find_deadline
from batch.plan.feeding import Feed, RowNames, Rules
from batch.plan.job import Job
from batch.plan.opening import defaults
from batch.plan.sharing import LOOKS, Partner, open_partner, shared
from batch.plan.splitting import Outlook, Split
from batch.plan.watching import Chronicle, EndOfCollecting, FailureCap, Overcharged
from batch.providers import Provider
from batch.retry import RetryPolicy
from batch.runner import Crew, Frame, Outfit, Runner
from batch.stopping import Stop
from batch.verdicts import Patience, Verdicts

DAY_S = 86400.0
# Submissions that are on their way at once: each is answered at once, and the windows are what limits.
SUBMISSIONS_AT_ONCE = 16
# A look that fails is no row's fault: it is repeated for as long as an outage may last.
LOOKS_AT_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Outer:
    """What a run's parts share that is not the job's: the service, the wish to end, news and time."""

    provider: Provider
    stop: Stop
    news: News
    clock: Clock


class Answering:
    """One pass over a job's rows: made from the settings, run once."""

    def __init__(self, job: Job, provider: Provider, stop: Stop, news: News, clock: Clock) -> None:
        settings, journal = job.settings, job.journal
        self._job, self._outer = job, Outer(provider, stop, news, clock)
        self._deadline = find_deadline(settings, clock)
        self._commits = Commits(journal)
        accounts = job.accounts
        self._budget = Budget(
            accounts.caps,
            stop,
            accounts.earlier(journal.spending()),
            Overcharged(news).note,
            patient=not settings.detach_after_submit,
        )
        news.subscribe(Chronicle(self._commits, journal, clock).note)
        if settings.max_failures is not None:
            news.subscribe(FailureCap(settings.max_failures, job.rows, stop).note)
        names = RowNames(provider.identity, by_id=settings.id_column is not None)
        rules = Rules(
            settings.dedupe, settings.unknown == "skip", settings.max_rows, job.only, settings.retry_expired
        )
        self._feed = Feed(job.input.reader, defaults(settings), names, journal, rules)
        self._rows = _Rows(job.rows)
        news.subscribe(self._rows.note)
        numbers = Numbers(journal.identity, journal.run, journal.next_attempt())
        self._partners = list[Partner]()
        self._harvest = self._open_harvest()
        crews = self._crews(numbers)
        self.limits = crews[0].limits
        outfit = Outfit(self._commits, stop, clock, news, job.owners)
        frame = Frame(self._deadline, settings.grace, settings.detach_after_submit)
        self._runner = Runner(crews, outfit, frame, self._harvest)

    async def run(self) -> None:
        """Answer the rows; raises `ChatbatchError` where something broke the run off."""
        async with shared(self._partners):
            await self._runner.run(self._feed.batches)

    def _left(self) -> int:
        """Return how many rows are neither done nor submitted."""
        return max(0, self._rows.rows - self._rows.done - self.open_operations)

    @property
    def held_back(self) -> int:
        """Return how many rows were beyond `--max-rows`."""
        return self._feed.held_back

    @property
    def open_operations(self) -> int:
        """Return how many operations nobody has seen the end of."""
        return self._harvest.open if self._harvest else 0

    def _crews(self, numbers: Numbers) -> list[Crew]:
        mode = self._job.settings.mode
        crews = []
        if mode != SYNC and self._harvest is not None:
            crews.append(self._submitters(numbers, self._harvest))
        if mode != ASYNC:
            crews.append(self._askers(numbers))
        if len(crews) == 2 and self._harvest is not None and self._deadline is not None:
            clock = self._outer.clock
            outlook = Outlook(self._harvest.durations, self._harvest.ages, clock)
            split = Split(self._deadline, clock, crews[0].limits, outlook, self._left, lambda: crews[0].busy)
            crews[0].wanted, crews[1].wanted = split.wants_async, split.wants_sync
            crews[0].limits.in_time = split.last_submission
        return crews

    def _askers(self, numbers: Numbers) -> Crew:
        settings, outer = self._job.settings, self._outer
        bounds = settings.concurrency
        # Who states a rate knows more of the quota than its default: slow start goes on until the rate is used.
        granted = max(outer.provider.granted, *(rate.count for rate in settings.limit if rate.seconds == 1), 0)
        concurrency = Concurrency(bounds.low, bounds.high, granted)
        limits = self._limits(concurrency, settings.limit, outer.stop, self._deadline, "requests")
        self._restore(limits, SYNC)
        self._share(limits, SYNC, outer.provider.granted)
        parts = self._parts(limits, outer.stop, self._patience())
        client = Client(parts, numbers, AtOnce(parts, self._ends()))
        return Crew(client, limits, bounds.high)

    def _submitters(self, numbers: Numbers, harvest: Harvest) -> Crew:
        settings, outer = self._job.settings, self._outer
        rates = rates_over(settings.async_limit, outer.provider.granted_async[0])
        at_once = Concurrency(SUBMISSIONS_AT_ONCE, SUBMISSIONS_AT_ONCE, SUBMISSIONS_AT_ONCE)
        # With both modes the other one goes on where this one's windows stay shut until the deadline.
        deadline = self._deadline if settings.mode == ASYNC else None
        limits = self._limits(at_once, rates, outer.stop, deadline, "submissions", prompt=True)
        self._restore(limits, ASYNC)
        self._share(limits, ASYNC, SUBMISSIONS_AT_ONCE)
        parts = self._parts(limits, outer.stop, self._patience())
        client = Client(parts, numbers, Submitting(parts, harvest))
        return Crew(client, limits, SUBMISSIONS_AT_ONCE, lambda: harvest.has_room)

    def _open_harvest(self) -> Harvest | None:
        """Return what collects operations, with those that are open; None where there are none to collect."""
        settings, outer, journal = self._job.settings, self._outer, self._job.journal
        left = list(journal.open_operations())
        if settings.mode == SYNC and not left:
            return None

        def ended(reason: str, code: ExitCode) -> None:
            outer.stop.request(reason, code)

        collecting = Stop(ended)
        outer.news.subscribe(EndOfCollecting(collecting).note)
        rates = rates_over(settings.poll_limit, outer.provider.granted_async[1])
        at_once = Concurrency(LOOKS_AT_ONCE, LOOKS_AT_ONCE, LOOKS_AT_ONCE)
        limits = self._limits(at_once, rates, collecting, None, "looks at operations", prompt=True)
        self._share(limits, LOOKS, LOOKS_AT_ONCE)
        patience = Patience(RetryPolicy(LOOKS_AT_MOST, None), True, settings.max_outage)
        again = Again(settings.retries + 1, settings.retry_maybe_billed)
        run = journal.run
        harvest = Harvest(
            self._parts(limits, collecting, patience),
            self._ends(),
            again,
            lambda row_key: journal.attempts_in(run, row_key),
        )
        harvest.adopt(left)
        return harvest

    def _parts(self, limits: Limits, stop: Stop, patience: Patience) -> Parts:
        outer = self._outer
        verdicts = Verdicts(patience, limits, outer.clock, stop, outer.news)
        shared = (self._job.accounts, self._budget, outer.clock, stop, outer.news)
        return Parts(outer.provider, self._commits, limits, verdicts, *shared)

    def _ends(self) -> Ends:
        return Ends(self._commits, self._outer.clock, self._outer.news)

    def _patience(self) -> Patience:
        settings = self._job.settings
        retry = RetryPolicy(settings.retries + 1, settings.retry_timeout)
        return Patience(retry, settings.retry_maybe_billed, settings.max_outage)

    def _limits(
        self,
        concurrency: Concurrency,
        rates: Sequence[RateLimit],
        stop: Stop,
        deadline: float | None,
        what: str,
        *,
        prompt: bool = False,
    ) -> Limits:
        def told(change: LimitChange) -> None:
            limit = change.limit.replace("requests", what, 1)
            self._outer.news.publish(LimitChanged(limit, change.value, change.reason))

        return Limits(
            concurrency, rates, clock=self._outer.clock, stop=stop, told=told, deadline=deadline, prompt=prompt
        )

    def _share(self, limits: Limits, mode: str, granted: int) -> None:
        """Divide a mode's quota with other runs on this machine."""
        outside = (self._outer.clock, self._outer.news)
        partner = open_partner(self._job.access, self._job.paths.journal, limits, outside, mode, granted)
        if partner is not None:
            self._partners.append(partner)

    def _restore(self, limits: Limits, mode: str) -> None:
        """Count what earlier runs sent in a mode."""
        clock = self._outer.clock
        sent = self._job.journal.sent_since(clock.time() - DAY_S, 1.0, mode)
        limits.restore((max(0.0, clock.time() - at), count) for at, count in sent)


@dataclass(slots=True)
class _Rows:
    """Counts the rows that need nothing more."""

    rows: int
    done: int = 0

    def note(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, RowsSkipped):
            self.done += event.answered + event.invalid
        elif isinstance(event, RowFinished):
            self.done += 1
