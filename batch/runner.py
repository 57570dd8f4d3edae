"""Many rows: one producer, a bounded stream, workers that pull from it, and a clean end.

Memory does not grow with the input: the producer is a few batches ahead, and every worker holds one row.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread

from batch.client import Client, Parts, Task
from batch.errors import ChatbatchError, ExitCode
from batch.events import News, Notice, RowsSkipped, StatusAsked
from batch.journal import BEAT_S, Owner
from batch.stopping import Stop, Stopped

# Rows that wait to be asked again hold a worker but no slot, so there may be more workers than slots.
WORKERS_PER_SLOT = 2
_SIGNALS = {
    signal.SIGINT: ("interrupted", ExitCode.INTERRUPTED),
    signal.SIGTERM: ("terminated", ExitCode.TERMINATED),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of the input, in order: those to be answered, and how many need nothing."""

    tasks: Sequence[Task]
    skipped: RowsSkipped


@dataclass(frozen=True, slots=True)
class Frame:
    """How large and how long a run may be: requests at once, its end (of the clock's `monotonic`), the grace."""

    slots: int
    deadline: float | None
    grace_s: float


class Runner:
    """Answers all tasks, once."""

    def __init__(self, client: Client, parts: Parts, *, owners: Sequence[Owner], frame: Frame) -> None:
        self._client = client
        self._commits = parts.commits
        self._stop = parts.stop
        self._clock = parts.clock
        self._news = parts.news
        self._owners = owners
        self._grace_s = frame.grace_s
        self._deadline = frame.deadline
        self._limits = parts.limits
        self._most = WORKERS_PER_SLOT * frame.slots
        self._workers = 0
        self._drained = False
        self._ready: deque[Task] = deque()
        self._refill = anyio.Lock()
        self._error: ChatbatchError | None = None

    async def run(self, batches: Iterator[Batch]) -> None:
        """Answer the tasks of all batches, until they end or the run stops.

        Raises what ended it before that (a journal that cannot be written, an input that broke off); the
        reason and the exit code of an orderly stop are the `Stop`'s.
        """
        self._send, self._receive = anyio.create_memory_object_stream[Sequence[Task]](1)
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._commits.serve)
            beside.start_soon(self._keep_deadline)
            beside.start_soon(self._beat)
            try:
                await self._answer_all(batches)
            finally:
                self._commits.close()
                beside.cancel_scope.cancel()  # not the commits: what is left of them is written
        if error := self._error or self._commits.error:
            raise error

    async def _answer_all(self, batches: Iterator[Batch]) -> None:
        async with anyio.create_task_group() as rows, self._receive:
            rows.start_soon(self._end_grace, rows.cancel_scope)
            async with anyio.create_task_group() as working:
                self._working = working
                working.start_soon(self._produce, batches)
                self._staff()
            rows.cancel_scope.cancel()

    def _staff(self) -> None:
        """Have a worker for every slot: in the place of one whose row waits to be asked again, start another."""
        while not self._drained and self._workers < self._most and self._idle_slots() > 0:
            self._workers += 1
            self._working.start_soon(self._work)

    def _idle_slots(self) -> int:
        return self._limits.concurrency - (self._workers - self._client.waiting)

    async def _produce(self, batches: Iterator[Batch]) -> None:
        with self._send:
            try:
                while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
                    self._news.publish(batch.skipped)
                    with self._stop.interruptible():
                        await self._send.send(batch.tasks)
            except Stopped:
                return
            except ChatbatchError as error:
                self._give_up(error)

    async def _work(self) -> None:
        try:
            while self._idle_slots() >= 0 and (task := await self._next()) is not None:
                await self._client.answer(task, self._staff)
                self._staff()
        except Stopped:
            return
        except ChatbatchError as error:
            self._give_up(error)
        finally:
            self._workers -= 1

    async def _next(self) -> Task | None:
        while not self._ready:
            async with self._refill:  # one worker fetches, the others wait for it
                if self._ready:
                    break
                try:
                    self._ready.extend(await self._receive.receive())
                except anyio.EndOfStream:
                    self._drained = True
                    return None
        self._drained = self._stop.requested
        return None if self._drained else self._ready.popleft()

    def _give_up(self, error: ChatbatchError) -> None:
        if self._error is None:
            self._error = error
        self._stop.request(str(error), error.exit_code)

    async def _beat(self) -> None:
        """Show that this run is alive, in real time."""
        while True:
            await anyio.sleep(BEAT_S)
            for owner in self._owners:
                owner.beat()

    async def _keep_deadline(self) -> None:
        """Ask the run to end when its time is over."""
        if self._deadline is not None:
            await self._clock.sleep(self._deadline - self._clock.monotonic())
            self._stop.request("the deadline is reached", ExitCode.DEADLINE)

    async def _end_grace(self, rows: anyio.CancelScope) -> None:
        """After a signal, let rows in flight finish for the grace; then leave them (they stay in doubt)."""
        await self._stop.wait()
        if self._stop.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            await self._clock.sleep(self._grace_s)
            rows.cancel()


async def listen(stop: Stop, news: News, everything: anyio.CancelScope) -> None:
    """Turn the first SIGINT or SIGTERM into an orderly end, the second into an immediate one.

    SIGUSR1 asks how far the run is.
    """
    with anyio.open_signal_receiver(*_SIGNALS, signal.SIGUSR1) as signals:
        async for received in signals:
            if received == signal.SIGUSR1:
                news.publish(StatusAsked())
                continue
            reason, code = _SIGNALS[received]
            if not stop.request(reason, code):
                stop.at_once = True
                news.publish(
                    Notice("Ended at once: requests in flight may be billed, and the next run lists them.")
                )
                everything.cancel()
                return
