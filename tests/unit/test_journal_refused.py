"""What SQLite or the tape cannot take, files that lie beside a journal, and damage to both copies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.errors import JournalError
from batch.journal import Intent, Journal, Outcome, Receipt, Result, Write, recovery, store, tape_path
from batch.records import Reply, Status, Usage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.begin(path, "service")
    opened.apply([_intent(1)])
    yield opened
    opened.close()


def _intent(number: int, key: str = "row") -> Intent:
    return Intent(number, f"{key}-{number}", 1, 0.0, 1, "m", None)


def _tokens(count: int) -> Result:
    return Result("row-1", 1, Status.OK, 1, Usage(count, None, None, None), None, None, 1.0, 2.0)


REFUSED: dict[str, Write] = {
    "beyond 63 bits": _tokens(2**63),
    "beyond 64 bits": _tokens(2**64),
    "the same attempt again": _intent(1),
    "a lone surrogate": Outcome(1, "billed", "\ud800"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_entry_leaves_no_trace(journal: Journal, path: Path, refused: str) -> None:
    """An entry that cannot be held is a `JournalError`, and the journal goes on, now and when opened again."""
    before = tape_path(path).read_bytes()
    with pytest.raises(JournalError) as caught:
        journal.apply([_intent(2), REFUSED[refused]])
    assert str(path) in str(caught.value)
    assert tape_path(path).read_bytes() == before
    journal.apply([_intent(2), _tokens(5)])
    journal.close()
    for lost in (path, tape_path(path)):
        lost.unlink()
        again = Journal.begin(path, "service")
        assert set(again.states(["row-1", "row-2"])) == {"row-1", "row-2"}
        again.close()


def test_a_full_disk_under_sqlite_only(journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite had no room for and the tape has is there when the next run opens the journal."""

    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "apply", full)
        patched.setattr(store, "play", full)
        for number in (2, 3):
            with pytest.raises(JournalError, match="disk is full"):
                journal.apply([_intent(number), Receipt(number, Reply(200, b"paid"), 1.0, 1.0)])
    journal.close()
    again = Journal.begin(path, "service")
    assert [item.row_key for item in again.unjudged()] == ["row-2", "row-3"]
    again.close()


@pytest.mark.parametrize("gone", ["", ".tape"])
def test_a_removed_file_is_noticed(journal: Journal, path: Path, gone: str) -> None:
    """Nothing is written to a journal that was removed while it was open."""
    path.with_name(path.name + gone).unlink()
    with pytest.raises(JournalError, match=r"moved or removed|No such file"):
        journal.apply([_intent(2)])
    assert journal.states(["row-2"]) == {}


@pytest.mark.parametrize("anew", [True, False], ids=["made anew", "made again"])
def test_a_log_of_another_file_is_not_played(path: Path, tmp_path: Path, anew: bool) -> None:
    """A write-ahead log that lies beside a journal which is being made does not get into it."""
    other = Journal.begin(tmp_path / "other.journal", "service")
    for number in range(1, 200):
        other.apply([_intent(number, "foreign")])
    if not anew:
        first = Journal.begin(path, "service")
        first.apply([_intent(1)])
        first.close()
        path.unlink()
    for suffix in ("-wal", "-shm"):
        shutil.copyfile(other.path.with_name(other.path.name + suffix), path.with_name(path.name + suffix))
    other.close()
    journal = Journal.begin(path, "service")
    assert journal.identity != other.identity
    assert journal.next_attempt() == (1 if anew else 2)
    assert journal.states(["foreign-1"]) == {}
    assert journal.damage() == ""
    journal.close()


def test_a_refused_opening_leaves_nothing_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the two copies do not belong together, the connection that was opened is closed again."""
    for name in (path, path.with_name("other.journal")):
        Journal.begin(name, "service").close()
    tape_path(path.with_name("other.journal")).replace(tape_path(path))
    opened: list[sqlite3.Connection] = []

    def connect(found: Path) -> sqlite3.Connection:
        opened.append(sqlite3.connect(found))
        return opened[-1]

    monkeypatch.setattr(recovery, "connect", connect)
    with pytest.raises(JournalError, match="of another journal"):
        Journal.begin(path, "service")
    assert opened
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_removed_log_is_noticed(journal: Journal, path: Path, tmp_path: Path) -> None:
    """A journal whose process died and whose write-ahead log is gone is made again, wholly, from its tape."""
    crashed = tmp_path / "crashed.journal"
    journal.apply([_intent(number) for number in range(2, 50)])
    shutil.copyfile(path, crashed)
    shutil.copyfile(tape_path(path), tape_path(crashed))
    again = Journal.begin(crashed, "service")
    assert "write-ahead log was removed" in again.repaired
    assert again.next_attempt() == 50
    again.close()
    once_more = Journal.begin(crashed, "service")
    assert once_more.repaired == ""
    once_more.close()


def test_answers_that_only_a_harmed_tape_has(path: Path) -> None:
    """Where SQLite is behind and the tape is harmed after that, the run is refused; the tape is not replaced."""
    journal = Journal.begin(path, "service")
    journal.apply([_intent(1)])
    journal.close()
    older, known = path.read_bytes(), tape_path(path).stat().st_size
    journal = Journal.begin(path, "service")
    for number in range(2, 9):
        journal.apply([_intent(number)])
    journal.close()
    path.write_bytes(older)
    tape = bytearray(tape_path(path).read_bytes())
    tape[known + 20] ^= 1
    tape_path(path).write_bytes(tape)
    for _ in range(2):
        with pytest.raises(JournalError, match="is damaged at byte") as caught:
            Journal.begin(path, "service")
        assert caught.value.hint
    assert tape_path(path).read_bytes() == tape


def test_a_harmed_file_stays_where_it_is_until_its_tape_proves_whole(path: Path) -> None:
    """Where both copies are damaged neither is moved, and no unfinished file is left."""
    journal = Journal.begin(path, "service")
    journal.apply([_intent(1)])
    journal.close()
    path.write_bytes(b"rubbish" * 1000)
    tape = tape_path(path).read_bytes()
    tape_path(path).write_bytes(tape[:-30] + b"?" + tape[-29:] + tape[-29:])
    before = sorted(os.listdir(path.parent))
    with pytest.raises(JournalError, match="is damaged at byte"):
        Journal.begin(path, "service")
    assert sorted(os.listdir(path.parent)) == before
