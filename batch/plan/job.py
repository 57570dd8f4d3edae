"""A run that is ready to begin: what was opened for it, and what it tells and takes its time from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from batch.accounts import Accounts
from batch.clock import Clock
from batch.events import News
from batch.journal import Journal, Owner
from batch.plan.opening import Access, Input, Paths
from batch.settings import Settings
from batch.writer import Layout

Ticker = Callable[[], None]
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is ready to begin; with `only`, rows of other keys are left and no output is written."""

    access: Access
    paths: Paths
    input: Input
    layout: Layout
    journal: Journal
    owners: Sequence[Owner]
    rows: int
    accounts: Accounts
    only: frozenset[str] | None = None

    @property
    def settings(self) -> Settings:
        """Return the settings in force."""
        return self.access.settings


@dataclass(frozen=True, slots=True)
class Outside:
    """What a run tells and takes its time from; `tick` is called some times a second, for whoever draws."""

    news: News
    clock: Clock
    tick: Ticker


async def ticking(tick: Ticker) -> None:
    """Let whoever draws do so, some times a second of real time: it is drawn for a person."""
    while True:
        tick()
        await anyio.sleep(TICK_S)
