"""The same command again: what it sends, what it refuses, and who holds an output."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import (
    Shell,
    answer_of,
    billed,
    chat,
    ended,
    killed_at_the_end,
    read_output,
    start,
    statuses,
    wait_until,
    write_chats,
    write_rows,
)

from batch.emulator import Config, Fault, Running, background


def _words(folder: Path, service: Running, *flags: object) -> list[object]:
    return ["run", folder / "in.jsonl", "-o", folder / "out.parquet", "--base-url", service.base_url, *flags]


def test_nothing_to_do_sends_nothing(shell: Shell, tmp_path: Path) -> None:
    """The same command again sends nothing, writes the same output and ends with 0, or with 9 if asked."""
    write_chats(tmp_path / "in.jsonl", 10)
    with background() as service:
        words = _words(tmp_path, service)
        assert shell(*words, "--error-on-empty").code == 0
        first = read_output(tmp_path / "out.parquet")
        assert shell(*words).code == 0
        assert shell(*words, "--error-on-empty").code == 9
        assert billed(service) == 10
    assert read_output(tmp_path / "out.parquet") == first


def test_a_deleted_output_costs_nothing(shell: Shell, tmp_path: Path) -> None:
    """The output is made again from the journal, byte for byte the same rows, without a request."""
    write_chats(tmp_path / "in.jsonl", 10)
    with background() as service:
        assert shell(*_words(tmp_path, service)).code == 0
        first = read_output(tmp_path / "out.parquet")
        (tmp_path / "out.parquet").unlink()
        assert shell(*_words(tmp_path, service)).code == 0
        assert billed(service) == 10
    assert read_output(tmp_path / "out.parquet") == first


def test_appended_rows_are_the_only_ones_sent(shell: Shell, tmp_path: Path) -> None:
    """Rows that were appended are bought and no others, and all are in the output."""
    rows = write_chats(tmp_path / "in.jsonl", 10)
    with background() as service:
        assert shell(*_words(tmp_path, service)).code == 0
        write_chats(rows, 14)
        assert shell(*_words(tmp_path, service)).code == 0
        assert billed(service) == 14
        assert set(service.ledger.by_request_id().values()) == {1}
    assert [row["id"] for row in read_output(tmp_path / "out.parquet")] == [f"row-{n}" for n in range(14)]


@pytest.mark.parametrize("by_id", [False, True], ids=["by content", "by id"])
def test_reordered_rows_are_not_sent_again(by_id: bool, shell: Shell, tmp_path: Path) -> None:
    """Another order of the same rows buys nothing, and each row keeps its own answer."""
    rows = write_chats(tmp_path / "in.jsonl", 20)
    flags = ("--id-column", "id") if by_id else ()
    with background() as service:
        assert shell(*_words(tmp_path, service, *flags)).code == 0
        first = {row["id"]: row for row in answer_of(read_output(tmp_path / "out.parquet"))}
        lines = rows.read_text().splitlines()
        random.Random(4).shuffle(lines)
        write_rows(rows, lines)
        assert shell(*_words(tmp_path, service, *flags)).code == 0
        assert billed(service) == 20
    out = answer_of(read_output(tmp_path / "out.parquet"))
    assert [row["id"] for row in out] == [json.loads(line)["id"] for line in lines]
    assert {row["id"]: row for row in out} == first


def test_equal_rows_are_each_bought_once(shell: Shell, tmp_path: Path) -> None:
    """Rows that are equal have keys and requests of their own, and none is bought again."""
    write_rows(tmp_path / "in.jsonl", [chat("the same")] * 5 + [chat("another")])
    with background() as service:
        for _ in range(2):
            assert shell(*_words(tmp_path, service)).code == 0
            assert billed(service) == 6
        assert len(service.ledger.by_request_id()) == 6
    out = read_output(tmp_path / "out.parquet")
    assert len({row["row_key"] for row in out}) == len({row["request_id"] for row in out}) == 6


@pytest.mark.parametrize(
    "flags", [("-m", "yandexgpt"), ("--temperature", "0.7"), ("-s", "Be brief."), ("--max-tokens", "50")]
)
def test_another_question_is_asked(flags: tuple[str, ...], shell: Shell, tmp_path: Path) -> None:
    """A setting that changes the answer makes new rows, and setting it back buys nothing."""
    write_chats(tmp_path / "in.jsonl", 4)
    with background() as service:
        assert shell(*_words(tmp_path, service)).code == 0
        assert shell(*_words(tmp_path, service, *flags)).code == 0
        assert billed(service) == 8
        assert shell(*_words(tmp_path, service)).code == 0
        assert billed(service) == 8


def test_a_row_with_an_id_says_which_model_answered_it(shell: Shell, tmp_path: Path) -> None:
    """Where the id keeps a row's answer although -m changed, the output names the model that was asked."""
    write_chats(tmp_path / "in.jsonl", 3)
    with background() as service:
        words = _words(tmp_path, service, "--id-column", "id")
        assert shell(*words, "-m", "yandexgpt-lite").code == 0
        shell(*words, "-m", "yandexgpt")
        asked = {entry.client_request_id: entry.model_uri for entry in service.ledger.entries()}
    for row in read_output(tmp_path / "out.parquet"):
        assert asked[str(row["request_id"])].split("/")[3] == row["model"]


