"""Grouped commits: many rows wait for one write to the disk.

Whatever was handed in while the last group was being written is the next group, so the group grows with the
load and a lone row waits for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from batch.errors import ChatbatchError, JournalError
from batch.journal.entries import Intent, Write
from batch.journal.store import Journal


@dataclass(slots=True)
class _Group:
    writes: list[Write] = field(default_factory=list)
    done: anyio.Event = field(default_factory=anyio.Event)
    error: ChatbatchError | None = None
    refused: ChatbatchError | None = None  # what keeps the group's intents from being written


class Commits:
    """The one writer of a journal; `serve` runs as a task beside those that commit."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._group = _Group()
        self._wake = anyio.Event()
        self._closing = False
        self.error: ChatbatchError | None = None

    async def commit(self, write: Write) -> None:
        """Return when the entry is on disk, with everything that was handed in before it.

        Raises `JournalError` when it could not be written. After the first failure no intent is written any
        more, so that nothing is bought of which the next run might not know; receipts still are.
        """
        group = self._group
        group.writes.append(write)
        self._wake.set()
        await group.done.wait()
        error = group.refused if isinstance(write, Intent) else None
        if error := error or group.error:
            raise error

    def defer(self, write: Write) -> None:
        """Hand in an entry that follows from entries on disk already; it goes with the next group."""
        self._group.writes.append(write)

    async def flush(self) -> None:
        """Return when everything that was handed in is on disk, and so seen by whoever reads the journal."""
        group = self._group
        self._wake.set()
        await group.done.wait()
        if group.error:
            raise group.error

    async def serve(self) -> None:
        """Write groups until `close`; the last group is written then.

        Not to be cancelled, so that what was received while a run is being ended is still committed. The
        first failure stays in `error`.
        """
        with anyio.CancelScope(shield=True):
            while not self._closing:
                await self._wake.wait()
                self._wake = anyio.Event()
                await self._write_group()
            await self._write_group()

    def close(self) -> None:
        """Let `serve` write what is left and end."""
        self._closing = True
        self._wake.set()

    async def _write_group(self) -> None:
        group, self._group = self._group, _Group()
        group.refused = self.error
        if group.refused is not None:
            group.writes = [write for write in group.writes if not isinstance(write, Intent)]
        try:
            if group.writes:
                await anyio.to_thread.run_sync(self._journal.apply, group.writes)
        except BaseException as error:
            group.error = _as_ours(error)
            self.error = self.error or group.error
            if not isinstance(error, Exception):
                raise
        finally:
            group.done.set()


def _as_ours(error: BaseException) -> ChatbatchError:
    """Return an error as one that ends a run with a sentence."""
    if isinstance(error, ChatbatchError):
        return error
    ours = JournalError(f"The journal could not be written: {type(error).__name__}: {error}.")
    ours.__cause__ = error
    return ours
