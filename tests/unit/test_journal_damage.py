"""A harmed journal: made again from its other copy, or refused in one sentence, and never begun anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.errors import ExitCode, JournalError
from batch.journal import Intent, Journal, Receipt, tape_path
from batch.records import Reply

ENTRIES = 1500
BODY = "Ответ\n".encode() + bytes(range(256))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet.journal"


def _make(path: Path, first: int = 1, last: int = ENTRIES) -> str:
    """Write a whole journal, or go on with one; returns its identity."""
    journal = Journal.begin(path, "service")
    journal.begin_run(0.0, "1", "{}")
    for number in range(first, last + 1, 100):
        numbers = range(number, min(number + 100, last + 1))
        journal.apply([Intent(n, f"row-{n}", 1, 0.0, 1, "m", None) for n in numbers])
    journal.apply([Receipt(last, Reply(200, BODY), 1.0, 0.5)])
    journal.end_run(1.0, 0)
    journal.close()
    return journal.identity


def _assert_whole(path: Path, identity: str, repaired: str, last: int = ENTRIES) -> None:
    journal = Journal.begin(path, "service")
    try:
        assert journal.identity == identity
        assert repaired in journal.repaired
        assert bool(journal.repaired) == bool(repaired)
        assert journal.next_attempt() == last + 1
        assert journal.unjudged()[-1].receipt.reply.body == BODY
    finally:
        journal.close()


def _cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def _with_pragma(path: Path, pragma: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (data)")
    connection.commit()
    connection.close()


Harm = Callable[[Path], object]
DAMAGED: dict[str, Harm] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("notes\n" * 500),
    "header only": lambda path: _cut(path, 100),
    "first page only": lambda path: _cut(path, 4096),
    "half": lambda path: _cut(path, 50_000),
    "last page missing": lambda path: _cut(path, -4096),
}
STRANGE: dict[str, tuple[Harm, str]] = {
    "foreign": (_foreign, "is no journal of chatbatch."),
    "of another program": (lambda path: _with_pragma(path, "application_id = 7"), "is no journal of"),
    "newer": (lambda path: _with_pragma(path, "user_version = 99"), "has schema 99; this version of"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_mended_from_the_tape(path: Path, damage: str) -> None:
    """A journal's file that is harmed is made again from its tape, whole; the harmed one is kept."""
    identity = _make(path)
    DAMAGED[damage](path)
    harmed = path.read_bytes()
    _assert_whole(path, identity, "made again from its tape")
    aside = [content for file, content in _files(path).items() if ".damaged-" in file]
    assert aside == [harmed]
    _assert_whole(path, identity, "")


def _files(path: Path) -> dict[str, bytes]:
    """Return the folder's files, without what SQLite puts beside an open database."""
    files = (file for file in path.parent.iterdir() if not file.name.endswith(("-wal", "-shm")))
    return {file.name: file.read_bytes() for file in files}


def _assert_refused(path: Path, words: str) -> None:
    before = _files(path)
    with pytest.raises(JournalError) as caught:
        Journal.begin(path, "service")
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.UNEXPECTED
    assert _files(path) == before


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_without_a_tape_is_refused(path: Path, damage: str) -> None:
    """Where there is no tape a harmed journal is refused with a hint, left as it is, and not begun anew."""
    _make(path)
    tape_path(path).unlink()
    DAMAGED[damage](path)
    _assert_refused(path, "is damaged")


@pytest.mark.parametrize("tape", [True, False], ids=["with a tape", "without a tape"])
@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_not_ours_is_refused(path: Path, strange: str, tape: bool) -> None:
    """A file of somebody else, or of a newer version, is refused and never touched, tape or not."""
    _make(path)
    if not tape:
        tape_path(path).unlink()
    harm, words = STRANGE[strange]
    harm(path)
    _assert_refused(path, words)


@pytest.mark.parametrize(
    ("harm", "repaired"),
    [
        pytest.param(lambda path: path.unlink(), "journal was made again", id="journal removed"),
        pytest.param(lambda path: tape_path(path).unlink(), "tape was missing", id="tape removed"),
        pytest.param(lambda path: tape_path(path).write_bytes(b""), "written again", id="tape empty"),
        pytest.param(lambda path: tape_path(path).write_text("x\n"), "written again", id="tape is text"),
        pytest.param(lambda path: _cut(tape_path(path), 5000), "written again", id="tape cut off"),
        pytest.param(lambda path: _cut(tape_path(path), -5), "written again", id="tape's last line cut"),
    ],
)
def test_each_copy_is_made_again_from_the_other(path: Path, harm: Harm, repaired: str) -> None:
    """Whichever of the two copies is missing or harmed, nothing is lost, and the next opening finds both."""
    identity = _make(path)
    harm(path)
    _assert_whole(path, identity, repaired)
    _assert_whole(path, identity, "")
    assert path.exists()
    assert tape_path(path).exists()


def test_what_sqlite_lost_is_played_back(path: Path) -> None:
    """Where SQLite's file is older than the tape, what it lacks is played back."""
    identity = _make(path, last=500)
    older = path.read_bytes()
    _make(path, first=501)
    path.write_bytes(older)
    _assert_whole(path, identity, "entries were played back from the tape")
    _assert_whole(path, identity, "")


def test_both_copies_harmed(path: Path) -> None:
    """Where neither copy can be read the journal is refused, and not begun anew."""
    _make(path)
    path.unlink()
    tape_path(path).write_bytes(b"rubbish")
    with pytest.raises(JournalError, match="is damaged, and its journal is gone") as caught:
        Journal.begin(path, "service")
    assert caught.value.hint
    assert [file.name for file in path.parent.iterdir()] == [tape_path(path).name]


def test_the_tape_of_another_journal(path: Path) -> None:
    """Two files that do not belong together are refused."""
    other = path.with_name("other.journal")
    _make(path, last=10)
    _make(other, last=10)
    tape_path(other).replace(tape_path(path))
    _assert_refused(path, "is the tape of another journal")


def test_a_journal_in_no_folder(tmp_path: Path) -> None:
    """A journal that cannot be made is one sentence."""
    with pytest.raises(JournalError, match="cannot be used: No such file or directory"):
        Journal.begin(tmp_path / "missing" / "out.journal", "service")
