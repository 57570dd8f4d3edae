"""The journal: what was written is read back, all or none of it, also by the next run."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.errors import JournalError, UsageError
from batch.journal import (
    Intent,
    Journal,
    Outcome,
    Receipt,
    Records,
    Result,
    RowState,
    RunRecord,
    Stored,
    Unjudged,
    Write,
    store,
)
from batch.records import Reply, Status, Usage

BODY = '{"result": "Ответ\\u0000"}'.encode() + bytes(range(256))
REPLY = Reply(200, BODY, server_request_id="srv-1")
USAGE = Usage(2**40, None, 0, 2**40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.begin(path, "service")
    yield opened
    opened.close()


def _intent(attempt: int, key: str, number: int, sent_at: float, content: str | None = None) -> Intent:
    return Intent(attempt, key, number, sent_at, 1, "m", content)


def _answered(attempt: int, key: str) -> list[Write]:
    return [
        _intent(attempt, key, 1, 10.5, "f00d"),
        Receipt(attempt, REPLY, 12.25, 1.75),
        Outcome(attempt, "answered", None),
        Result(key, attempt, Status.OK, 1, USAGE, None, None, 1.75, 12.25),
    ]


def _failed(attempt: int, key: str) -> Result:
    return Result(key, attempt, Status.FAILED, 2, Usage(), "HTTP_503", "the service is busy", None, 3.0)


def test_entries_are_read_back(journal: Journal) -> None:
    """Results come back with the raw reply byte for byte, large counts, and nulls as nulls."""
    journal.apply([*_answered(1, "row"), _intent(2, "lost", 2, 1.0), _failed(2, "lost")])
    assert journal.results(["row", "lost", "never"]) == {
        "row": Stored(Result("row", 1, Status.OK, 1, USAGE, None, None, 1.75, 12.25), REPLY, "m", "f00d"),
        "lost": Stored(_failed(2, "lost"), None, "m", None),
    }
    assert journal.answered() == 1


def test_states(journal: Journal) -> None:
    """A row's state is its result and how often it was asked; rows never asked have none."""
    journal.apply(_answered(1, "row"))
    journal.apply([_intent(2, "twice", 1, 0.0), _intent(3, "twice", 2, 0.0), _intent(4, "lost", 1, 0.0)])
    journal.apply([_failed(4, "lost")])
    assert journal.states(["row", "twice", "lost", "never"]) == {
        "row": RowState(Status.OK, None, 1),
        "twice": RowState(None, None, 2, unfinished=True),
        "lost": RowState(Status.FAILED, "HTTP_503", 1),
    }
    assert journal.states([]) == {}
    assert journal.results([]) == {}


def test_a_later_result_replaces_the_earlier_one(journal: Journal) -> None:
    """A row that failed and is answered later has its answer."""
    journal.apply([_intent(1, "row", 1, 0.0), _failed(1, "row")])
    journal.apply(_answered(2, "row"))
    stored = journal.results(["row"])["row"]
    assert (stored.result.status, stored.result.attempt, stored.reply) == (Status.OK, 2, REPLY)


