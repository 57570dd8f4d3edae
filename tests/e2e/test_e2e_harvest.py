"""What is open is collected to the end, with few looks, and a row that came to its end is not asked again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from campaigns import measuring
from unit.issuers import issuing

from batch.clock import FastClock
from batch.emulator import Config, Fault, Latency, Quotas, background
from batch.errors import ExitCode
from batch.events import AttemptLost, RowFinished
from batch.parsing import FailureLimit, RateLimit
from batch.providers.yandex import YandexProvider
from batch.records import Reply

SPEED = 40.0


def test_a_row_that_failed_for_good_is_not_asked_again_beside_others_that_are(tmp_path: Path) -> None:
    """While failed operations are submitted again, rows that INVALID_ARGUMENT ended are asked and told once."""
    clock = FastClock(SPEED)
    faults = (Fault("operation-failed", 0.3), Fault("operation-invalid", 0.2))
    with background(Config(operation_latency=Latency.parse("uniform:2-4"), faults=faults), clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", 60)
        seen = measuring.run(service, rows, clock=clock, mode="async", retries=9)
        submitted = service.ledger.activity().submissions
    ends = Counter(event.row_key for _, event in seen.events if isinstance(event, RowFinished))
    assert seen.code is ExitCode.ROWS_FAILED
    assert seen.summary().rows["failed"] > 0
    assert set(ends.values()) == {1}
    lost = Counter(event.error_code for _, event in seen.events if isinstance(event, AttemptLost))
    assert lost["INVALID_ARGUMENT"] == seen.summary().rows["failed"]
    assert submitted == 60 + lost["INTERNAL"]


def test_a_failed_operation_does_not_wait_for_a_slow_one(tmp_path: Path) -> None:
    """What failed is submitted again within a minute, also while another operation takes its time."""
    clock = FastClock(SPEED * 5)
    config = Config(
        operation_delays=(1000.0,),
        operation_latency=Latency.parse("fixed:5"),
        scripts={"completionAsync": ("ok", "operation-failed")},
    )
    with background(config, clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", 5)
        seen = measuring.run(service, rows, clock=clock, mode="async")
    ended = sorted(at for at, event in seen.events if isinstance(event, RowFinished))
    assert (seen.code, len(ended)) == (ExitCode.OK, 5)
    assert ended[-1] > 900
    assert ended[-2] < 300


def test_results_that_nobody_can_read_end_the_run(tmp_path: Path) -> None:
    """Ten results in a row that were billed and hold no answer stop submitting and collecting, exit 1."""
    clock = FastClock(SPEED)
    faults = (Fault("operation-empty", 1.0),)
    with background(Config(operation_latency=Latency.parse("fixed:2"), faults=faults), clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", 200)
        seen = measuring.run(service, rows, clock=clock, mode="async")
        assert service.ledger.activity().submissions < 200
    assert seen.code is ExitCode.UNEXPECTED
    assert "cannot be read" in seen.summary().reason


def test_a_quota_that_stays_shut_leaves_nothing_uncollected(tmp_path: Path) -> None:
    """Where no more can be submitted before the deadline, what was submitted is collected all the same."""
    clock = FastClock(SPEED)
    config = Config(operation_latency=Latency.parse("uniform:20-30"), quotas=Quotas(async_per_hour=20))
    with background(config, clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", 40)
        limit = (RateLimit(10, 1), RateLimit(20, 3600))
        seen = measuring.run(service, rows, clock=clock, mode="async", async_limit=limit, max_duration=600.0)
    assert seen.code is ExitCode.QUOTA
    assert (seen.summary().rows["ok"], seen.summary().open_operations) == (20, 0)


def test_the_deadline_ends_the_collecting_after_a_cap_ended_the_submitting(tmp_path: Path) -> None:
    """A cap lets the run collect what is open, and the deadline ends that too."""
    clock = FastClock(SPEED)
    config = Config(
        operation_latency=Latency.parse("fixed:400"),
        operation_delays=(2.0,),
        scripts={"completionAsync": ("operation-invalid",)},
    )
    with background(config, clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", 100)
        allowed = FailureLimit(0, None)
        seen = measuring.run(service, rows, clock=clock, mode="async", max_failures=allowed, max_duration=60.0)
    assert seen.code is ExitCode.BUDGET
    assert seen.summary().open_operations > 0
    assert seen.summary().duration_s < 120


def test_what_is_on_its_way_at_the_deadline_is_taken_in_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that the deadline finds on their way end, and every answer in the output was told as an event."""
    clock = FastClock(SPEED)
    really = YandexProvider.poll

    async def slowly(self: YandexProvider, operation_id: str) -> Reply:
        reply = await really(self, operation_id)
        await clock.sleep(8.0)
        return reply

    monkeypatch.setattr(YandexProvider, "poll", slowly)
    with background(Config(operation_latency=Latency.parse("fixed:1")), clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", 40)
        seen = measuring.run(
            service, rows, clock=clock, mode="async", async_limit=(), poll_limit=(), max_duration=8.0
        )
    told = [at for at, event in seen.events if isinstance(event, RowFinished)]
    assert seen.code is ExitCode.DEADLINE
    assert len(told) == seen.summary().rows["ok"] > 0
    assert max(told) > 8.0, "none was on its way"


def test_a_proxys_404_is_an_outage_and_no_loss(tmp_path: Path) -> None:
    """While somebody else answers 404 in the service's place no operation is taken for lost; all are collected."""
    clock = FastClock(SPEED)
    with (
        background(Config(operation_latency=Latency.parse("fixed:2")), clock=clock) as service,
        issuing(lambda _: (404, b"<html>nobody is here</html>")) as proxy,
    ):
        rows = measuring.write_rows(tmp_path / "in.jsonl", 15)
        seen = measuring.run(
            service, rows, clock=clock, mode="async", operations_url=proxy.url, max_outage=60.0, poll_limit=()
        )
        assert seen.code is ExitCode.UNAVAILABLE
        assert (seen.summary().rows["failed"], seen.summary().open_operations) == (0, 15)
        again = measuring.run(service, rows, clock=clock, mode="async")
        assert (again.code, again.summary().rows["ok"]) == (ExitCode.OK, 15)
        assert service.ledger.activity().submissions == 15


@pytest.mark.campaign
@pytest.mark.measured
@pytest.mark.parametrize("latency", ["uniform:2-5", "uniform:20-60", "lognormal:15,0.8"])
def test_few_looks_also_before_durations_are_known(latency: str, tmp_path: Path) -> None:
    """Some scouts find out how long operations take; the others are not looked at before it pays."""
    clock = FastClock(10.0)
    with background(Config(operation_latency=Latency.parse(latency)), clock=clock) as service:
        seen = measuring.run(service, measuring.write_rows(tmp_path / "in.jsonl", 400), clock=clock, mode="async")
        looks = service.ledger.activity().polls
    assert seen.summary().rows["ok"] == 400

    assert looks / 400 <= 3.5
