"""Time as a parameter: what the hours and the waiting come from.

Everything above that waits or measures takes a `Clock`; tests give one that jumps.
"""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """A source of time and of waiting."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary beginning."""
        ...

    def time(self) -> float:
        """Return seconds since 1970 (UTC), for what is written down."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock; zero or less gives way once."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Return the system's monotonic seconds."""
        return time.monotonic()

    def time(self) -> float:
        """Return the system's wall-clock seconds since 1970 (UTC)."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await anyio.sleep(max(0.0, seconds))


class FastClock:
    """The machine's clock, made `speed` times faster: an hour's quota in seconds, over real sockets."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._monotonic = time.monotonic()
        self._time = time.time()

    def monotonic(self) -> float:
        """Return sped-up monotonic seconds."""
        return self._monotonic + (time.monotonic() - self._monotonic) * self._speed

    def time(self) -> float:
        """Return sped-up seconds since 1970 (UTC)."""
        return self._time + (time.time() - self._time) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds / speed` real seconds."""
        await anyio.sleep(max(0.0, seconds / self._speed))
