"""What happens in a run, as frozen news; progress, logs and metrics subscribe.

The floors that do the work publish and know no subscriber. Every event becomes one JSON line under `--json`:
its class name in snake case as `event`, and its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from batch.errors import Billed, ExitCode
from batch.parsing import Money
from batch.records import Status, Usage


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The input was counted and the journal opened: `rows` in the input, `answered` in the journal."""

    rows: int
    answered: int
    model: str
    concurrency: str
    output: str
    emulated: bool


@dataclass(frozen=True, slots=True)
class RowsSkipped:
    """Rows that need no request: they have an answer already, or are invalid."""

    answered: int
    invalid: int


@dataclass(frozen=True, slots=True)
class RowFinished:
    """A row has its answer, or failed for good; its receipt is committed."""

    row_key: str
    status: Status
    usage: Usage
    attempts: int
    latency_s: float
    error_code: str | None
    error_message: str | None
    cost: Money | None = None


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """A request brought no usable answer; the row is asked again after `delay_s`, or fails where None."""

    row_key: str
    number: int
    error_code: str
    error_message: str
    billed: Billed
    slow_down: bool
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The run stops before its end: no more rows are begun."""

    reason: str
    exit_code: ExitCode


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know and that is no failure."""

    message: str


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """A limit was adapted: `requests at once` or `requests per hour`, its value now, and why."""

    limit: str
    value: int
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceDown:
    """Many rows failed alike: nothing is sent but a probe, the next after so many seconds."""

    error_code: str
    error_message: str
    probe_in_s: float


@dataclass(frozen=True, slots=True)
class ServiceBack:
    """A probe was answered; the outage lasted so many seconds."""

    after_s: float


@dataclass(frozen=True, slots=True)
class UnknownBilled:
    """Requests that were in flight when a run ended: they may have been billed. `asked_again`, or left."""

    row_keys: list[str]
    asked_again: bool


@dataclass(frozen=True, slots=True)
class OperationExpired:
    """The service does not know an operation any more: its row has failed, and may have been billed."""

    row_key: str
    operation_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CancelBegun:
    """So many operations are open, and each is to be cancelled."""

    operations: int


@dataclass(frozen=True, slots=True)
class OperationGivenUp:
    """What became of an operation that is cancelled: `asked` to end first, and in the end `cancelled`, `answered`,
    `failed` or `expired`.
    """

    row_key: str
    operation_id: str
    became: str


@dataclass(frozen=True, slots=True)
class CancelEnded:
    """No more operations are cancelled."""


@dataclass(frozen=True, slots=True)
class StatusAsked:
    """Somebody wants to know how far the run is (SIGUSR1)."""


@dataclass(frozen=True, slots=True)
class Exporting:
    """The requests are done; the output is being written."""

    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What all runs of a job have spent in one currency.

    `answers` is the cost of the output's rows; `lost` of requests that brought no usable answer and may have
    been billed, `unknown` of those that were in flight when a run ended: both at most. `total` is everything, at
    most. `unpriced` requests were made while no price was known; they stand in a line without a currency.
    """

    currency: str
    answers: Decimal
    lost: Decimal
    unknown: Decimal
    total: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True)
class ModeShare:
    """What one mode did in all runs of a job: requests, those that brought an answer, their tokens and cost."""

    mode: str
    requests: int
    answered: int
    input_tokens: int
    completion_tokens: int
    cost: Money | None


@dataclass(frozen=True, slots=True)
class Estimated:
    """The input tokens of so many answered rows: as they were estimated, and as the service stated them.

    `cost` is what an estimate before the run would have said, with its assumption about answers, and `charged`
    what they came to; None where a price is missing.
    """

    rows: int
    estimated: int
    stated: int
    cost: Money | None = None
    charged: Money | None = None

    @property
    def off_percent(self) -> float:
        """Return by how much the estimate was too high, in percent to one decimal; below zero it was too low."""
        if not self.stated:
            return 0.0
        return round(100 * (self.estimated - self.stated) / self.stated, 1) + 0.0  # no `-0.0`


@dataclass(frozen=True, slots=True)
class Needs:
    """What the rows that are left need: tokens and money as expected from those answered, and at most."""

    rows: int
    input_tokens: int
    completion_tokens: int | None
    cost: Money | None
    at_most: Money | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run's summary: output rows by status, tokens that the service stated, money, and how it was done.

    `unstated`: so many answers came without their tokens.
    """

    output: str
    rows: dict[str, int]
    input_tokens: int
    completion_tokens: int
    total_tokens: int
    spending: list[Spending]
    estimated: Estimated | None
    needs: Needs | None
    requests: int
    retries: int
    not_billed: int
    maybe_billed: int
    unknown_billed: int
    open_operations: int
    modes: list[ModeShare]
    concurrency: int
    limit_changes: int
    paused_s: float
    duration_s: float
    emulated: bool
    reason: str
    exit_code: ExitCode
    unstated: int = 0


Event: TypeAlias = (
    RunStarted
    | RowsSkipped
    | RowFinished
    | AttemptLost
    | LimitChanged
    | ServiceDown
    | ServiceBack
    | UnknownBilled
    | OperationExpired
    | CancelBegun
    | OperationGivenUp
    | CancelEnded
    | StatusAsked
    | Stopping
    | Notice
    | Exporting
    | RunFinished
)


@dataclass(slots=True)
class Tally:
    """What has happened so far in this run, counted from the news."""

    rows: int = 0
    answered_before: int = 0
    ok: int = 0
    failed: int = 0
    invalid: int = 0
    lost: int = 0
    retries: int = 0
    not_billed: int = 0
    maybe_billed: int = 0
    limit_changes: int = 0
    input_tokens: int = 0
    completion_tokens: int = 0
    cost: dict[str, Decimal] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Return how many requests have ended."""
        return self.ok + self.lost

    @property
    def finished(self) -> int:
        """Return how many input rows need nothing more."""
        return self.answered_before + self.ok + self.failed + self.invalid

    def note(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RunStarted():
                self.rows = event.rows
            case RowsSkipped():
                self.answered_before += event.answered
                self.invalid += event.invalid
            case RowFinished():
                self.ok += event.status is Status.OK
                self.failed += event.status is not Status.OK
                self.input_tokens += event.usage.input_tokens or 0
                self.completion_tokens += event.usage.completion_tokens or 0
                if event.cost is not None:
                    spent = self.cost.get(event.cost.currency, Decimal(0))
                    self.cost[event.cost.currency] = spent + event.cost.amount
            case AttemptLost():
                self.lost += 1
                self.retries += event.delay_s is not None
                self.not_billed += event.billed is Billed.NO
                self.maybe_billed += event.billed is not Billed.NO
            case LimitChanged():
                self.limit_changes += 1


@dataclass(slots=True)
class News:
    """Where events are published and read."""

    subscribers: list[Callable[[Event], None]] = field(default_factory=list)

    def publish(self, event: Event) -> None:
        """Tell every subscriber, in the order of their subscription."""
        for subscriber in self.subscribers:
            subscriber(event)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Add a subscriber."""
        self.subscribers.append(subscriber)
