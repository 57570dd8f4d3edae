"""A job's history: a record for each run, whatever happens to the process or the file."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from batch.errors import UsageError
from batch.plan.scheduled.bought import Bought
from batch.plan.scheduled.history import KILLED, History, Record

SPENT = Bought(3, 30, 60, {"RUB": Decimal("0.10")}, 1, {"RUB": Decimal("0.02")}, 5, 1, 4.5)


def _record(number: int, **others: object) -> Record:
    plain = Record(
        id=f"run-{number}", started_at=float(number), version="1", host="h", pid=number, settings="abc",
        output="o.parquet", journal="o.parquet.journal",
    )  # fmt: skip
    return replace(plain, **others)  # type: ignore[arg-type]


def test_a_run_is_one_record_whose_end_replaces_its_beginning(tmp_path: Path) -> None:
    """The last line of an id counts, in the place of the first; money comes back as it was."""
    history = History(tmp_path, 10)
    history.append(_record(1))
    history.append(_record(2))
    ended = _record(
        1, run=7, identity="i", ended_at=5.0, outcome=KILLED, gained=SPENT, rows={"ok": 3}, settled=True
    )
    history.append(ended)
    first, second = history.records()
    assert first == ended
    assert (second.outcome, second.gained, second.place) == ("running", None, None)


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    """A line that a crash cut off is passed over, and the next one begins on a line of its own."""
    history = History(tmp_path, 10)
    history.append(_record(1))
    with history.path.open("ab") as file:
        file.write(b'{"id": "run-9", "started_at": 9, "answered": 1, "cost": {"RUB": "much"}}\n\xff\x00[1]\n7\n')
        file.write(b'{"id": "run-2", "sta')
    history.append(_record(3))
    assert [record.id for record in history.records()] == ["run-1", "run-3"]


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    """Never more runs than asked are shown, and the file does not grow without end."""
    history = History(tmp_path, 3)
    for number in range(50):
        history.append(_record(number))
        history.append(_record(number, ended_at=1.0, outcome="done"))
        assert len(history.records()) == min(3, number + 1)
        assert len(history.path.read_bytes().splitlines()) <= 15
    assert [record.id for record in history.records()] == ["run-47", "run-48", "run-49"]


def test_runs_that_write_at_once_do_not_garble_each_other(tmp_path: Path) -> None:
    """Lines of several writers stand whole, also while the file is trimmed."""

    def write(first: int) -> None:
        for number in range(first, first + 10):
            History(tmp_path, 40).append(_record(number))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_bytes().splitlines()]
    assert {line["id"] for line in lines} == {f"run-{number}" for number in range(40)}


def test_a_state_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """A file in the folder's place is said, with the key that names another."""
    (tmp_path / "state").write_text("")
    with pytest.raises(UsageError, match=r"history\.jsonl") as raised:
        History(tmp_path / "state", 5).append(_record(1))
    assert "[history]" in raised.value.hint
