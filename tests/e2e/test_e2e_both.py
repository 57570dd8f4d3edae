"""Both modes at once where operations become slower or faster on the way: in time or told so, none twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaigns import measuring
from campaigns.measuring import Seen
from e2e.harness import statuses

from batch.clock import FastClock
from batch.emulator import Config, Latency, Quotas, Running, background
from batch.errors import ExitCode
from batch.journal import Records
from batch.parsing import RateLimit

ROWS = 320
SPEED = 40.0
A_SECOND = 4


@dataclass
class _Night:
    """A service whose operations take one time at first, and another from some operation on."""

    service: Running
    clock: FastClock
    rows: Path

    def run(self, deadline_s: float, mode: str = "both") -> Seen:
        limit = (RateLimit(A_SECOND, 1), RateLimit(100_000, 3600))
        return measuring.run(
            self.service, self.rows, clock=self.clock, mode=mode, max_duration=deadline_s, async_limit=limit
        )

    @property
    def output(self) -> Path:
        return self.rows.with_suffix(".parquet")

    def open(self) -> int:
        records = Records.open(self.output.with_name(self.output.name + ".journal"))
        try:
            return sum(1 for _ in records.open_operations())
        finally:
            records.close()

    def bought(self) -> Counter[object]:
        """Return how often each row was bought: as an operation that was handed in, or answered at once."""
        times: Counter[object] = Counter(self.service.ledger.submissions())
        times.update(item.client_request_id for item in self.service.ledger.entries() if item.mode == "sync")
        return times

    def sync(self) -> int:
        return self.service.ledger.totals("sync").requests


@contextmanager
def _night(folder: Path, first: float, count: int, then: str) -> Iterator[_Night]:
    clock = FastClock(SPEED)
    config = Config(
        Quotas(concurrent=4, async_per_hour=None),
        Latency.parse("uniform:1.5-2.5"),
        operation_latency=Latency.parse(then),
        operation_delays=(first,) * count,
    )
    with background(config, clock=clock) as service:
        yield _Night(service, clock, measuring.write_rows(folder / "in.jsonl", ROWS))


def test_operations_that_become_slower_are_still_in_time(tmp_path: Path) -> None:
    """Operations that take eight times as long from the middle on are submitted no later than they can be."""
    with _night(tmp_path, 3.0, 120, "fixed:25") as night:
        seen = night.run(160.0)
        assert (seen.code, seen.summary().open_operations) == (ExitCode.OK, 0)
        assert statuses(night.output) == {"ok": ROWS}
        assert set(night.bought().values()) == {1}
        assert len(night.bought()) == ROWS


def test_operations_that_would_not_end_in_time_are_noticed(tmp_path: Path) -> None:
    """Where they end too late the other mode takes over; the rest is told, stays open, and is not bought again."""
    with _night(tmp_path, 3.0, 120, "fixed:130") as night:
        seen = night.run(100.0)
        left = seen.summary().open_operations
        found = statuses(night.output)
        assert seen.code is ExitCode.DEADLINE
        assert left == night.open() > 0
        assert found["ok"] + found["pending"] == ROWS
        assert night.sync() > 30  # about ten where only those that ended are known of
        assert night.run(1000.0, "async").code is ExitCode.OK
        assert statuses(night.output) == {"ok": ROWS}
        assert set(night.bought().values()) == {1}


def test_operations_that_become_faster_are_used_for_the_rest(tmp_path: Path) -> None:
    """What begins with slow operations and both modes is in time, and ends with little of the dear one."""
    with _night(tmp_path, 60.0, 60, "fixed:3") as night:
        seen = night.run(160.0)
        assert (seen.code, seen.summary().open_operations) == (ExitCode.OK, 0)
        assert statuses(night.output) == {"ok": ROWS}
        assert set(night.bought().values()) == {1}
        assert night.sync() < ROWS / 2
