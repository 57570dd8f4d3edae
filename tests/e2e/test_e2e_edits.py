"""Random edits of the input between runs: what is bought is exactly what is new."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from e2e.harness import Shell, billed, chat, read_output, statuses, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.attempts import Task
from batch.emulator import Running, background
from batch.journal import Intent, Journal, Result
from batch.plan.feeding import Feed, RowNames, Rules
from batch.readers import ColumnMapping, open_reader
from batch.records import Defaults, Options, Status, Usage
from batch.storage import find

Row = tuple[str, str]  # an id and a text
ROWS = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "#2", "x", "y", "Й", "z\n"]))
DEFAULTS = Defaults("m", None, Options())


@st.composite
def _versions(draw: st.DrawFn) -> list[list[Row]]:
    """An input and what becomes of it: rows appended, deleted, reordered, doubled and changed."""
    rows = draw(st.lists(ROWS, min_size=1, max_size=8))
    versions = [rows]
    for _ in range(draw(st.integers(1, 4))):
        rows = list(rows)
        for edit in draw(
            st.lists(st.sampled_from(["append", "delete", "reorder", "double", "change"]), max_size=4)
        ):
            at = draw(st.integers(0, len(rows) - 1)) if rows else 0
            if edit == "append" or not rows:
                rows.extend(draw(st.lists(ROWS, min_size=1, max_size=3)))
            elif edit == "delete":
                del rows[at]
            elif edit == "reorder":
                rows = draw(st.permutations(rows))
            elif edit == "double":
                rows.insert(draw(st.integers(0, len(rows))), rows[at])
            else:
                rows[at] = draw(ROWS)
        versions.append(rows)
    return versions


def _asked(folder: Path, journal: Journal, rows: Sequence[Row], *, by_id: bool, dedupe: bool) -> list[Task]:
    """Return what a run asks of an input, and answer it in the journal."""
    path = write_rows(folder / "in.jsonl", [chat("text " + text, id=name) for name, text in rows])
    reader = open_reader(find([str(path)]), ColumnMapping(id_column="id" if by_id else None))
    names = RowNames(str, by_id=by_id)
    feed = Feed(reader, DEFAULTS, names, journal, Rules(dedupe, False, None))
    tasks = [task for batch in feed.batches() for task in batch.tasks]
    for number, task in enumerate(tasks, journal.next_attempt()):
        ok = Result(task.row_key, number, Status.OK, 1, Usage(), None, None, 0.1, 0.0)
        journal.apply([Intent(number, task.row_key, 1, 0.0, 1, "m", task.content), ok])
    return tasks


@pytest.mark.parametrize("dedupe", [False, True], ids=["each", "dedupe"])
@pytest.mark.parametrize("by_id", [False, True], ids=["by content", "by id"])
@settings(max_examples=60, deadline=None)
@given(versions=_versions())
def test_only_what_is_new_is_asked(by_id: bool, dedupe: bool, versions: list[list[Row]]) -> None:
    """Of each content (or id) so many rows are asked as there are more of it than ever before, or one in all."""
    known: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal.begin(Path(folder) / "journal", "service")) as journal,
    ):
        for rows in versions:
            there = Counter(name if by_id else "text " + text for name, text in rows)
            if dedupe:
                there = Counter(dict.fromkeys(there, 1))
            tasks = _asked(Path(folder), journal, rows, by_id=by_id, dedupe=dedupe)
            assert len({task.row_key for task in tasks}) == len(tasks)
            new = there - known
            known |= there
            if by_id:
                assert len(tasks) == new.total()
                assert {task.row_key.split("#")[0] for task in tasks} == set(new)
            else:
                assert Counter(task.request.messages[-1].text for task in tasks) == new


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with background() as running:
        yield running


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=_versions())
def test_only_what_is_new_is_bought(shell: Shell, service: Running, versions: list[list[Row]]) -> None:
    """The same over a socket: the ledger grows by the new rows, and the output has the input's rows, answered."""
    known: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in versions:
            write_rows(folder / "in.jsonl", [chat("text " + text, id=row) for row, text in rows])
            there = Counter(text for _, text in rows)
            before, output = billed(service), folder / "out.jsonl"
            ran = shell("run", folder / "in.jsonl", "-o", output, "--base-url", service.base_url)
            assert ran.code == 0, ran.stderr
            assert billed(service) - before == (there - known).total()
            known |= there
            if rows:
                assert statuses(output) == {"ok": len(rows)}
                assert [row["id"] for row in read_output(output)] == [row for row, _ in rows]
        times = service.ledger.by_request_id()
    assert set(times.values()) == {1}
