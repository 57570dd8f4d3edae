"""Tokens and keys that end while operations are open: one renewal for all, no row fails, none is bought again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaigns import measuring
from campaigns.measuring import Seen
from e2e.harness import ended, killed_at_the_end, start, statuses, wait_until
from unit.issuers import ACCOUNT_ID, KEY_ID, issuing, key_fields, pair, write_key

from batch.clock import FastClock
from batch.emulator import Config, Fault, Latency, Quotas, Running, background
from batch.errors import ExitCode
from batch.events import AttemptLost, Event, Notice, RowFinished

ROWS = 60
SPEED = 60.0
NO_QUOTAS = Quotas(async_per_second=None, async_per_hour=None, operations_per_second=None)
NEW_ID = str(key_fields(1)["id"])


@dataclass
class _Night:
    """A service that takes nothing but tokens that it issued, for the keys that it knows."""

    service: Running
    clock: FastClock
    keys: dict[str, tuple[str, str]]
    key_file: Path
    rows: Path

    def run(self, then: Callable[[], None], clock: FastClock | None = None) -> Seen:
        """Answer the rows in asynchronous mode, and do something when the first is answered."""
        done: list[Event] = []

        def first(event: Event) -> None:
            if isinstance(event, RowFinished) and not done:
                done.append(event)
                then()

        return measuring.run(
            self.service,
            self.rows,
            clock=clock or self.clock,
            also=[first],
            mode="async",
            async_limit=(),
            poll_limit=(),
            service_account_key=self.key_file,
        )

    def run_sync(self, then: Callable[[], None]) -> Seen:
        """Answer the rows in synchronous mode, and do something when the tenth is answered."""
        finished: list[Event] = []

        def tenth(event: Event) -> None:
            if isinstance(event, RowFinished):
                finished.append(event)
                if len(finished) == 10:
                    then()

        key = {"service_account_key": self.key_file}
        return measuring.run(self.service, self.rows, clock=self.clock, also=[tenth], **key)

    def statuses(self, route: str) -> dict[str, int]:
        by_route = self.service.emulator.totals()["by_route"]
        assert isinstance(by_route, dict)
        return dict(by_route[route])

    def tokens(self) -> int:
        return self.service.ledger.activity().iam_tokens

    def is_whole(self, seen: Seen) -> bool:
        """Return whether every row was answered, by the one operation that it was handed in as."""
        lost = [event for _, event in seen.events if isinstance(event, AttemptLost)]
        bought = (self.service.ledger.activity().submissions, self.service.ledger.totals().requests)
        whole = statuses(self.rows.with_suffix(".parquet")) == {"ok": ROWS}
        return (seen.code, lost, bought, whole) == (ExitCode.OK, [], (ROWS, ROWS), True)


@contextmanager
def _night(folder: Path, *, life: float = 43_200.0, latency: str = "uniform:60-100") -> Iterator[_Night]:
    clock, keys = FastClock(SPEED), {KEY_ID: (ACCOUNT_ID, pair()[1])}
    config = Config(
        NO_QUOTAS,
        Latency.parse("fixed:5"),
        operation_latency=Latency.parse(latency),
        strict_credentials=True,
        service_account_keys=keys,
        iam_token_lifetime_s=life,
    )
    with background(config, clock=clock) as service:
        rows = measuring.write_rows(folder / "in.jsonl", ROWS)
        yield _Night(service, clock, keys, write_key(folder / "key.json"), rows)


def test_a_token_that_is_revoked_while_operations_are_open(tmp_path: Path) -> None:
    """Looks that are refused with 401 are repeated with a token that is obtained once; no row fails."""
    with _night(tmp_path) as night:
        seen = night.run(night.service.emulator.revoke_tokens)
        assert night.is_whole(seen)
        assert night.tokens() == 2
        assert night.statuses("operations")["401"] >= 1
        assert night.statuses("completionAsync") == {"200": ROWS}


class _Behind(FastClock):
    """A clock whose time of day is so many seconds behind."""

    def __init__(self, speed: float, behind: float) -> None:
        super().__init__(speed)
        self._behind = behind

    def time(self) -> float:
        return super().time() - self._behind


def test_a_token_that_expires_earlier_than_our_clock_says(tmp_path: Path) -> None:
    """By a clock that is 50 minutes behind a token seems to live on: the 401s renew it, once for each life."""
    with _night(tmp_path, life=100.0, latency="uniform:150-190") as night:
        seen = night.run(lambda: None, _Behind(SPEED, 3000.0))
        assert night.is_whole(seen)
        assert night.statuses("operations")["401"] >= 1
        assert 2 <= night.tokens() <= 2 + seen.summary().duration_s / 100


def test_a_key_that_is_rotated_while_operations_are_open(tmp_path: Path) -> None:
    """With the old key and its tokens gone in the middle of a night the file's new key goes on; that is told."""
    with _night(tmp_path) as night:

        def rotate() -> None:
            write_key(night.key_file, key_fields(1))
            night.keys[NEW_ID] = (ACCOUNT_ID, pair(1)[1])
            del night.keys[KEY_ID]
            night.service.emulator.revoke_tokens()

        seen = night.run(rotate)
        assert night.is_whole(seen)
        assert night.tokens() == 2
    told = [event.message for _, event in seen.events if isinstance(event, Notice)]
    assert told == [f"The key file {night.key_file} was replaced: key {NEW_ID} is used from now on."]


