"""`chatbatch cancel`: open operations are given up, and nothing that was paid for is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.harness import (
    FOLDER,
    Shell,
    billed,
    killed_at_the_end,
    read_output,
    start,
    statuses,
    wait_until,
    write_chats,
)

from batch.emulator import Config, Latency, Running, background
from batch.errors import AttemptFailed, Billed
from batch.journal import Inspection
from batch.providers.yandex import YandexProvider

ROWS = 12
NEVER = Latency.parse("fixed:3600")


@pytest.fixture
def service() -> Iterator[Running]:
    with background(Config(operation_latency=NEVER, keep_alive_seconds=5)) as running:
        yield running


@pytest.fixture
def output(shell: Shell, service: Running, tmp_path: Path) -> Path:
    """An output all of whose rows are submitted."""
    path = tmp_path / "out.parquet"
    ran = shell(*_run(path, service), "--detach-after-submit")
    assert ran.code == 0, ran.said
    return path


def _run(output: Path, service: Running) -> list[object]:
    rows = write_chats(output.with_name("in.jsonl"), ROWS)
    off = ["--async-limit", "off", "--poll-limit", "off"]
    return ["run", rows, "-o", output, "--base-url", service.base_url, "--mode", "async", *off]


def _cancel(shell: Shell, output: Path, service: Running, *more: object) -> tuple[int, dict[str, object]]:
    ran = shell("cancel", output, "--base-url", service.base_url, "--json", *more)
    return ran.code, (ran.events()[0] if ran.stdout else {})


def _counts(told: dict[str, object]) -> tuple[object, ...]:
    return tuple(told[name] for name in ("open", "cancelled", "answered", "failed", "expired", "left"))


def test_all_are_cancelled(shell: Shell, service: Running, output: Path) -> None:
    """Each open operation is cancelled, its row fails with CANCELLED, its cost stays, the next run asks again."""
    [before] = shell("status", output, "--json").events()
    code, told = _cancel(shell, output, service)
    assert (code, *_counts(told)) == (0, ROWS, ROWS, 0, 0, 0, 0)
    assert {row["error_code"] for row in read_output(output)} == {"CANCELLED"}
    [after] = shell("status", output, "--json").events()
    assert (before["open_operations"], after["open_operations"]) == (ROWS, 0)
    assert before["rows"]["submitted"] == ROWS  # type: ignore[index]
    assert after["attempts"]["maybe_billed"] == ROWS  # type: ignore[index]
    assert before["spending"][0]["total"] == after["spending"][0]["total"] != "0"  # type: ignore[index]
    assert shell("doctor", output).code == 0
    with background(Config(operation_latency=Latency.parse("fixed:0"))) as quick:
        assert shell(*_run(output, quick)).code == 0
    assert statuses(output) == {"ok": ROWS}


def test_what_had_ended_is_an_answer(shell: Shell, tmp_path: Path) -> None:
    """An operation that was done before it was cancelled brings its answer with its cost, as a run would have."""
    output = tmp_path / "out.parquet"
    delays = tuple(0.0 if number % 2 else 3600.0 for number in range(ROWS))
    with background(Config(operation_delays=delays)) as service:
        words = _run(output, service)
        with killed_at_the_end(start(*words)) as process:
            journal = output.with_name("out.parquet.journal")
            wait_until(lambda: journal.exists() and _open(journal) == ROWS, "all submitted", 20)
            process.kill()
        code, told = _cancel(shell, output, service)
        assert (code, told["open"], told["left"]) == (0, ROWS, 0)
        assert (told["answered"], told["cancelled"]) == (ROWS // 2, ROWS // 2)
        assert billed(service) == ROWS // 2
    answers = [row for row in read_output(output) if row["status"] == "ok"]
    assert len(answers) == ROWS // 2
    assert all(row["cost"] and row["operation_id"] for row in answers)
    assert shell("doctor", output).code == 0


def _open(journal: Path) -> int:
    """The operations that are submitted, answered or not."""
    found = Inspection.open(journal)
    try:
        return found.lines()["submitted"]
    finally:
        found.close()


def test_unknown_operations_expire(shell: Shell, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service does not know any more is EXPIRED, said by status and doctor, and not bought again."""
    monkeypatch.setattr("batch.plan.withdrawing.NOT_YET_KNOWN_S", 0.0)  # as if a minute had passed
    with background(Config()) as another:
        code, told = _cancel(shell, output, another)
        assert (code, *_counts(told)) == (0, ROWS, 0, 0, 0, ROWS, 0)
        assert {row["error_code"] for row in read_output(output)} == {"EXPIRED"}
        ran = shell("doctor", output)
        assert (ran.code, ran.stdout.count("expired, may have been billed; the row is failed")) == (0, ROWS)
        assert shell(*_run(output, another)).code == 3
        assert billed(another) == 0


