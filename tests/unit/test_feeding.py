"""Which rows are asked: those without an answer, in input order, up to the cap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reading import json_lines, line, rows_of

from batch.attempts import Task
from batch.journal import Intent, Journal, Result
from batch.plan.feeding import UNKNOWN_BILLED, Feed, RowNames, Rules
from batch.records import Defaults, Options, Status, Usage

DEFAULTS = Defaults("m", None, Options())
BY_ID = RowNames(str, by_id=True)
DATA = b"".join(line(id=name) for name in "abc") + b"nonsense\n" + b"".join(line(id=name) for name in "dea")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.begin(tmp_path / "out.journal", "service")
    yield opened
    opened.close()


def _intent(attempt: int, key: str, number: int) -> Intent:
    return Intent(attempt, key, number, 0.0, 1, "m", None)


def _result(attempt: int, key: str, status: Status, code: str | None = None) -> Result:
    return Result(key, attempt, status, 1, Usage(), code, None, None, 0.0)


def _feed(
    folder: Path,
    journal: Journal,
    max_rows: int | None = None,
    *,
    dedupe: bool = False,
    skip_unknown: bool = False,
) -> Feed:
    rules = Rules(dedupe, skip_unknown, max_rows)
    return Feed(json_lines(folder, DATA, id_column="id"), DEFAULTS, BY_ID, journal, rules)


def _tasks(feed: Feed) -> list[Task]:
    return [task for batch in feed.batches() for task in batch.tasks]


def test_a_new_journal_asks_everything(tmp_path: Path, journal: Journal) -> None:
    """Every row that can be sent is asked, under its own key, in input order."""
    feed = _feed(tmp_path, journal)
    assert [(task.row_key, task.attempts) for task in _tasks(feed)] == [(key, 0) for key in (*"abcde", "a#2")]
    assert feed.held_back == 0


def test_only_rows_without_an_answer_are_asked(tmp_path: Path, journal: Journal) -> None:
    """Answered rows are passed over and counted; failed and unknown ones are asked again."""
    journal.apply([_intent(1, "a", 1), _result(1, "a", Status.OK), _intent(2, "b", 1)])
    journal.apply([_result(2, "b", Status.FAILED), _intent(3, "c", 1), _intent(4, "c", 2)])
    batches = list(_feed(tmp_path, journal).batches())
    tasks = [(task.row_key, task.attempts) for batch in batches for task in batch.tasks]
    assert tasks == [("b", 1), ("c", 2), ("d", 0), ("e", 0), ("a#2", 0)]
    assert sum(batch.skipped.answered for batch in batches) == 1
    assert sum(batch.skipped.invalid for batch in batches) == 1


def test_equal_rows_are_asked_once(tmp_path: Path, journal: Journal) -> None:
    """With `--dedupe` a row that occurs again is not asked, and counts as answered."""
    batches = list(_feed(tmp_path, journal, dedupe=True).batches())
    assert [task.row_key for batch in batches for task in batch.tasks] == list("abcde")
    assert sum(batch.skipped.answered for batch in batches) == 1


@pytest.mark.parametrize(("skip", "asked"), [(True, "bcde"), (False, "abcde")])
def test_rows_in_doubt(tmp_path: Path, journal: Journal, skip: bool, asked: str) -> None:
    """Rows that may have been billed are asked again, or left with `--unknown skip`."""
    journal.apply([_intent(1, "a", 1), _result(1, "a", Status.FAILED, UNKNOWN_BILLED)])
    tasks = _tasks(_feed(tmp_path, journal, skip_unknown=skip))
    assert [task.row_key for task in tasks] == [*asked, "a#2"]


@pytest.mark.parametrize(("max_rows", "sent"), [(0, 0), (1, 1), (5, 5), (6, 6), (7, 6)])
def test_the_cap_on_rows(tmp_path: Path, journal: Journal, max_rows: int, sent: int) -> None:
    """A cap lets the first rows through and counts the others."""
    feed = _feed(tmp_path, journal, max_rows)
    assert len(_tasks(feed)) == sent
    assert feed.held_back == 6 - sent


def test_the_cap_is_for_all_chunks(tmp_path: Path, journal: Journal) -> None:
    """The cap counts over the whole input, however many chunks it has."""
    reader = json_lines(tmp_path, b"".join(line(id=n) for n in range(1600)))
    feed = Feed(reader, DEFAULTS, BY_ID, journal, Rules(False, False, 700))
    assert [task.row_key for task in _tasks(feed)] == [str(n) for n in range(700)]
    assert feed.held_back == 900


def test_names_by_content(tmp_path: Path) -> None:
    """Without an id column a row is named by its model and content, whoever pays and whatever its id."""
    names = RowNames(lambda model: model.rsplit("/", 1)[-1], by_id=False)
    data = line(id="a") + line(id="b", modelUri="gpt://f/m") + line(id="a", modelUri="gpt://f/x")
    rows = rows_of(json_lines(tmp_path, data))
    first, same, other = (names.name(row, DEFAULTS.request(row)) for row in rows)
    assert first == same != other


def test_only_the_chosen_rows_are_asked(tmp_path: Path, journal: Journal) -> None:
    """With keys that are chosen, rows of other keys are neither asked nor counted."""
    rules = Rules(False, False, None, frozenset(("b", "d", "not there")))
    feed = Feed(json_lines(tmp_path, DATA, id_column="id"), DEFAULTS, BY_ID, journal, rules)
    batches = list(feed.batches())
    assert [task.row_key for batch in batches for task in batch.tasks] == ["b", "d"]
    assert sum(batch.skipped.answered for batch in batches) == feed.held_back == 0
