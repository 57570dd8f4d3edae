"""Cancelling uses the quota of readings well, whatever the service makes of it, and expires nothing too soon."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from campaigns import measuring
from e2e.harness import read_output, statuses

from batch.clock import FastClock
from batch.emulator import Config, Fault, Latency, Quotas, Running, background
from batch.errors import ExitCode
from batch.events import AttemptLost, CancelBegun, CancelEnded, Event, LimitChanged, News, OperationGivenUp
from batch.limits import Concurrency, Limits
from batch.parsing import RateLimit
from batch.plan.cancelling import Cancelled, cancel
from batch.plan.job import Outside
from batch.plan.rewriting import rewrite
from batch.plan.sharing import LOOKS, Partner, open_quota
from batch.providers.yandex import YandexProvider
from batch.records import Reply
from batch.settings import Settings
from batch.stopping import Stop

ROWS = 150
PER_SECOND = 50


@dataclass
class _Open:
    """An output all of whose rows are submitted, and a cancelling of them with a clock that goes faster."""

    service: Running
    clock: FastClock
    output: Path
    events: list[Event] = field(default_factory=list)
    took_s: float = 0.0

    def cancel(self, **settings: object) -> Cancelled:
        news, began = News([self.events.append]), self.clock.monotonic()
        given = Settings(base_url=self.service.base_url, **settings)  # type: ignore[arg-type]
        found = cancel(self.output, given, measuring.ACCOUNT, Outside(news, self.clock, lambda: None))
        self.took_s = self.clock.monotonic() - began
        return found


@contextmanager
def _submitted(folder: Path, *, rows: int = ROWS, speed: float = 4.0) -> Iterator[_Open]:
    clock = FastClock(speed)
    quotas = Quotas(async_per_second=None, async_per_hour=None)
    with background(Config(quotas, operation_latency=Latency.parse("fixed:100000")), clock=clock) as service:
        path = measuring.write_rows(folder / "in.jsonl", rows)
        measuring.run(service, path, clock=clock, mode="async", async_limit=(), detach_after_submit=True)
        yield _Open(service, clock, path.with_suffix(".parquet"))


@pytest.mark.measured
def test_the_whole_quota_is_used_where_answers_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each answer takes 0.4 s, operations are cancelled at the 50 a second that the service lets read."""
    with _submitted(tmp_path) as opened:
        really = YandexProvider.cancel

        async def slowly(self: YandexProvider, operation_id: str) -> Reply:
            await opened.clock.sleep(0.4)
            return await really(self, operation_id)

        monkeypatch.setattr(YandexProvider, "cancel", slowly)
        found = opened.cancel()
        activity = opened.service.ledger.activity()
    assert (found.cancelled, found.left, found.exit_code) == (ROWS, 0, ExitCode.OK)
    assert (activity.cancels, activity.polls) == (ROWS, 0)
    assert opened.took_s < 1.4 * (ROWS / PER_SECOND + 1.0)
    became = [event.became for event in opened.events if isinstance(event, OperationGivenUp)]
    assert Counter(became) == {"asked": ROWS, "cancelled": ROWS}
    assert [type(opened.events[0]), type(opened.events[-1])] == [CancelBegun, CancelEnded]


def test_operations_that_end_later_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cancelling only asks an operation to end, all are asked first, and each is then looked at once."""
    order: list[str] = []
    with _submitted(tmp_path) as opened:
        really, look = YandexProvider.cancel, YandexProvider.poll

        async def asked(self: YandexProvider, operation_id: str) -> Reply:
            order.append("cancel")
            reply = await really(self, operation_id)
            body = {**json.loads(reply.body), "done": False}
            del body["error"]
            return replace(reply, body=json.dumps(body).encode())

        async def looked(self: YandexProvider, operation_id: str) -> Reply:
            order.append("look")
            return await look(self, operation_id)

        monkeypatch.setattr(YandexProvider, "cancel", asked)
        monkeypatch.setattr(YandexProvider, "poll", looked)
        found = opened.cancel()
        activity = opened.service.ledger.activity()
    assert (found.cancelled, found.left) == (ROWS, 0)
    assert order[: ROWS + 1] == ["cancel"] * ROWS + ["look"]
    assert (activity.cancels, activity.polls) == (ROWS, ROWS)
    assert opened.took_s < 1.4 * (2 * ROWS / PER_SECOND + 1.0)


def test_refusals_for_a_quota_leave_no_operation_open(tmp_path: Path) -> None:
    """Where somebody else uses the quota up, the command waits and asks again; nothing is left open for that."""
    with _submitted(tmp_path, rows=40, speed=20.0) as opened:
        opened.service.emulator.faults = (Fault("429", 0.6, ("cancel",)),)
        found = opened.cancel()
    lost = [event for event in opened.events if isinstance(event, AttemptLost)]
    assert (found.cancelled, found.left, found.exit_code) == (40, 0, ExitCode.OK)
    assert len(lost) >= 10
    assert {(event.error_code, event.slow_down) for event in lost} == {("RESOURCE_EXHAUSTED", True)}


@contextmanager
def _looking(run: Partner) -> Iterator[None]:
    """Enclose a time in which another run is at the quota."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            run.look()
        run.leave()

    run.look()
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_the_quota_is_shared_with_runs_of_the_same_account(tmp_path: Path) -> None:
    """A run that looks at its operations meanwhile keeps its part of the readings; told as for a run."""
    with _submitted(tmp_path, rows=40, speed=4.0) as opened:
        limits = Limits(Concurrency(32, 32, 32), [RateLimit(50, 1)], clock=opened.clock, stop=Stop())
        quota = open_quota(opened.service.base_url, measuring.ACCOUNT["FOLDER_ID"], Settings().model, LOOKS)
        run = Partner(limits, opened.clock, quota, "another", None, 32, lambda _why: None)
        with _looking(run):
            assert opened.cancel().cancelled == 40
    told = [event.reason for event in opened.events if isinstance(event, LimitChanged)]
    assert "divided with one other run" in told


def test_an_operation_that_is_not_known_yet_stays_open(tmp_path: Path) -> None:
    """Soon after its submission an operation may not have reached whoever is asked: it is not taken for lost."""
    with _submitted(tmp_path, rows=5, speed=20.0) as opened, background(Config()) as another:
        there = opened.service
        opened.service = another
        early = opened.cancel()
        assert (early.expired, early.left, early.exit_code) == (0, 5, ExitCode.UNAVAILABLE)
        opened.service = there
        assert opened.cancel().cancelled == 5
        rewrite(opened.output, opened.output.with_name("in.parquet.journal"), None)
    assert statuses(opened.output) == {"failed": 5}
    assert {row["error_code"] for row in read_output(opened.output)} == {"CANCELLED"}