def test_a_key_file_that_is_half_written_when_the_token_is_revoked(tmp_path: Path) -> None:
    """Where the file cannot be read at the very moment of a renewal the old key brings the token; told once."""
    with _night(tmp_path) as night:

        def half() -> None:
            night.key_file.write_bytes(night.key_file.read_bytes()[:700])
            night.service.emulator.revoke_tokens()

        seen = night.run(half)
        assert night.is_whole(seen)
        assert night.tokens() == 2
    (told,) = [event.message for _, event in seen.events if isinstance(event, Notice)]
    assert f"cannot be used; key {KEY_ID} goes on" in told


def test_an_iam_that_hangs_keeps_no_process(tmp_path: Path) -> None:
    """A run that waits for a token is gone at once after a second signal: nobody waits for who does not answer."""
    rows, key = measuring.write_rows(tmp_path / "in.jsonl", 3), write_key(tmp_path / "key.json")
    answered = threading.Event()
    with issuing(lambda _: (500, answered.wait(20))) as iam:
        words = ["run", rows, "-o", tmp_path / "out.parquet", "--base-url", iam.url, "--service-account-key", key]
        with killed_at_the_end(start(*words, env={"FOLDER_ID": "b1g"})) as process:
            wait_until(lambda: bool(iam.asked), "a request for a token")
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ran = ended(process)
            answered.set()
    assert ran.code == 143
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_service_account_that_is_gone_ends_the_run_and_loses_nothing(tmp_path: Path, mode: str) -> None:
    """Where the key is deleted in the middle the run ends with 4; with a key again, the same command goes on."""
    with _night(tmp_path, latency="uniform:60-160") as night:
        night.service.emulator.quotas = Quotas(concurrent=4, operations_per_second=None)

        def delete() -> None:
            night.keys.clear()
            night.service.emulator.revoke_tokens()

        run = night.run if mode == "async" else night.run_sync
        ended = run(delete)
        assert ended.code is ExitCode.CREDENTIALS
        assert set(statuses(night.rows.with_suffix(".parquet"))) == {"ok", "pending"}
        night.keys[KEY_ID] = (ACCOUNT_ID, pair()[1])
        again = run(lambda: None)
        assert again.code is ExitCode.OK
        assert statuses(night.rows.with_suffix(".parquet")) == {"ok": ROWS}
        times = night.service.ledger.by_request_id()
        assert set(times.values()) == {1}


def test_a_key_that_cannot_be_renewed_and_is_refused_at_a_look(tmp_path: Path) -> None:
    """Looks that an API key is refused for end the run with 4: no row fails, and a good key collects the rest."""
    clock, refused = FastClock(SPEED), (Fault("401", 1.0, ("operations",)),)
    config = Config(NO_QUOTAS, operation_latency=Latency.parse("uniform:20-60"))
    with background(config, clock=clock) as service:
        rows = measuring.write_rows(tmp_path / "in.jsonl", ROWS)
        settings: dict[str, object] = {"mode": "async", "async_limit": (), "poll_limit": ()}

        def refuse(event: Event) -> None:
            if isinstance(event, RowFinished):
                service.emulator.faults = refused

        ended = measuring.run(service, rows, clock=clock, also=[refuse], **settings)
        found = statuses(rows.with_suffix(".parquet"))
        assert ended.code is ExitCode.CREDENTIALS
        assert found == {"ok": ROWS - ended.summary().open_operations, "pending": ended.summary().open_operations}
        service.emulator.faults = ()
        assert measuring.run(service, rows, clock=clock, **settings).code is ExitCode.OK
        assert service.ledger.activity().submissions == service.ledger.totals().requests == ROWS
