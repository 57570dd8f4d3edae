"""A run's limits and the file of their quota, brought together some times a second.

Each look writes down what this run needs, takes in what all have learned, and keeps to its part from then on.
Where the file fails, the run goes on as if it were alone, and says so once.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import anyio

from batch.clock import Clock
from batch.errors import ChatbatchError
from batch.events import News, Notice
from batch.limits import Demand, Grant, Known, Limits
from batch.plan.opening import Access
from batch.providers import service_address
from batch.sharing import Claim, Holder, Quota, SharingFailed, State
from batch.sharing.holders import Process
from batch.sharing.needing import Fewest
from batch.sharing.state import SLOTS

# Seconds between two looks, in real time. A share changes hands within two or three of them.
LOOK_S = 0.1
# What the quota of looks at operations is called among those that share it, beside the modes.
LOOKS = "looks"
# Of a window that is used up but for so small a part no more requests leave than it lets through.
USED_UP = 0.96
# A window is needed whole where so much of our part is used; else what is used and some more: a fifth, what leaves
# in so many seconds at the present pace, and a few.
FULL = 0.8
MORE, AHEAD_S, FEW = 1.2, 10, 4


@dataclass(slots=True)
class Partner:
    """One run's place at one quota; without a `quota` it only keeps to its `share` of it.

    `job` names what the run works on: its next run knows from the journal what this one sent.
    """

    limits: Limits
    clock: Clock
    quota: Quota | None
    job: str
    share: float | None
    granted: int
    failed: Callable[[str], None]
    real: Callable[[], float] = time.monotonic
    _name: str = field(default_factory=lambda: f"{time.time():017.6f}-{os.getpid()}-{os.urandom(4).hex()}")
    _process: Process = field(default_factory=Process.own)
    _parts: dict[str, int] = field(default_factory=dict)
    _others: int = 0
    _fewest: Fewest = field(default_factory=Fewest)

    def look(self) -> None:
        """Tell and take in once; nothing where another process is at it just now."""
        now = self.clock.monotonic()
        if self.quota is None:
            self._divide(State(), now)
            return
        try:
            with self.quota.held(now) as state:
                if state is not None:
                    self._divide(state, now)
        except SharingFailed as error:
            self._give_up(error)

    def leave(self) -> None:
        """Give everything back; what was sent goes on counting."""
        if self.quota is None:
            return
        now = self.clock.monotonic()
        try:
            with self.quota.held(now) as state:
                if state is not None and (me := state.holders.get(self._name)):
                    me.sent.add(now, self.limits.demand().sent)
                    state.leave(self._name, now)
        except SharingFailed:
            return  # whoever looks next finds that this process has gone

    def _give_up(self, error: SharingFailed) -> None:
        self.quota, self._others = None, 0
        self.limits.adopt(None, *self.limits.bounds())
        self.look()
        self.failed(f"The quota is not shared with other runs on this machine: {error}.")

    def _divide(self, state: State, now: float) -> None:
        limits = self.limits
        me = state.holders.setdefault(self._name, Holder(self._name, self.job, self._process, 0.0))
        others = state.others(self._name)
        state.left.pop(self.job, None)  # in our own windows already, from the journal
        me.seen, me.bounds = self.real(), limits.bounds()
        low = max(holder.bounds[0] for holder in (me, *others))
        high = max(holder.bounds[1] for holder in (me, *others))
        limits.adopt(_known(state.learned) if others else None, low, high)
        state.learned = _numbers(limits.known())
        state.rates = limits.learn_rates(state.rates if others else {})
        demand = limits.demand()
        me.sent.add(now, demand.sent)
        claims = self._claims(demand, now)
        self._parts = state.divide(self._name, claims, {str(seconds): seconds for seconds in demand.rates}, now)
        self._apply(others, claims)

    def _apply(self, others: Sequence[Holder], claims: dict[str, Claim]) -> None:
        news = ""
        if len(others) != self._others:
            runs = "one other run" if len(others) == 1 else f"{len(others)} other runs"
            news = f"divided with {runs}" if others else "no other run uses the quota"
            self._others = len(others)
        whole = all(self._parts[thing] >= claim.total for thing, claim in claims.items())
        if not others and self.share is None and whole:
            self.limits.grant(None, news)
            return
        rates = {int(thing): part for thing, part in self._parts.items() if thing != SLOTS}
        held = [holder.parts[SLOTS] for holder in others if SLOTS in holder.parts]
        # Whoever has a slot may have begun to use it since it was seen last.
        elsewhere = sum(max(part.claim.used, min(1, part.granted)) for part in held)
        self.limits.grant(Grant(self._parts[SLOTS], rates, elsewhere), news)

    def _claims(self, demand: Demand, now: float) -> dict[str, Claim]:
        most = min(demand.limit, self.limits.bounds()[1])
        if self.share is not None:
            most = min(most, self._at_most(max(demand.limit, min(self.granted, self.limits.bounds()[1]))))
        claims = {SLOTS: Claim(demand.limit, self._needed(demand, now), demand.running, most)}
        for seconds, (count, used) in demand.rates.items():
            thing = str(seconds)
            full = used >= FULL * self._parts.get(thing, 1)
            ahead = demand.last_second * (AHEAD_S if seconds > 1 else 0)
            need = count if full else int(used * MORE) + ahead + FEW
            claims[thing] = Claim(count, need, used, count if self.share is None else self._at_most(count))
        return claims

    def _needed(self, demand: Demand, now: float) -> int:
        """Return how many slots are needed: no more than it takes to use up the rates that we keep."""
        held_up = any(
            used >= USED_UP * min(count, self._parts.get(str(seconds), count))
            for seconds, (count, used) in demand.rates.items()
        )
        return self._fewest.need(demand.need, self._parts.get(SLOTS, demand.need), now, held_up=held_up)

    def _at_most(self, total: int) -> int:
        return max(1, int(total * self.share)) if self.share is not None else total


def _numbers(known: Known) -> tuple[float | None, ...]:
    return (known.limit, known.ceiling, known.rest_s, known.rest_until, known.refused_at, known.resume_at)


def _known(numbers: Sequence[float | None]) -> Known | None:
    if len(numbers) != len(fields(Known)):
        return None
    limit, ceiling, rest_s, rest_until, refused_at, resume_at = numbers
    if limit is None or rest_s is None or rest_until is None:
        return None
    most = None if ceiling is None else int(ceiling)
    return Known(int(limit), most, rest_s, rest_until, refused_at, resume_at)


def open_partner(
    access: Access, journal: Path, limits: Limits, outside: tuple[Clock, News], mode: str, granted: int
) -> Partner | None:
    """Return a run's place at the quota of a mode; None where it neither shares it nor keeps to a part of it.

    `granted` requests at once are what the service grants everybody: a share is one of these until more is known.
    """
    settings, (clock, news) = access.settings, outside
    notices = list[str]()

    def failed(why: str) -> None:
        if not notices:  # once for all the modes of a look
            notices.append(why)
            news.publish(Notice(why))

    quota: Quota | None = None
    if settings.share_quota and not settings.emulate:
        try:
            quota = open_quota(service_address(settings), access.folder, settings.model, mode)
        except SharingFailed as error:
            failed(f"The quota is not shared with other runs on this machine: {error}.")
    if quota is None and settings.quota_share is None:
        return None
    return Partner(limits, clock, quota, job_name(journal), settings.quota_share, granted, failed)


def open_quota(address: str, folder: str | None, model: str, mode: str) -> Quota:
    """Return the file of the quota that requests of a mode use up; raises `SharingFailed`.

    A quota belongs to the folder that pays, whichever of its keys asks: so no secret takes part in its name.
    """
    paying = model.removeprefix("gpt://").split("/")[0] if model.startswith("gpt://") else folder
    return Quota.open(address, paying or "", mode)


def job_name(journal: Path) -> str:
    """Return what names a job among those that share a quota."""
    return str(journal.resolve())


@asynccontextmanager
async def shared(partners: Sequence[Partner]) -> AsyncIterator[None]:
    """Look at the quotas before the block begins and while it runs; give everything back when it ends."""
    for partner in partners:
        partner.look()
    error: ChatbatchError | None = None
    async with anyio.create_task_group() as beside:
        beside.start_soon(_keep_looking, partners)
        try:
            yield
        except ChatbatchError as broken:
            error = broken  # raised below: a task group would put it into a group of exceptions
        finally:
            beside.cancel_scope.cancel()
            for partner in partners:
                partner.leave()
    if error is not None:
        raise error


async def _keep_looking(partners: Sequence[Partner]) -> None:
    while partners:
        await anyio.sleep(LOOK_S)
        for partner in partners:
            partner.look()
