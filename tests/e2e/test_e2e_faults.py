"""Failures of the service, over real sockets: every valid row ends ok, and every cost is accounted for.

The waits between attempts are made fifty times shorter by the run's clock; nothing else is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from e2e.harness import (
    ACCOUNT,
    Shell,
    billed,
    chat,
    delivered,
    read_output,
    requests,
    run_cli,
    statuses,
    tokens,
    write_chats,
    write_rows,
)

from batch.clock import FastClock
from batch.emulator import Config, Fault, Running, background
from batch.errors import ExitCode
from batch.events import AttemptLost, Event, News, RunFinished
from batch.parsing import Bounds, FailureLimit
from batch.plan import running
from batch.settings import Settings

ROWS = 60
TRANSIENT = ("429", "429-retry-after", "500", "502", "503", "504", "empty", "drop-before")
BILLED = ("drop-after", "truncated", "cut", "wrong-types")


def _run(rows: Path, output: Path, service: Running, **changes: object) -> tuple[ExitCode, list[Event]]:
    """Answer a file in this process, with its waits fifty times faster."""
    told: list[Event] = []
    news = News()
    news.subscribe(told.append)
    values = {"output": output, "base_url": service.base_url, "concurrency": Bounds(10, 10), **changes}
    settings = Settings(**values)  # type: ignore[arg-type]  # by the names of the settings
    clock = FastClock(50)
    code = running.run(settings, [str(rows)], ACCOUNT, news=news, clock=clock, tick=lambda: None)
    return code, told


def _summary(told: list[Event]) -> RunFinished:
    return next(event for event in told if isinstance(event, RunFinished))


@pytest.mark.parametrize("seed", [1, 2])
def test_every_row_is_answered_under_all_faults_together(seed: int, tmp_path: Path) -> None:
    """With seven kinds of failure at 20 % in all, every row ends ok, once, with the tokens of its answer."""
    kinds = ("429", "500", "503", "drop-before", "drop-after", "truncated", "cut")
    faults = tuple(Fault(kind, 0.2 / len(kinds)) for kind in kinds)
    output = tmp_path / "out.parquet"
    rows = write_chats(tmp_path / "in.jsonl", ROWS)
    with background(Config(faults=faults, seed=seed)) as service:
        code, told = _run(rows, output, service)
        out = read_output(output)
        assert (code, statuses(output)) == (ExitCode.OK, {"ok": ROWS})
        assert {row["request_id"]: tokens(row) for row in out} == delivered(service)
        good = [entry for entry in service.ledger.entries() if entry.delivered]
        assert len(good) == ROWS
        lost = billed(service) - ROWS
        assert _summary(told).requests == requests(service)
        assert _summary(told).retries == requests(service) - ROWS > 0
        assert lost <= _summary(told).maybe_billed <= _summary(told).retries


@pytest.mark.parametrize("kind", [*TRANSIENT, *BILLED])
def test_every_row_is_answered_under_one_fault(kind: str, tmp_path: Path) -> None:
    """Any single kind of failure at 20 % costs attempts and no row, and attempts are counted per row."""
    output = tmp_path / "out.parquet"
    rows = write_chats(tmp_path / "in.jsonl", 30)
    with background(Config(faults=(Fault(kind, 0.2),), seed=3)) as service:
        code, told = _run(rows, output, service)
        assert (code, statuses(output)) == (ExitCode.OK, {"ok": 30})
        out = read_output(output)
        attempts = sum(int(str(row["attempts"])) for row in out)
        assert attempts == requests(service) > 30
        if kind in BILLED:
            assert service.ledger.by_request_id() == Counter(
                {row["request_id"]: int(str(row["attempts"])) for row in out}
            )
            assert _summary(told).maybe_billed == attempts - 30
        assert {row["request_id"]: tokens(row) for row in out} == delivered(service)


def test_attempts_of_a_row_share_their_ids(tmp_path: Path) -> None:
    """All attempts of a row carry one request id and one idempotency key, and say which attempt they are."""
    script = ("ok", "500", "429", "drop-before", "truncated", "503")
    rows = write_chats(tmp_path / "in.jsonl", 2)
    with background(Config(script=script, capture=20)) as service:
        code, _ = _run(rows, tmp_path / "out.parquet", service, concurrency=Bounds(1, 1))
        sent = [captured.headers for captured in service.emulator.captured]
    assert (code, len(sent)) == (ExitCode.OK, 7)
    assert len({(item["x-client-request-id"], item["idempotency-key"]) for item in sent}) == 2
    assert len({item["idempotency-key"] for item in sent[1:]}) == 1
    assert [item.get("x-retry-attempt") for item in sent] == [None, None, "1", "2", "3", "4", "5"]


def test_retry_after_is_a_floor(tmp_path: Path) -> None:
    """A row that was told to come back after a second is not asked again before it."""
    rows = write_chats(tmp_path / "in.jsonl", 1)
    with background(Config(script=("429-retry-after",) * 4)) as service:
        _, told = _run(rows, tmp_path / "out.parquet", service)
    assert sum(isinstance(event, AttemptLost) for event in told) == 4
    assert _summary(told).duration_s >= 4


@pytest.mark.parametrize(
    ("changes", "asked"), [({"retries": 3}, 4), ({"retries": 0}, 1), ({"retry_timeout": 0.02}, 1)]
)
def test_retries_are_bounded(changes: dict[str, object], asked: int, tmp_path: Path) -> None:
    """A row that fails again and again is given up after so many attempts, or so much time, and says why."""
    output = tmp_path / "out.jsonl"
    rows = write_chats(tmp_path / "in.jsonl", 1)
    with background(Config(script=("500",) * 20)) as service:
        code, _ = _run(rows, output, service, **changes)
        assert requests(service) == asked
    row = read_output(output)[0]
    assert (code, row["status"], row["attempts"]) == (ExitCode.ROWS_FAILED, "failed", asked)
    assert row["error_code"] == "INTERNAL"
    assert row["error_message"]


@pytest.mark.parametrize("kind", ["400", "403", "wrong-types"])
def test_a_refused_row_leaves_the_others_alone(kind: str, tmp_path: Path) -> None:
    """A row that the service will not answer fails with its code and message; the others are answered."""
    output = tmp_path / "out.jsonl"
    rows = write_chats(tmp_path / "in.jsonl", 10)
    with background(Config(script=("ok", "ok", kind))) as service:
        code, _ = _run(rows, output, service, retries=0)
    found = statuses(output)
    assert (code, found) == (ExitCode.ROWS_FAILED, {"ok": 9, "failed": 1})
    failed = next(row for row in read_output(output) if row["status"] == "failed")
    expected = {"400": "INVALID_ARGUMENT", "403": "PERMISSION_DENIED", "wrong-types": "UNREADABLE_ANSWER"}
    assert failed["error_code"] == expected[kind]
    assert failed["completion"] is None


def test_a_refusal_that_passes_costs_no_row(tmp_path: Path) -> None:
    """Two refusals in a row that the service takes back are asked again, and every row is answered."""
    output = tmp_path / "out.jsonl"
    rows = write_chats(tmp_path / "in.jsonl", 10)
    with background(Config(script=("ok", "401", "401"))) as service:
        code, _ = _run(rows, output, service)
        assert requests(service) == 12
    assert (code, statuses(output)) == (ExitCode.OK, {"ok": 10})


def test_a_model_that_is_not_ours_fails_its_row_alone(tmp_path: Path) -> None:
    """A row that names a model without permission fails at its first request, and the run goes on."""
    output = tmp_path / "out.jsonl"
    own = {**chat("own"), "modelUri": "gpt://b1gforeign/yandexgpt"}
    rows = write_rows(tmp_path / "in.jsonl", [chat("a"), own, *(chat(f"b{n}") for n in range(5))])
    with background(Config(script=("ok", "403"))) as service:
        code, _ = _run(rows, output, service, concurrency=Bounds(1, 1))
        assert requests(service) == 7
    assert code is ExitCode.ROWS_FAILED
    assert [row["status"] for row in read_output(output)] == ["ok", "failed", *["ok"] * 5]


def test_a_slow_answer_is_given_up_and_asked_again(tmp_path: Path) -> None:
    """An answer that does not come within --timeout is lost, counted as maybe billed, and asked again."""
    output = tmp_path / "out.jsonl"
    rows = write_chats(tmp_path / "in.jsonl", 3)
    with background(Config(script=("ok", "stall"))) as service:
        code, told = _run(rows, output, service, timeout=0.2)
        assert billed(service) == 4
    assert (code, statuses(output), _summary(told).maybe_billed) == (ExitCode.OK, {"ok": 3}, 1)


def test_rows_that_wait_for_a_retry_hold_no_slot(tmp_path: Path) -> None:
    """While one row waits to be asked again, a single slot answers the others."""
    rows = write_chats(tmp_path / "in.jsonl", 6)
    script = ("ok", "429-retry-after")
    with background(Config(script=script, capture=20)) as service:
        code, _ = _run(rows, tmp_path / "out.parquet", service, concurrency=Bounds(1, 1))
        ids = [captured.headers["x-client-request-id"] for captured in service.emulator.captured]
    assert (code, len(ids)) == (ExitCode.OK, 7)
    assert ids.index(ids[1], 2) > 2


@pytest.mark.parametrize(
    ("limit", "code"),
    [(FailureLimit(3, None), 0), (FailureLimit(2, None), 3), (FailureLimit(0, 30.0), 0)],
    ids=["3", "2", "30%"],
)
def test_allowed_failures_end_well(limit: FailureLimit, code: int, tmp_path: Path) -> None:
    """Exit 3 says that more rows failed than --max-failed allows, as a number or as a share."""
    rows = write_chats(tmp_path / "in.jsonl", 10)
    with background(Config(script=("ok", "400", "400", "400"))) as service:
        assert _run(rows, tmp_path / "out.jsonl", service, max_failed=limit)[0] == code


def test_a_service_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    """Refused connections are asked again, so that an outage costs time and no row."""
    output = tmp_path / "out.parquet"
    rows = write_chats(tmp_path / "in.jsonl", ROWS)
    with background() as service:
        told: list[Event] = []
        news = News()

        def gone_for_a_while(event: Event) -> None:
            told.append(event)
            lost = sum(isinstance(item, AttemptLost) for item in told)
            if len(told) == 20:
                service.refuse()
            if lost == 8 and isinstance(event, AttemptLost):
                service.accept()

        news.subscribe(gone_for_a_while)
        settings = Settings(output=output, base_url=service.base_url)
        arguments = (settings, [str(rows)], ACCOUNT)
        code = running.run(*arguments, news=news, clock=FastClock(50), tick=lambda: None)
        assert sum(isinstance(item, AttemptLost) for item in told) >= 8
        assert set(Counter(row["status"] for row in read_output(output))) == {"ok"}
        assert (code, len(delivered(service))) == (ExitCode.OK, ROWS)


def test_faults_in_a_real_process(tmp_path: Path) -> None:
    """The command itself, with real waits, answers every row of a failing service."""
    output = tmp_path / "out.parquet"
    rows = write_chats(tmp_path / "in.jsonl", ROWS)
    faults = tuple(Fault(kind, 0.02) for kind in ("429", "500", "503", "drop-before", "drop-after", "cut"))
    with background(Config(faults=faults, seed=5)) as service:
        ran = run_cli("run", rows, "-o", output, "--base-url", service.base_url)
        assert (ran.code, statuses(output)) == (0, {"ok": ROWS})
        assert {row["request_id"]: tokens(row) for row in read_output(output)} == delivered(service)
    assert "maybe billed" in ran.stderr


def test_failed_rows_are_asked_again(shell: Shell, tmp_path: Path) -> None:
    """The same command again asks the failed rows and no others, and counts their attempts on."""
    output = tmp_path / "out.jsonl"
    rows = write_chats(tmp_path / "in.jsonl", 10)
    with background(Config(script=("ok", "400", "400"))) as service:
        arguments = ("run", rows, "-o", output, "--base-url", service.base_url)
        assert shell(*arguments).code == 3
        assert requests(service) == 10
        assert shell(*arguments).code == 0
        assert requests(service) == 12
        assert billed(service) == 10
    assert statuses(output) == {"ok": 10}
    assert sorted(int(str(row["attempts"])) for row in read_output(output)) == [1] * 8 + [2] * 2
