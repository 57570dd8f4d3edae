"""A clock that needs no time: it jumps to the next moment for which somebody waits."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint

# How often a sleeper gives way before it jumps, so that whoever is awake does what there is to do now.
_GIVE_WAY = 30
_EPOCH = 1_750_000_000.0


@dataclass(eq=False, slots=True)
class _Sleeper:
    deadline: float
    turn: anyio.Event = field(default_factory=anyio.Event)


class FakeClock:
    """A `Clock` whose sleepers wake in the order of their deadlines, at exactly those, and at once.

    Sleepers that sleep side by side sleep at the same time, as with a real clock. Work in threads and sockets
    takes no time of this clock; the slower of them may be overtaken by a sleeper.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self._sleepers: list[_Sleeper] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return _EPOCH + self.now

    async def sleep(self, seconds: float) -> None:
        await checkpoint()
        if seconds <= 0:
            return
        me = _Sleeper(self.now + seconds)
        insort(self._sleepers, me, key=lambda sleeper: sleeper.deadline)
        try:
            while not await self._is_quiet(me):
                await me.turn.wait()
                me.turn = anyio.Event()
            self.now = max(self.now, me.deadline)
        finally:
            self._sleepers.remove(me)
            if self._sleepers:
                self._sleepers[0].turn.set()

    async def _is_quiet(self, me: _Sleeper) -> bool:
        for _ in range(_GIVE_WAY):
            if self._sleepers[0] is not me:
                return False
            await checkpoint()
        return self._sleepers[0] is me
