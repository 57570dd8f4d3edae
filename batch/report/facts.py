"""What a report says, as frozen data: gathered by the plan, shown by whoever renders it.

Times are seconds since 1970 (UTC). Texts are a dataset's or a model's: whoever shows them has to
escape them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batch.events import Estimated, Needs, Spending
from batch.journal.timeline import Bin, Charged, Finished, LimitSeen, Loss, Lost, Notable, Underway, Waited
from batch.parsing import Money
from batch.report.scale import Scale

RUNNING, ENDED, KILLED = "running", "ended", "killed"


@dataclass(frozen=True, slots=True)
class RunSpan:
    """One run: when it began, when it ended or was last heard of, and how (`exit_code` None unless it ended)."""

    run: int
    started_at: float
    until: float
    state: str
    exit_code: int | None

    @property
    def duration_s(self) -> float:
        """Return how long it lasted."""
        return max(0.0, self.until - self.started_at)


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure of the answers is spread: median, 95th and 99th percentile, the highest."""

    p50: float
    p95: float
    p99: float
    highest: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that stands out, with its texts; they are empty where the input is gone. `where` is `file:line`."""

    row: Notable
    where: str = ""
    question: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """How the time went, in the slices of `scale`; and the distributions of `latency_s` and answers' tokens."""

    scale: Scale
    finished: Sequence[Finished]
    charged: Sequence[Charged]
    lost: Sequence[Lost]
    underway: Sequence[Underway]
    limits: Sequence[LimitSeen]
    waited: Sequence[Waited]
    latency: Sequence[Bin]
    lengths: Sequence[Bin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a report tells of a job.

    `rows` counts by status: `ok`, `failed`, `invalid`, `pending`; the last two are None where the inputs could
    not be read, and `note` says why. `finished_by` counts answers by their finish reason. `series` is None
    where only a summary was asked for.
    """

    output: str
    now: float
    state: str
    emulated: bool
    version: str
    model: str
    inputs: Sequence[str]
    runs: Sequence[RunSpan]
    rows: Mapping[str, int | None]
    note: str
    input_tokens: int
    completion_tokens: int
    total_tokens: int
    spending: Sequence[Spending]
    max_cost: Money | None
    max_total_tokens: int | None
    requests: int
    retries: int
    in_flight: int
    unknown: int
    latency: Spread | None
    lengths: Spread | None
    losses: Sequence[Loss]
    finished_by: Mapping[str, int]
    estimated: Estimated | None
    needs: Needs | None
    expensive: Sequence[Entry]
    failed: Sequence[Entry]
    series: Series | None

    @property
    def ok(self) -> int:
        """Return how many rows have an answer."""
        return self.rows.get("ok") or 0

    @property
    def duration_s(self) -> float:
        """Return how long all runs lasted together."""
        return sum(run.duration_s for run in self.runs)

    @property
    def rows_per_hour(self) -> float | None:
        """Return the rows answered in an hour of running."""
        return self.ok * 3600 / self.duration_s if self.duration_s and self.ok else None

    @property
    def lost(self) -> int:
        """Return how many requests brought no usable answer."""
        return sum(loss.attempts for loss in self.losses)