def test_nothing_is_open(shell: Shell, service: Running, tmp_path: Path) -> None:
    """Where nothing is open it says so, needs no credentials, and ends with 0."""
    output = tmp_path / "out.parquet"
    words = ["run", write_chats(tmp_path / "in.jsonl", 2), "-o", output, "--base-url", service.base_url]
    assert shell(*words).code == 0
    shell.setenv(API_KEY="", FOLDER_ID="")
    ran = shell("cancel", output)
    assert (ran.code, ran.stderr) == (0, "")
    assert "no operation is open" in ran.stdout
    assert shell("cancel", output, "-q").said == ""


def test_the_service_is_down(
    shell: Shell, service: Running, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the service cannot be asked operations stay open, exit 5; a later cancel ends them."""
    monkeypatch.setattr("batch.retry.RetryPolicy.pause", lambda *_: 0.0)

    async def down(*_: object) -> None:
        raise AttemptFailed("no way", code="CONNECT_FAILED", retryable=True, billed=Billed.NO)

    with monkeypatch.context() as broken:
        broken.setattr(YandexProvider, "cancel", down)
        code, told = _cancel(shell, output, service)
        assert (code, *_counts(told)) == (5, ROWS, 0, 0, 0, 0, ROWS)
        assert "CONNECT_FAILED" in str(told["reason"])
        ran = shell("cancel", output, "--base-url", service.base_url, "-q")
        assert (ran.code, ran.stdout) == (5, "")
        assert f"{ROWS} operations are still open" in ran.stderr
    assert _cancel(shell, output, service)[0] == 0


def test_refused_credentials(shell: Shell, output: Path, tmp_path: Path) -> None:
    """Refused credentials end it with 4 at once; everything stays open."""
    del tmp_path
    with background(Config(api_key="another")) as strict:
        code, told = _cancel(shell, output, strict)
    assert (code, told["left"]) == (4, ROWS)
    assert "UNAUTHENTICATED" in str(told["reason"])


def test_another_address(shell: Shell, output: Path) -> None:
    """Without the address that the run asked nothing is sent: the service would not know the operations."""
    ran = shell("cancel", output)
    assert ran.code == 2
    assert "--base-url http://127.0.0.1" in ran.stderr


def test_emulated_answers(shell: Shell, tmp_path: Path) -> None:
    """The operations of an emulator ended with it: such a journal is refused in one sentence."""
    output = tmp_path / "out.parquet"
    assert shell("run", write_chats(tmp_path / "in.jsonl", 2), "-o", output, "--emulate").code == 0
    ran = shell("cancel", output)
    assert ran.code == 2
    assert "answers of the emulator" in ran.stderr


def test_no_journal(shell: Shell, tmp_path: Path) -> None:
    """Without a journal there is one sentence, and nothing is made."""
    ran = shell("cancel", tmp_path / "out.parquet")
    assert ran.code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on(shell: Shell, service: Running, tmp_path: Path) -> None:
    """While a run holds the output, cancel ends with 11 and says to interrupt it first."""
    output = tmp_path / "out.parquet"
    with killed_at_the_end(start(*_run(output, service))) as process:
        journal = output.with_name("out.parquet.journal")
        wait_until(lambda: journal.exists() and _open(journal) > 0, "the first operation")
        ran = shell("cancel", output, "--base-url", service.base_url, "--folder", FOLDER)
        process.kill()
    assert ran.code == 11
    assert "Interrupt it first" in ran.stderr
