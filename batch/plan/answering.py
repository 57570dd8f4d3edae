"""The parts of a run put together: feed, limits, verdicts, client and runner, from the settings."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.client import Client, Numbers, Parts
from batch.clock import Clock
from batch.events import LimitChanged, News
from batch.journal import Commits
from batch.limits import Concurrency, LimitChange, Limits
from batch.plan.feeding import Feed, RowNames, Rules
from batch.plan.job import Job
from batch.plan.opening import defaults
from batch.providers import Provider
from batch.retry import RetryPolicy
from batch.runner import Frame, Runner
from batch.settings import Settings
from batch.stopping import Stop
from batch.verdicts import Patience, Verdicts

DAY_S = 86400.0


class Answering:
    """One pass over a job's rows: made from the settings, run once."""

    def __init__(self, job: Job, provider: Provider, stop: Stop, news: News, clock: Clock) -> None:
        settings, journal = job.settings, job.journal
        deadline = find_deadline(settings, clock)
        commits = Commits(journal)
        self.limits = _limits(settings, provider, deadline, stop=stop, news=news, clock=clock)
        since = clock.time() - DAY_S
        sent = journal.sent_since(since, 1.0)
        self.limits.restore((max(0.0, clock.time() - at), count) for at, count in sent)
        retry = RetryPolicy(settings.retries + 1, settings.retry_timeout)
        patience = Patience(retry, settings.retry_maybe_billed, settings.max_outage)
        verdicts = Verdicts(patience, self.limits, clock, stop, news)
        parts = Parts(provider, commits, self.limits, verdicts, clock, stop, news)
        numbers = Numbers(journal.identity, journal.run, journal.next_attempt())
        names = RowNames(provider.identity, by_id=settings.id_column is not None)
        rules = Rules(settings.dedupe, settings.unknown == "skip", settings.max_rows)
        self._feed = Feed(job.input.reader, defaults(settings), names, journal, rules)
        frame = Frame(settings.concurrency.high, deadline, settings.grace)
        self._runner = Runner(Client(parts, numbers), parts, owners=job.owners, frame=frame)

    async def run(self) -> None:
        """Answer the rows; raises `ChatbatchError` where something broke the run off."""
        await self._runner.run(self._feed.batches())

    @property
    def held_back(self) -> int:
        """Return how many rows were beyond `--max-rows`."""
        return self._feed.held_back


def _limits(
    settings: Settings, provider: Provider, deadline: float | None, *, stop: Stop, news: News, clock: Clock
) -> Limits:
    def told(change: LimitChange) -> None:
        news.publish(LimitChanged(change.limit, change.value, change.reason))

    bounds = settings.concurrency
    # Who states a rate knows more of the quota than its default: slow start goes on until the rate is used.
    granted = max(provider.granted, *(rate.count for rate in settings.limit if rate.seconds == 1), 0)
    concurrency = Concurrency(bounds.low, bounds.high, granted)
    return Limits(concurrency, settings.limit, clock=clock, stop=stop, told=told, deadline=deadline)


def find_deadline(settings: Settings, clock: Clock) -> float | None:
    """Return when no more rows are to be begun, as a time of the clock's `monotonic`; None for never.

    `--stop-at` is the next such time of day in the machine's time zone.
    """
    bounds = [settings.max_duration] if settings.max_duration is not None else []
    if settings.stop_at is not None:
        now = datetime.fromtimestamp(clock.time()).astimezone()
        hour, minute = settings.stop_at
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if at <= now:
            at += timedelta(days=1)
        bounds.append((at - now).total_seconds())
    return clock.monotonic() + min(bounds) if bounds else None
