"""Asynchronous mode over real sockets: operations are finished, not bought twice, and told where lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from campaigns import measuring, operations
from campaigns.measuring import Seen
from e2e.harness import read_output, statuses

from batch.clock import FastClock
from batch.emulator import Config, Fault, Latency, Quotas, Running, background
from batch.errors import ExitCode
from batch.events import AttemptLost, Event, OperationExpired
from batch.journal import Records
from batch.parsing import FailureLimit, Money

ROWS = 40
NO_QUOTAS = Quotas(async_per_second=None, async_per_hour=None, operations_per_second=None)
OFF: dict[str, object] = {"async_limit": (), "poll_limit": ()}


class _Night:
    """A service with a fast clock, and runs of one file against it."""

    def __init__(self, folder: Path, service: Running, clock: FastClock, rows: int) -> None:
        self.service, self.clock = service, clock
        self.path = measuring.write_rows(folder / "in.jsonl", rows)
        self.output = self.path.with_suffix(".parquet")

    def run(self, **settings: object) -> Seen:
        return measuring.run(self.service, self.path, clock=self.clock, **{"mode": "async", **OFF, **settings})

    def submissions(self) -> int:
        return self.service.ledger.activity().submissions


@contextmanager
def _night(folder: Path, *, rows: int = ROWS, speed: float = 50.0, latency: str = "uniform:5-20",
           faults: tuple[Fault, ...] = (), quotas: Quotas = NO_QUOTAS) -> Iterator[_Night]:  # fmt: skip
    clock = FastClock(speed)
    config = Config(quotas=quotas, operation_latency=Latency.parse(latency), faults=faults, seed=5)
    with background(config, clock=clock) as service:
        yield _Night(folder, service, clock, rows)


def _of(seen: Seen, kind: type[Event]) -> list[Event]:
    return [event for _, event in seen.events if isinstance(event, kind)]


@pytest.mark.campaign
@pytest.mark.measured
def test_the_pace_in_a_small_size(tmp_path: Path) -> None:
    """Under 10 submissions a second a run takes little longer than that allows, with few looks."""
    found = operations.pace(tmp_path, 120, 3.0, "uniform:2-5")
    assert found.answered == 120
    assert found.ratio < 1.15
    assert found.looks_each < 3
    assert found.refused == 0


@pytest.mark.campaign
def test_kills_in_a_small_size(tmp_path: Path) -> None:
    """After kills nothing is submitted twice but what was in flight, and that is listed."""
    figures = operations.kill(tmp_path, 6, 200)
    assert figures.broken == []
    assert figures.kills > 0


@pytest.mark.campaign
def test_kills_of_runs_that_leave_in_a_small_size(tmp_path: Path) -> None:
    """Nights that hand in and leave are killed, begun again and collected: nothing is bought twice unlisted."""
    figures = operations.kill(tmp_path, 3, 80, leave=True)
    assert figures.broken == []
    assert figures.kills > 0
    assert figures.left_open > 0


@pytest.mark.campaign
@pytest.mark.measured
def test_both_modes_in_a_small_size(tmp_path: Path) -> None:
    """A deadline that asynchronous mode alone misses is met with both, cheaper than with the other alone."""
    alone, sync, both = operations.both(tmp_path, rows=1200, speed=60.0)
    assert alone.answered < 1200
    assert alone.code in (7, 10)
    assert (sync.code, both.code, both.answered) == (0, 0, 1200)
    assert both.cost < sync.cost


def test_every_row_is_answered_at_half_the_price(tmp_path: Path) -> None:
    """Rows come back with their operation's id, and cost half."""
    with _night(tmp_path) as night:
        seen = night.run()
        totals = night.service.ledger.totals("async")
    assert seen.code is ExitCode.OK
    rows = read_output(night.output)
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["operation_id"] for row in rows}) == ROWS == totals.requests
    # Half a unit a token, and each request's units are rounded up to whole ones.
    expected = sum((-(-int(str(row["total_tokens"])) // 2) for row in rows), 0) * Decimal("0.0002")
    assert sum(Decimal(str(row["cost"])) for row in rows) == expected
    (share,) = seen.summary().modes
    assert (share.mode, share.answered) == ("async", ROWS)


def test_leave_and_come_back(tmp_path: Path) -> None:
    """One run hands everything in and ends well; later ones collect, and nothing is submitted again."""
    with _night(tmp_path, latency="fixed:200") as night:
        left = night.run(detach_after_submit=True)
        assert (left.code, left.summary().open_operations) == (ExitCode.OK, ROWS)
        assert statuses(night.output) == {"pending": ROWS}
        again = night.run(detach_after_submit=True)
        assert (again.code, again.summary().open_operations) == (ExitCode.OK, ROWS)
        collected = night.run()
        assert (collected.code, collected.summary().open_operations) == (ExitCode.OK, 0)
        assert (night.submissions(), night.service.ledger.totals().requests) == (ROWS, ROWS)
    assert statuses(night.output) == {"ok": ROWS}


def test_a_synchronous_run_finishes_what_is_open(tmp_path: Path) -> None:
    """What was handed in is collected, and not asked again, by a run in the other mode."""
    with _night(tmp_path, latency="fixed:60") as night:
        night.run(detach_after_submit=True)
        seen = night.run(mode="sync")
        assert seen.code is ExitCode.OK
        assert (night.submissions(), night.service.ledger.totals("sync").requests) == (ROWS, 0)
    assert statuses(night.output) == {"ok": ROWS}


def test_the_deadline_leaves_operations_open(tmp_path: Path) -> None:
    """At the deadline the run ends with 10; the same command later collects what it had handed in."""
    with _night(tmp_path, latency="fixed:120") as night:
        ended = night.run(max_duration=50.0)
        assert (ended.code, ended.summary().open_operations) == (ExitCode.DEADLINE, ROWS)
        assert night.run().code is ExitCode.OK
        assert night.submissions() == ROWS


@pytest.mark.parametrize("kind", ["operation-failed", "operation-exhausted", "operation-failed-response"])
def test_a_failed_operation_is_submitted_again(kind: str, tmp_path: Path) -> None:
    """An operation that failed in a way that may pass is submitted again, until its row is answered."""
    with _night(tmp_path, faults=(Fault(kind, 0.3),)) as night:
        seen = night.run(retries=20)
        lost = _of(seen, AttemptLost)
        assert seen.code is ExitCode.OK
        assert lost
        assert night.submissions() == ROWS + len(lost)
    assert statuses(night.output) == {"ok": ROWS}


def test_a_failed_operation_is_not_submitted_for_ever(tmp_path: Path) -> None:
    """The retry rules of synchronous mode hold: so many attempts, and with 0 retries one."""
    with _night(tmp_path, rows=5, faults=(Fault("operation-failed", 1.0),)) as night:
        assert night.run(retries=2).code is ExitCode.ROWS_FAILED
        assert night.submissions() == 5 * 3
        night.run(retries=0)
        assert night.submissions() == 5 * 4
    assert {row["error_code"] for row in read_output(night.output)} == {"INTERNAL"}


def test_a_wrong_request_fails_its_row_alone(tmp_path: Path) -> None:
    """INVALID_ARGUMENT inside an operation is the row's fault: it is not submitted again."""
    with _night(tmp_path, faults=(Fault("operation-invalid", 0.2),)) as night:
        seen = night.run()
        assert seen.code is ExitCode.ROWS_FAILED
        assert night.submissions() == ROWS
    failed = [row for row in read_output(night.output) if row["status"] == "failed"]
    assert failed
    assert {row["error_code"] for row in failed} == {"INVALID_ARGUMENT"}


def test_an_operation_that_the_service_forgot(tmp_path: Path) -> None:
    """An operation that is not known any more is told, fails its row, and is bought again only when asked for."""
    with _night(tmp_path, faults=(Fault("operation-expired", 0.25),)) as night:
        seen = night.run()
        expired = _of(seen, OperationExpired)
        assert seen.code is ExitCode.ROWS_FAILED
        assert expired
        codes = Counter(row["error_code"] for row in read_output(night.output))
        assert codes["EXPIRED"] == len(expired)
        assert night.run().code is ExitCode.ROWS_FAILED
        assert night.submissions() == ROWS
        night.service.emulator.faults = ()
        assert night.run(retry_expired=True).code is ExitCode.OK
        assert night.submissions() == ROWS + len(expired)


def test_an_operation_older_than_three_days(tmp_path: Path) -> None:
    """What is not done after three days is given up, visibly; its cost stays spent, since nobody saw its end."""
    with _night(tmp_path, rows=3, speed=100_000.0, latency="fixed:10000000") as night:
        seen = night.run()
        assert (seen.code, len(_of(seen, OperationExpired))) == (ExitCode.ROWS_FAILED, 3)
    (spent,) = seen.summary().spending
    assert spent.lost == spent.total > 0


def test_a_cap_holds_with_operations_open(tmp_path: Path) -> None:
    """What is open counts with its worst case, also for the next run, and is given back when it is seen."""
    cap = Money(Decimal("0.12"), "RUB")
    with _night(tmp_path, latency="fixed:60") as night:
        first = night.run(max_cost=cap, max_tokens=100, detach_after_submit=True)
        assert first.code is ExitCode.BUDGET
        handed_in = night.submissions()
        assert first.summary().open_operations == handed_in
        assert Decimal("0.08") < first.summary().spending[0].total <= cap.amount
        second = night.run(max_cost=cap, max_tokens=100)
        assert second.code is ExitCode.BUDGET
        assert ROWS > night.submissions() > handed_in
        assert night.service.ledger.totals().total_tokens * Decimal("0.0001") <= cap.amount
        assert second.summary().open_operations == 0
        assert night.run(max_tokens=100).code is ExitCode.OK


def test_a_submission_whose_answer_was_lost_is_in_doubt(tmp_path: Path) -> None:
    """An operation that nobody knows may run and be billed: the attempt counts as maybe billed."""
    with _night(tmp_path, faults=(Fault("drop-after", 0.2, ("completionAsync",)),)) as night:
        seen = night.run(retries=20)
        lost = _of(seen, AttemptLost)
        assert seen.code is ExitCode.OK
        assert lost
        assert night.service.ledger.totals().undelivered == len(lost)
    assert seen.summary().spending[0].lost > 0


@pytest.mark.parametrize("kind", ["503", "500", "429", "drop-before", "cut", "empty"])
def test_looks_that_fail_cost_nothing(kind: str, tmp_path: Path) -> None:
    """A look that fails is repeated; no row fails for it, and nothing is submitted again."""
    with _night(tmp_path, faults=(Fault(kind, 0.3, ("operations",)),)) as night:
        assert night.run().code is ExitCode.OK
        assert night.submissions() == ROWS


def test_equal_rows_and_ids(tmp_path: Path) -> None:
    """--dedupe hands equal rows in once; failed operations among them are submitted again once."""
    with _night(tmp_path, faults=(Fault("operation-failed", 0.3),)) as night:
        rows = night.path.read_text(encoding="utf-8")
        night.path.write_text(rows + rows, encoding="utf-8")
        seen = night.run(dedupe=True, retries=20)
        assert seen.code is ExitCode.OK
        assert night.submissions() == ROWS + len(_of(seen, AttemptLost))
    assert statuses(night.output) == {"ok": 2 * ROWS}


def test_the_journal_holds_no_open_operation_in_the_end(tmp_path: Path) -> None:
    """With everything collected the journal knows of nothing open or in doubt."""
    with _night(tmp_path, faults=(Fault("operation-failed", 0.2), Fault("operation-expired", 0.1))) as night:
        night.run(max_failed=FailureLimit(0, 100.0))
    records = Records.open(night.output.with_name(night.output.name + ".journal"))
    try:
        assert list(records.open_operations()) == []
        assert (records.open_attempts(), records.unknown()) == ([], [])
    finally:
        records.close()
