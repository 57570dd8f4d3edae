"""Many rows: one producer, a bounded stream, crews of workers that pull from it, and a clean end.

Memory does not grow with the input: the producer is a few batches ahead, and every worker holds one row. Where
operations are open the input is read again for those that failed, until none is left.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread

from batch.attempts import Task
from batch.client import Client
from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode
from batch.events import News, Notice, RowsSkipped, StatusAsked
from batch.harvest import Harvest
from batch.journal import BEAT_S, Commits, Owner
from batch.limits import Limits, TooLate
from batch.stopping import Stop, Stopped

# Rows that wait to be asked again hold a worker but no slot, so there may be more workers than slots.
WORKERS_PER_SLOT = 2
# While operations are open, the input is read again for those that failed after so many seconds, and after so many
# times as long as the last reading and submitting took: at most a fifth of the time goes into reading.
BETWEEN_PASSES_S, BETWEEN_PASSES = 30.0, 4
# How often a crew that is not wanted looks whether it is by now.
UNWANTED_S = 1.0
_SIGNALS = {
    signal.SIGINT: ("interrupted", ExitCode.INTERRUPTED),
    signal.SIGTERM: ("terminated", ExitCode.TERMINATED),
    signal.SIGHUP: ("the terminal is gone", ExitCode.TERMINATED),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of the input, in order: those to be answered, and how many need nothing."""

    tasks: Sequence[Task]
    skipped: RowsSkipped


@dataclass(frozen=True, slots=True)
class Frame:
    """How long a run may be: its end (of the clock's `monotonic`), the grace, whether it waits for operations."""

    deadline: float | None
    grace_s: float
    detach: bool = False


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a run shares: the journal's writer, the wish to end, time and news."""

    commits: Commits
    stop: Stop
    clock: Clock
    news: News
    owners: Sequence[Owner]


def _always() -> bool:
    return True


@dataclass(slots=True)
class Crew:
    """Workers of one mode; `slots` of its requests may run at once at most; it takes rows while `wanted`."""

    client: Client
    limits: Limits
    slots: int
    wanted: Callable[[], bool] = _always
    workers: int = 0
    busy: int = 0

    @property
    def idle(self) -> int:
        """Return how many slots have no worker; negative where there are too many workers."""
        return self.limits.concurrency - (self.workers - self.client.waiting)

    @property
    def may_grow(self) -> bool:
        """Return whether one more worker has something to do."""
        return self.workers < WORKERS_PER_SLOT * self.slots and self.idle > 0


