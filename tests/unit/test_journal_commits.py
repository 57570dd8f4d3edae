"""Grouped commits: many wait for one write, and all of them learn how it went."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint

from batch.errors import JournalError
from batch.journal import Commits, Intent, Journal, Receipt, Write
from batch.records import Reply

pytestmark = pytest.mark.anyio


class _SlowDisk:
    """A journal whose every write waits for the test, and fails where the test says so."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.writing = anyio.Event()
        self.failures: dict[int, Exception] = {}
        self._gate = threading.Semaphore(0)

    def apply(self, writes: Sequence[Write]) -> None:
        self.groups.append([write.attempt for write in writes])
        number = len(self.groups)
        anyio.from_thread.run_sync(self.writing.set)
        assert self._gate.acquire(timeout=30)
        if number in self.failures:
            raise self.failures[number]

    def let_through(self, groups: int = 1) -> None:
        self._gate.release(groups)


def _intent(number: int) -> Intent:
    return Intent(number, f"row-{number}", 1, 0.0, 1, "m", None)


def _commits(disk: _SlowDisk) -> Commits:
    return Commits(disk)  # type: ignore[arg-type]  # all that it asks of a journal


async def _give_way() -> None:
    for _ in range(10):
        await checkpoint()


async def test_what_comes_during_a_write_is_the_next_group() -> None:
    """While one group is being written all others gather, and go in one write, in their order."""
    disk = _SlowDisk()
    commits, done = _commits(disk), list[int]()

    async def commit(number: int) -> None:
        await commits.commit(_intent(number))
        done.append(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        async with anyio.create_task_group() as rows:
            rows.start_soon(commit, 1)
            await disk.writing.wait()
            commits.defer(_intent(2))
            for number in range(3, 53):
                rows.start_soon(commit, number)
            await _give_way()
            assert done == []
            disk.let_through(2)
        assert sorted(done) == [1, *range(3, 53)]
        commits.close()
    assert disk.groups == [[1], list(range(2, 53))]
    assert commits.error is None


async def test_nobody_returns_before_the_disk() -> None:
    """A commit has not returned while its write is under way."""
    disk = _SlowDisk()
    commits = _commits(disk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        with anyio.move_on_after(0) as waiting:
            await commits.commit(_intent(1))
        assert waiting.cancelled_caught
        await disk.writing.wait()
        disk.let_through()
        commits.close()
    assert disk.groups == [[1]]


@pytest.mark.parametrize(
    "failure", [JournalError("it is full"), ValueError("it is full"), RuntimeError("it is full")]
)
async def test_an_error_reaches_all_who_wait(failure: Exception) -> None:
    """Whatever keeps a group from being written, each of its commits raises; the error stays to be seen."""
    disk = _SlowDisk()
    disk.failures = {2: failure}
    commits, failed = _commits(disk), dict[int, str]()

    async def commit(write: Write) -> None:
        try:
            await commits.commit(write)
        except JournalError as error:
            failed[write.attempt] = str(error)  # type: ignore[union-attr]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        for first, last in ((1, 1), (2, 4)):
            disk.writing = anyio.Event()
            async with anyio.create_task_group() as group:
                for number in range(first, last + 1):
                    group.start_soon(commit, _intent(number))
                disk.let_through()
        commits.close()
    assert disk.groups == [[1], [2, 3, 4]]
    assert failed.keys() == {2, 3, 4}
    assert all("it is full" in sentence for sentence in failed.values())
    assert str(commits.error) == failed[2]


async def test_after_a_failure_only_answers_are_written() -> None:
    """Once a group failed no intent is written, so nothing more is bought; a receipt still is."""
    disk = _SlowDisk()
    disk.failures = {1: JournalError("it is full")}
    commits = _commits(disk)
    disk.let_through(2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        for number in (1, 2):
            with pytest.raises(JournalError, match="it is full"):
                await commits.commit(_intent(number))
        await commits.commit(Receipt(3, Reply(200, b"{}"), 0.0, 0.0))
        commits.close()
    assert disk.groups == [[1], [3]]


async def test_closing_writes_the_rest() -> None:
    """What was deferred and never waited for is on disk when the writer has ended."""
    disk = _SlowDisk()
    disk.let_through()
    commits = _commits(disk)
    for number in (1, 2, 3):
        commits.defer(_intent(number))
    commits.close()
    await commits.serve()
    assert disk.groups == [[1, 2, 3]]


async def test_closing_during_a_write() -> None:
    """Closing while a group is being written still writes what was handed in meanwhile."""
    disk = _SlowDisk()
    commits = _commits(disk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        tasks.start_soon(commits.commit, _intent(1))
        await disk.writing.wait()
        commits.defer(_intent(2))
        commits.close()
        disk.let_through(2)
    assert disk.groups == [[1], [2]]


async def test_cancelling_does_not_stop_the_writer() -> None:
    """A run that is broken off still commits what it received."""
    disk = _SlowDisk()
    commits = _commits(disk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        tasks.start_soon(commits.commit, _intent(1))
        await disk.writing.wait()
        commits.defer(_intent(2))
        tasks.cancel_scope.cancel()
        commits.close()
        disk.let_through(2)
    assert disk.groups == [[1], [2]]


async def test_nothing_to_write() -> None:
    """A writer that was handed nothing writes nothing."""
    disk = _SlowDisk()
    commits = _commits(disk)
    commits.close()
    await commits.serve()
    assert disk.groups == []


async def test_on_a_real_journal(tmp_path: Path) -> None:
    """Hundreds of commits at once are all in the journal when they return."""
    journal = Journal.begin(tmp_path / "out.journal", "service")
    commits = Commits(journal)
    async with anyio.create_task_group() as writer:
        writer.start_soon(commits.serve)
        async with anyio.create_task_group() as rows:
            for number in range(1, 301):
                rows.start_soon(commits.commit, _intent(number))
        assert len(journal.states([f"row-{number}" for number in range(1, 301)])) == 300
        commits.close()
    journal.close()