def test_an_output_without_its_journal_is_left_alone(shell: Shell, tmp_path: Path) -> None:
    """An output whose journal is gone is neither bought again nor replaced: exit 2 and a way out."""
    write_chats(tmp_path / "in.jsonl", 3)
    output = tmp_path / "out.parquet"
    with background() as service:
        assert shell(*_words(tmp_path, service)).code == 0
        before = output.read_bytes()
        (tmp_path / "out.parquet.journal").unlink()
        (tmp_path / "out.parquet.journal.tape").unlink()
        ran = shell(*_words(tmp_path, service))
        assert (ran.code, billed(service)) == (2, 3)
    assert output.read_bytes() == before
    assert str(output) in ran.stderr
    assert not (tmp_path / "out.parquet.journal").exists()


def test_emulated_answers_are_never_taken_for_real_ones(shell: Shell, tmp_path: Path) -> None:
    """A journal of an emulated run is refused by a real one, and the other way round, before it is sent."""
    write_chats(tmp_path / "in.jsonl", 3)
    output = tmp_path / "out.parquet"
    with background() as service:
        assert shell("run", tmp_path / "in.jsonl", "-o", output, "--emulate").code == 0
        before = output.read_bytes()
        ran = shell(*_words(tmp_path, service))
        assert (ran.code, billed(service), output.read_bytes()) == (2, 0, before)
        assert "emulator" in ran.stderr
        real = tmp_path / "real.parquet"
        assert shell("run", tmp_path / "in.jsonl", "-o", real, "--base-url", service.base_url).code == 0
        assert shell("run", tmp_path / "in.jsonl", "-o", real, "--emulate").code == 2


def test_a_run_that_never_sent_does_not_decide_who_is_asked(shell: Shell, tmp_path: Path) -> None:
    """After a real run that failed for want of a folder, a trial with --emulate on that output begins."""
    write_chats(tmp_path / "in.jsonl", 3)
    shell.setenv(FOLDER_ID="")
    words = ["run", tmp_path / "in.jsonl", "-o", tmp_path / "out.parquet"]
    assert shell(*words).code == 2
    assert shell(*words, "--emulate").code == 0