@pytest.mark.parametrize("refusing", ["pwrite", "fdatasync"])
def test_a_group_is_written_whole_or_not_at_all(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    """Where the disk refuses a group none of it is written, and the journal goes on afterwards."""
    journal.apply([_intent(1, "before", 1, 0.0)])

    def refuse(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, refusing, refuse)
        with pytest.raises(JournalError, match="No space left on device") as caught:
            journal.apply([_intent(2, "a", 1, 0.0), _failed(2, "a")])
    assert "Nothing that was committed is lost" in caught.value.hint
    assert journal.states(["a"]) == {}
    assert journal.results(["a"]) == {}
    journal.apply([_intent(2, "after", 1, 0.0)])
    assert set(journal.states(["before", "after"])) == {"before", "after"}


def test_what_sqlite_missed_is_caught_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that is on the tape, and that SQLite could not take, is not lost: the next one brings it along."""
    journal = Journal.begin(path, "service")

    def refuse(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(store, "apply", refuse)
        with pytest.raises(JournalError, match="database is locked"):
            journal.apply([_intent(1, "first", 1, 0.0)])
    assert journal.states(["first"]) == {}
    journal.apply([_intent(2, "second", 1, 0.0)])
    assert set(journal.states(["first", "second"])) == {"first", "second"}
    journal.close()


def test_reopening(path: Path) -> None:
    """A journal that is opened again holds everything, under the same identity, and counts on."""
    first = Journal.begin(path, "service")
    assert first.begin_run(1.0, "1.0", '{"model": "m"}') == 1
    first.apply(_answered(7, "row"))
    first.end_run(2.0, 3)
    first.close()
    again = Journal.begin(path, "service")
    assert again.repaired == ""
    assert again.identity == first.identity == uuid.UUID(first.identity).hex
    assert (again.fact("asked"), again.fact("unknown")) == ("service", "")
    assert again.results(["row"])["row"].reply == REPLY
    assert again.next_attempt() == 8
    assert again.begin_run(5.0, "1.1", "{}") == 2
    assert list(again.runs()) == [
        RunRecord(1, 1.0, "1.0", '{"model": "m"}', 2.0, 3),
        RunRecord(2, 5.0, "1.1", "{}", None, None),
    ]
    again.close()


def test_a_journal_belongs_to_whom_it_asked(path: Path) -> None:
    """Answers of the emulator and of the service do not mix in one journal."""
    Journal.begin(path, "emulator").close()
    with pytest.raises(UsageError, match="holds answers of the emulator, and this run asks the service"):
        Journal.begin(path, "service")
    Journal.begin(path, "emulator").close()


def test_a_new_journal(path: Path) -> None:
    """A new journal has an identity of its own, and leaves itself and its tape when it is closed."""
    identities = set()
    for name in ("a.journal", "b.journal"):
        journal = Journal.begin(path.with_name(name), "service")
        identities.add(journal.identity)
        assert (journal.next_attempt(), journal.repaired) == (1, "")
        journal.close()
    assert len(identities) == 2
    files = [name + end for name in ("a.journal", "b.journal") for end in ("", ".tape")]
    assert sorted(file.name for file in path.parent.iterdir()) == files


def test_reading_while_another_writes(journal: Journal) -> None:
    """A journal in use can be read by somebody else, who sees every group that was committed."""
    records = Records.open(journal.path)
    assert records.answered() == 0
    journal.apply(_answered(1, "row"))
    assert records.answered() == 1
    assert records.results(["row"]) == journal.results(["row"])
    records.close()


def test_unjudged_receipts(journal: Journal) -> None:
    """A receipt whose attempt has no outcome is found; intents without a receipt and judged ones are not."""
    journal.apply(_answered(1, "judged"))
    journal.apply([_intent(2, "row", 3, 5.0), Receipt(2, REPLY, 6.0, 1.0), _intent(3, "in flight", 1, 7.0)])
    assert journal.unjudged() == [Unjudged(2, "row", 3, Receipt(2, REPLY, 6.0, 1.0), "m", None, "sync")]
    journal.apply([Outcome(2, "answered", None)])
    assert journal.unjudged() == []


def test_requests_whose_end_nobody_saw(journal: Journal) -> None:
    """Intents without an outcome are named as unknown once, and not again by the next run."""
    journal.apply(_answered(1, "row"))
    journal.apply([_intent(2, "a", 1, 0.0), _intent(3, "b", 1, 0.0)])
    assert journal.note_unknown() == ["a", "b"]
    assert journal.note_unknown() == []
    journal.apply([_intent(4, "c", 1, 0.0)])
    assert journal.note_unknown() == ["c"]


def test_what_was_committed_outlives_a_kill(path: Path) -> None:
    """After SIGKILL the next run finds every entry that was committed."""
    program = (
        "import os, sys; from pathlib import Path; from batch.journal import Intent, Journal\n"
        "journal = Journal.begin(Path(sys.argv[1]), 'service')\n"
        "journal.begin_run(0.0, '1', '{}')\n"
        "for n in range(1, 31): journal.apply([Intent(n, f'row-{n}', 1, 0.0, 1, 'm', None)])\n"
        "os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    journal = Journal.begin(path, "service")
    assert len(journal.states([f"row-{n}" for n in range(1, 31)])) == 30
    assert journal.note_unknown() == [f"row-{n}" for n in range(1, 31)]
    journal.close()
