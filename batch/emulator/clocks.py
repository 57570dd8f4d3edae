"""The one clock that everything in an emulator follows, and how fast it runs.

Any object of the shape of `Clock` will do, also one of the program under test: the shape is
all that they share. Knows nothing of what is timed.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """A source of time and of waiting."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary beginning."""
        ...

    def time(self) -> float:
        """Seconds since 1970 (UTC), as fast as `monotonic`."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        ...


class SpedUp:
    """The machine's clock, made `speed` times faster; the wall clock is the machine's at the beginning."""

    def __init__(self, speed: float = 1.0) -> None:
        """Begin now."""
        self._speed = speed
        self._epoch = time.time() - time.monotonic() * speed

    def monotonic(self) -> float:
        """Sped-up monotonic seconds."""
        return time.monotonic() * self._speed

    def time(self) -> float:
        """Sped-up seconds since 1970 (UTC)."""
        return self._epoch + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds / speed` real seconds."""
        await anyio.sleep(max(0.0, seconds / self._speed))


def rfc3339(seconds: float, *, nanoseconds: bool = False) -> str:
    """A moment as the service writes it: whole seconds (recorded), or with nine digits after the point."""
    whole = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int(seconds % 1 * 1e9):09d}Z" if nanoseconds else f"{whole}Z"