@contextmanager
def _running(
    service: Running, words: list[object], stdin: bytes | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a process of its own that waits for answers which do not come until the block ends."""
    service.emulator.faults = (Fault("stall", 1.0),)
    process = start(*words, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL)
    with killed_at_the_end(process):
        if stdin is not None and process.stdin:
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        wait_until(lambda: billed(service) >= 1 or process.poll() is not None, "the first request")
        service.emulator.faults = ()
        yield process


def test_a_second_run_on_an_output_is_turned_away(shell: Shell, tmp_path: Path) -> None:
    """While a run holds an output another one ends with 11, says who holds it, and sends nothing."""
    write_chats(tmp_path / "in.jsonl", 5)
    with background(Config(stall_seconds=0.5)) as service:
        words = _words(tmp_path, service)
        with _running(service, words) as process:
            ran = shell(*words)
            assert (ran.code, billed(service)) == (11, 1)
            assert str(process.pid) in ran.stderr
            assert ended(process).code == 0
        assert statuses(tmp_path / "out.parquet") == {"ok": 5}
        assert shell(*words).code == 0


def test_another_journal_does_not_free_an_output(shell: Shell, tmp_path: Path) -> None:
    """Two runs cannot write one output, whatever journals they name: the second ends with 11, unsent."""
    write_chats(tmp_path / "in.jsonl", 5)
    with background(Config(stall_seconds=0.5)) as service:
        words = _words(tmp_path, service)
        with _running(service, words) as process:
            ran = shell(*words, "--journal", tmp_path / "another.journal")
            assert (ran.code, billed(service)) == (11, 1)
            assert ended(process).code == 0


def test_a_second_run_does_not_disturb_the_first_ones_standard_input(shell: Shell, tmp_path: Path) -> None:
    """A run that is turned away leaves the rows that the first one read from standard input alone."""
    output = tmp_path / "out.jsonl"
    first = b"".join(json.dumps(chat(f"first {n}")).encode() + b"\n" for n in range(3))
    with background(Config(stall_seconds=0.5)) as service:
        words: list[object] = ["run", "-", "-o", output, "--base-url", service.base_url]
        with _running(service, words, stdin=first) as process:
            assert shell(*words, stdin=json.dumps(chat("second")).encode()).code == 11
            assert ended(process).code == 0
    texts = [row["messages"][0]["text"] for row in read_output(output)]  # type: ignore[index]
    assert texts == ["first 0", "first 1", "first 2"]


def test_a_damaged_journal_stops_the_run(shell: Shell, tmp_path: Path) -> None:
    """A journal that is cut off, and has no tape, is never quietly begun anew: one sentence, no request."""
    write_chats(tmp_path / "in.jsonl", 5)
    journal, output = tmp_path / "out.parquet.journal", tmp_path / "out.parquet"
    with background() as service:
        assert shell(*_words(tmp_path, service)).code == 0
        before = output.read_bytes()
        (tmp_path / "out.parquet.journal.tape").unlink()
        for damaged in (b"", b"not a journal" * 100, journal.read_bytes()[:5000]):
            journal.write_bytes(damaged)
            ran = shell(*_words(tmp_path, service))
            assert ran.code == 1
            assert str(journal) in ran.stderr
            assert "unexpected" not in ran.stderr
        assert (billed(service), output.read_bytes()) == (5, before)


def test_edited_and_removed_rows(shell: Shell, tmp_path: Path) -> None:
    """An edited row is a new row and a removed one leaves the output; only the edited one is bought."""
    rows = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a?", "b?", "c?", "d?"]}), rows)
    output = tmp_path / "out.parquet"
    with background() as service:
        words = ["run", rows, "--prompt-column", "text", "-o", output, "--base-url", service.base_url]
        assert shell(*words).code == 0
        pq.write_table(pa.table({"text": ["a?", "B?", "d?"]}), rows)
        assert shell(*words).code == 0
        assert billed(service) == 5
    assert [row["text"] for row in read_output(output)] == ["a?", "B?", "d?"]


def test_rows_that_come_while_a_run_is_on_are_not_lost(shell: Shell, tmp_path: Path) -> None:
    """A file that grows during the run has a row for each of its rows, and the next run asks the rest."""
    rows = write_chats(tmp_path / "in.jsonl", 3)
    with background(Config(stall_seconds=1.0)) as service:
        words = _words(tmp_path, service)
        with _running(service, words) as process:
            time.sleep(0.1)
            write_chats(rows, 6)
            ran = ended(process)
        out = read_output(tmp_path / "out.parquet")
        assert [row["id"] for row in out] == [f"row-{n}" for n in range(6)]
        pending = sum(row["status"] == "pending" for row in out)
        assert ran.code == (3 if pending else 0)
        assert shell(*words).code == 0
        assert statuses(tmp_path / "out.parquet") == {"ok": 6}
