"""What a failure means: for the row, whether and when it is asked again; for the run, what has to change.

Asking again is free where a failure surely was not billed, so only the run's own bounds end that. Where it may
have been, every time counts against the row; except in an outage, which is no row's fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batch.breaker import Breaker
from batch.clock import Clock
from batch.errors import AttemptFailed, Billed, ExitCode
from batch.events import News, ServiceBack, ServiceDown
from batch.limits import Limits
from batch.parsing import RateLimit
from batch.retry import RetryPolicy
from batch.stopping import Stop

# A refused credential, or no permission: so many requests one after the other have to say so.
REFUSALS_THAT_STOP = 3
# So many answers in a row that were billed and cannot be read: the service speaks another language by now, and
# every further one costs money.
UNREADABLE_THAT_STOP = 10
# Failures that the service states itself, for this very request: a row that meets one again and again is given
# up even where nothing else is left to show that the service is up (the last rows of an input).
MAY_BE_THE_ROWS = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
# So many rows refused alike, with no answer at all in this run, are the run's fault and not the rows'.
ROWS_REFUSED_ALIKE = 50


@dataclass(slots=True)
class Life:
    """What a row has been through in this run; `strikes` are the failures that count against it."""

    row_key: str
    own_model: bool
    attempts: int = 0
    strikes: int = 0
    spent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """What the user allows: the retry policy, asking again where it may cost, and the longest outage."""

    retry: RetryPolicy
    retry_maybe_billed: bool
    max_outage_s: float | None


@dataclass(slots=True)
class Unreadable:
    """Counts answers in a row that were billed and cannot be read, and ends the run where these are too many."""

    stop: Stop
    _in_a_row: int = 0

    def answered(self) -> None:
        """Note an answer that could be read."""
        self._in_a_row = 0

    def failed(self, error: AttemptFailed) -> None:
        """Note a failure, which counts where it was billed."""
        if error.billed is not Billed.YES:
            return
        self._in_a_row += 1
        if self._in_a_row >= UNREADABLE_THAT_STOP:
            self.stop.request(
                f"{self._in_a_row} answers in a row were billed and cannot be read ({error.code}): {error}",
                ExitCode.UNEXPECTED,
            )


@dataclass(slots=True)
class Verdicts:
    """Told of every answer and every failure, in the order in which they come."""

    patience: Patience
    limits: Limits
    clock: Clock
    stop: Stop
    news: News
    breaker: Breaker = field(default_factory=Breaker)
    _refusals: int = 0
    _refused_at: float = float("-inf")
    _slowed_since: float | None = None
    _any_answer: bool = False
    _unreadable: Unreadable = field(init=False)
    _alike: tuple[str, int] = ("", 0)

    def __post_init__(self) -> None:
        self._unreadable = Unreadable(self.stop)

    def answered(self, sent_at: float) -> None:
        """Note a row's answer: the service is there, and takes us."""
        self._any_answer = True
        self._unreadable.answered()
        self._up(sent_at)

    def delay(self, life: Life, error: AttemptFailed, sent_at: float, latency_s: float) -> float | None:
        """Return the seconds after which the row is asked again, or None where it has failed.

        `sent_at` is a time of the clock's `monotonic`.
        """
        if error.stops_run is not None:
            return self._refused(life, error, sent_at)
        if error.slow_down:
            return self._slowed(life, error, sent_at) if self.patience.retry.attempts > 1 else None
        if not error.retryable:
            self._up(sent_at)
            self._count_alike(error)
            return None
        return self._service_failed(life, error, sent_at, latency_s)

    def _up(self, sent_at: float) -> None:
        """Note that the service is there, and takes our requests.

        A request that left before the last refusal says nothing of that.
        """
        taken = sent_at >= self._refused_at
        if taken:
            self._refusals = 0
        self._slowed_since = None
        opened_at = self.breaker.opened_at
        if self.breaker.answered(sent_at) and opened_at is not None:
            self.news.publish(ServiceBack(self.clock.monotonic() - opened_at))
        if taken and not self.breaker.is_open:
            self.limits.trust()

    def _refused(self, life: Life, error: AttemptFailed, sent_at: float) -> float | None:
        """Count refusals of the run that followed each other; those in flight together are one."""
        if life.own_model and error.code == "PERMISSION_DENIED":
            self._up(sent_at)
            return None  # the row named a model of its own that is not ours to use
        self.limits.doubt()
        if sent_at >= self._refused_at:
            self._refusals += 1
            self._refused_at = self.clock.monotonic()
        if self._refusals >= REFUSALS_THAT_STOP and error.stops_run is not None:
            self.stop.request(f"The service refused the run ({error.code}): {error}", error.stops_run)
        return self.patience.retry.pause(life.attempts) if self.patience.retry.attempts > 1 else None

    def _slowed(self, life: Life, error: AttemptFailed, sent_at: float) -> float:
        """Let the limits know; the pause is shared, so the row adds only a little jitter of its own."""
        self.limits.give_back()
        now = self.clock.monotonic()
        self._slowed_since = now if self._slowed_since is None else self._slowed_since
        longest = self.patience.max_outage_s
        if longest is not None and now - self._slowed_since > longest:
            self.stop.request(f"a quota has not cleared for {longest:.0f} s: {error}", ExitCode.QUOTA)
        quota = error.quota
        if quota is not None and quota.seconds is not None:
            if self.limits.learn(RateLimit(quota.count, quota.seconds), error.retry_after):
                self._slowed_since = None  # we know when it clears, and wait for that without asking
        else:
            self.limits.refused(quota.count if quota else None, error.retry_after, sent_at)
        return self.patience.retry.jitter(life.attempts)

    def _service_failed(self, life: Life, error: AttemptFailed, sent_at: float, latency_s: float) -> float | None:
        now = self.clock.monotonic()
        was_open = self.breaker.is_open
        pause = self.breaker.failed(life.row_key, sent_at, now)
        self.limits.stumbled()
        if pause:
            self.limits.doubt()
            self.limits.pause(pause)
            if not was_open:
                self.news.publish(ServiceDown(error.code, str(error), pause))
        self._too_long(error, now)
        self._unreadable.failed(error)
        if error.billed is not Billed.NO and not self.patience.retry_maybe_billed:
            return None
        if self.patience.retry.attempts <= 1:
            return None
        if error.billed is Billed.NO or (self.breaker.is_open and error.code not in MAY_BE_THE_ROWS):
            return max(self.patience.retry.pause(life.attempts), error.retry_after or 0.0)
        life.strikes += 1
        life.spent_s += latency_s
        delay = self.patience.retry.delay(error, life.strikes, life.spent_s)
        life.spent_s += delay or 0.0
        return delay

    def _too_long(self, error: AttemptFailed, now: float) -> None:
        since, longest = self.breaker.failing_since, self.patience.max_outage_s
        if since is not None and longest is not None and now - since > longest:
            self.stop.request(
                f"the service has not answered for {now - since:.0f} s ({error.code}): {error}",
                ExitCode.UNAVAILABLE,
            )

    def _count_alike(self, error: AttemptFailed) -> None:
        if self._any_answer:
            return
        code, count = self._alike
        self._alike = (error.code, count + 1 if code == error.code else 1)
        if self._alike[1] >= ROWS_REFUSED_ALIKE:
            self.stop.request(
                f"The first {ROWS_REFUSED_ALIKE} rows were all refused ({error.code}): {error}",
                ExitCode.ROWS_FAILED,
            )
