"""How a run is told to stop: once, with a reason, and whoever waits is woken.

Waiting for a slot, for a window or for a retry is given up at once; a request that has been sent is not
touched. Knows nothing of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from batch.errors import ExitCode


class Stopped(Exception):
    """Raised out of a wait that was given up because the run stops."""


def _nobody(_reason: str, _code: ExitCode) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Stop:
    """The run's wish to end: the first `request` counts, later ones change nothing.

    `told` is called with the reason and the exit code, once. `signalled`: a signal asked, also where a cap or a
    deadline had before. `at_once` is set by a second signal: not even
    the output is to be written.
    """

    told: Callable[[str, ExitCode], None] = _nobody
    reason: str = ""
    exit_code: ExitCode | None = None
    at_once: bool = False
    signalled: bool = False
    _waits: set[anyio.CancelScope] = field(default_factory=set)
    _event: anyio.Event = field(default_factory=anyio.Event)

    def signal(self, reason: str, exit_code: ExitCode) -> bool:
        """Ask the run to end for a signal; returns whether it was the first one."""
        first, self.signalled = not self.signalled, True
        if not self.request(reason, exit_code) and first:
            self.told(reason, exit_code)  # whoever goes on after a cap is told to end too
        return first

    async def wait(self) -> None:
        """Return when the run is asked to end."""
        await self._event.wait()

    @property
    def requested(self) -> bool:
        """Return whether the run is to end."""
        return self.exit_code is not None

    def request(self, reason: str, exit_code: ExitCode) -> bool:
        """Ask the run to end; returns whether this was the first time."""
        if self.requested:
            return False
        self.reason, self.exit_code = reason, exit_code
        self._event.set()
        self.told(reason, exit_code)
        for scope in tuple(self._waits):
            scope.cancel()
        return True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Enclose a wait that ends with `Stopped` as soon as the run is asked to end."""
        if self.requested:
            raise Stopped
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
        if scope.cancelled_caught:
            raise Stopped
