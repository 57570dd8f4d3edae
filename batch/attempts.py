"""What a row is while it is being answered, and how its attempts and its end are written down.

Shared by those who bring a row to its end: at once (`client`), or as an operation that is collected later
(`harvest`). Nothing here sends or waits for the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from batch.accounts import Accounts
from batch.budget import Budget, Reservation
from batch.clock import Clock
from batch.errors import AttemptFailed, Billed
from batch.events import AttemptLost, News, RowFinished
from batch.journal import NOT_SENT, Commits, Outcome, Receipt, Result
from batch.limits import Limits
from batch.providers import Provider
from batch.records import NOTHING_CHARGED, Charge, Completion, Reply, Request, RequestIds, Status, Usage
from batch.stopping import Stop
from batch.verdicts import Verdicts

OUTCOMES = {Billed.NO: "not_billed", Billed.MAYBE: "maybe_billed", Billed.YES: "billed"}
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


@dataclass(slots=True)
class Numbers:
    """What a run writes on its attempts: the journal's identity, the run's number, the next attempt's number."""

    journal: str
    run: int
    next_attempt: int

    def take(self) -> int:
        """Return a number that no attempt has yet."""
        self.next_attempt += 1
        return self.next_attempt - 1


@dataclass(frozen=True, slots=True)
class Made:
    """One request that was made: its number in the journal, within the row, and its times."""

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
class Parts:
    """What those work with who ask: of one mode, whose limits and verdicts are its own."""

    provider: Provider
    commits: Commits
    limits: Limits
    verdicts: Verdicts
    accounts: Accounts
    budget: Budget
    clock: Clock
    stop: Stop
    news: News


class Delivery(Protocol):
    """How a request reaches the service, and what its reply is: an answer, or the promise of one."""

    @property
    def mode(self) -> str:
        """Return the journal's word for the mode."""
        ...

    async def send(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Send a body; raises `AttemptFailed` where no whole reply came."""
        ...

    async def take(self, task: Task, made: Made, reply: Reply, reservation: Reservation) -> None:
        """Take in what came back; raises `AttemptFailed` where it is of no use."""
        ...


@dataclass(frozen=True, slots=True)
class Ends:
    """Writes down how attempts and rows ended, and tells it."""

    commits: Commits
    clock: Clock
    news: News

    def lost(self, made: Made, error: AttemptFailed, reservation: Reservation) -> None:
        """Write down an attempt without a usable answer; what it may have cost stays spent."""
        charge = NOTHING_CHARGED if error.billed is Billed.NO else None
        reservation.settle(charge)
        self.commits.defer(Outcome(made.attempt, OUTCOMES[error.billed], error.code, charge))

    def unsent(self, attempt: int) -> None:
        """Write down that the run ended before an attempt was sent, so that nobody takes it for one in doubt."""
        self.commits.defer(Outcome(attempt, OUTCOMES[Billed.NO], NOT_SENT, NOTHING_CHARGED))

    def tell_lost(self, row_key: str, number: int, error: AttemptFailed, delay: float | None) -> None:
        """Tell of an attempt without a usable answer, and when the row is asked again."""
        told = (error.code, str(error), error.billed, error.slow_down)
        self.news.publish(AttemptLost(row_key, number, *told, delay))

    def succeed(self, row_key: str, made: Made, completion: Completion, charge: Charge | None) -> None:
        """Write down and tell an answer whose receipt is on disk: the rest follows and need not be waited for."""
        now = self.clock.time()
        self.commits.defer(Outcome(made.attempt, "answered", None, charge))
        self.commits.defer(answered(row_key, made.attempt, made.number, completion, made.latency_s, now, charge))
        cost = charge.cost if charge else None
        self.news.publish(
            RowFinished(row_key, Status.OK, completion.usage, made.number, made.latency_s, None, None, cost)
        )

    async def fail(self, row_key: str, made: Made, error: AttemptFailed) -> None:
        """Write down and tell that a row has failed for good."""
        now = self.clock.time()
        if made.reply is not None and not made.is_receipt:
            self.commits.defer(Receipt(made.attempt, made.reply, now, made.latency_s))
        told = (error.code, str(error))
        await self.commits.commit(
            Result(row_key, made.attempt, Status.FAILED, made.number, _NO_USAGE, *told, made.latency_s, now)
        )
        self.news.publish(RowFinished(row_key, Status.FAILED, _NO_USAGE, made.number, made.latency_s, *told))


def answered(
    row_key: str,
    attempt: int,
    attempts: int,
    completion: Completion,
    latency_s: float | None,
    now: float,
    charge: Charge | None,
) -> Result:
    """Return the result of a row whose receipt holds this completion."""
    cost = charge.cost if charge else None
    return Result(row_key, attempt, Status.OK, attempts, completion.usage, None, None, latency_s, now, cost)