class Runner:
    """Answers all tasks, once."""

    def __init__(
        self, crews: Sequence[Crew], outfit: Outfit, frame: Frame, harvest: Harvest | None = None
    ) -> None:
        self._crews = crews
        self._commits, self._stop = outfit.commits, outfit.stop
        self._clock, self._news = outfit.clock, outfit.news
        self._owners = outfit.owners
        self._frame = frame
        self._harvest = harvest
        self._drained = False
        self._stopped_at: float | None = None
        self._ready: deque[Task] = deque()
        self._refill = anyio.Lock()
        self._error: ChatbatchError | None = None

    async def run(self, passes: Callable[[], Iterator[Batch]]) -> None:
        """Answer the tasks of all batches, until they end or the run stops; `passes` begins the input again.

        Raises what ended it before that (a journal that cannot be written, an input that broke off); the
        reason and the exit code of an orderly stop are the `Stop`'s.
        """
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._commits.serve)
            beside.start_soon(self._keep_deadline)
            beside.start_soon(self._beat)
            if self._harvest is not None:
                beside.start_soon(self._collect, self._harvest)
            try:
                await self._pass(passes())
                if self._harvest is not None:
                    await self._finish(passes, self._harvest)
            except Stopped:
                pass  # the Stop says why
            finally:
                try:
                    await self._end_collecting()
                finally:
                    self._commits.close()
                    beside.cancel_scope.cancel()  # not the commits: what is left of them is written
        if error := self._error or self._commits.error:
            raise error

    async def _finish(self, passes: Callable[[], Iterator[Batch]], harvest: Harvest) -> None:
        """Wait for operations, and go over the input again for those that failed."""
        rest_until = self._clock.monotonic() + BETWEEN_PASSES_S
        while True:
            await (harvest.looked_once() if self._frame.detach else harvest.drained(self._goes_on))
            if harvest.open and not self._frame.detach and not await self._rested(rest_until):
                continue  # no more is submitted: what is open may still be collected
            if not harvest.failed or self._stop.requested:
                return
            began = self._clock.monotonic()
            harvest.failed = 0
            await self._commits.flush()  # the feed asks the journal which rows are open
            await self._pass(passes())
            now = self._clock.monotonic()
            rest_until = now + max(BETWEEN_PASSES_S, BETWEEN_PASSES * (now - began))

    def _goes_on(self) -> bool:
        return not self._stop.requested

    async def _rested(self, until: float) -> bool:
        """Wait until a time; returns False where the run is asked to end first."""
        try:
            with self._stop.interruptible():
                await self._clock.sleep(until - self._clock.monotonic())
        except Stopped:
            return False
        return True

    async def _end_collecting(self) -> None:
        """Let the looks that are on their way come to their end, for the grace at most."""
        if self._harvest is not None:
            async with anyio.create_task_group() as ending:
                ending.start_soon(self._end_looks, ending.cancel_scope)
                await self._harvest.finish()
                ending.cancel_scope.cancel()

    async def _end_looks(self, looks: anyio.CancelScope) -> None:
        now = self._clock.monotonic()
        since = now if self._stopped_at is None else self._stopped_at  # rows and looks have one grace
        await self._clock.sleep(since + self._frame.grace_s - now)
        looks.cancel()

    async def _collect(self, harvest: Harvest) -> None:
        try:
            await harvest.serve()
        except* ChatbatchError as errors:
            for error in errors.exceptions:
                if isinstance(error, ChatbatchError):
                    self._give_up(error)
                    # Where a budget had ended the run before, nobody else ends the collecting.
                    harvest.parts.stop.request(str(error), error.exit_code)

    async def _pass(self, batches: Iterator[Batch]) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Sequence[Task]](1)
        self._drained = False
        async with anyio.create_task_group() as rows, self._receive:
            rows.start_soon(self._end_grace, rows.cancel_scope)
            async with anyio.create_task_group() as working:
                self._working = working
                working.start_soon(self._produce, batches)
                for crew in self._crews:
                    self._staff(crew)
            rows.cancel_scope.cancel()

    def _staff(self, crew: Crew) -> None:
        """Have a worker for every slot: in the place of one whose row waits to be asked again, start another."""
        while not self._drained and crew.may_grow:
            crew.workers += 1
            self._working.start_soon(self._work, crew)

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

    async def _work(self, crew: Crew) -> None:
        try:
            while crew.idle >= 0 and (task := await self._next(crew)) is not None:
                await self._answer(crew, task)
                self._staff(crew)
        except Stopped:
            return
        except ChatbatchError as error:
            self._give_up(error)
        finally:
            crew.workers -= 1

    async def _answer(self, crew: Crew, task: Task) -> None:
        crew.busy += 1
        try:
            await crew.client.answer(task, lambda: self._staff(crew))
        except TooLate:  # another crew may still do it in time
            self._ready.appendleft(task)
            self._drained = False
            for other in self._crews:
                self._staff(other)
        finally:
            crew.busy -= 1

    async def _next(self, crew: Crew) -> Task | None:
        while True:
            while not self._ready:
                async with self._refill:  # one worker fetches, the others wait for it
                    if self._ready:
                        break
                    try:
                        self._ready.extend(await self._receive.receive())
                    except anyio.EndOfStream:
                        self._drained = True
                        return None
            if self._stop.requested:
                self._drained = True
                return None
            if crew.wanted():
                return self._ready.popleft()
            with self._stop.interruptible():
                await self._clock.sleep(UNWANTED_S)

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
        if self._frame.deadline is not None:
            await self._clock.sleep(self._frame.deadline - self._clock.monotonic())
            reason = "the deadline is reached"
            self._stop.request(reason, ExitCode.DEADLINE)
            if self._harvest is not None:  # it may still collect what a budget or a quota had left open
                self._harvest.parts.stop.request(reason, ExitCode.DEADLINE)

    async def _end_grace(self, rows: anyio.CancelScope) -> None:
        """After a signal, let rows in flight finish for the grace; then leave them (they stay in doubt)."""
        await self._stop.wait()
        self._stopped_at = self._clock.monotonic()
        if self._stop.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            await self._clock.sleep(self._frame.grace_s)
            rows.cancel()


async def listen(stop: Stop, news: News, everything: anyio.CancelScope) -> None:
    """Turn the first SIGINT or SIGTERM into an orderly end, the second into an immediate one.

    SIGUSR1 asks how far the run is.
    """
    # A hang-up that somebody chose to ignore (nohup) stays ignored.
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ends = [number for number in _SIGNALS if not (ignored and number == signal.SIGHUP)]
    with anyio.open_signal_receiver(*ends, signal.SIGUSR1) as signals:
        async for received in signals:
            if received == signal.SIGUSR1:
                news.publish(StatusAsked())
                continue
            reason, code = _SIGNALS[received]
            if not stop.signal(reason, code):
                stop.at_once = True
                news.publish(
                    Notice("Ended at once: requests in flight may be billed, and the next run lists them.")
                )
                everything.cancel()
                return
