"""Runs in this process against the emulator, with a sped-up clock, and what was seen of them and when."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batch.clock import Clock, FastClock
from batch.emulator import Config, Running, background
from batch.errors import ExitCode
from batch.events import AttemptLost, Event, LimitChanged, News, RowFinished, RunFinished
from batch.plan import running
from batch.records import Status
from batch.settings import Settings

ACCOUNT = {"API_KEY": "AQVN-a-secret-of-the-tests-0123456789", "FOLDER_ID": "b1gtests000000000000"}


@dataclass(slots=True)
class Seen:
    """What a run told, each with the emulated second in which it did."""

    concurrency: int
    code: ExitCode = ExitCode.OK
    events: list[tuple[float, Event]] = field(default_factory=list)

    def answers(self) -> list[float]:
        """Return when each row was answered."""
        return [at for at, event in self.events if isinstance(event, RowFinished) and event.status is Status.OK]

    def lost(self) -> list[float]:
        """Return when each request failed."""
        return [at for at, event in self.events if isinstance(event, AttemptLost)]

    def refusals(self) -> list[float]:
        """Return when each 429 came."""
        return [at for at, event in self.events if isinstance(event, AttemptLost) and event.slow_down]

    def limit_at(self, when: float) -> int:
        """Return how many requests might run at once at a time."""
        limit = self.concurrency
        for at, event in self.events:
            if at > when:
                break
            if isinstance(event, LimitChanged) and event.limit == "requests at once":
                limit = event.value
        return limit

    def summary(self) -> RunFinished:
        """Return the run's summary."""
        return next(event for _, event in self.events if isinstance(event, RunFinished))

    def refused_share(self) -> float:
        """Return the share of all requests that were answered with 429."""
        return len(self.refusals()) / max(1, self.summary().requests)

    def worst_storm(self, first_episode_s: float) -> float:
        """Return the most 429s in a second, as a share of the requests at once then; after the first episode."""
        times = self.refusals()
        later = [at for at in times if at > times[0] + first_episode_s]
        shares = [
            (bisect_left(later, at + 1.0) - number) / self.limit_at(at)
            for number, at in enumerate(later)
            if bisect_left(later, at + 1.0) - number > 1  # a single one is no storm
        ]
        return max(shares, default=0.0)


def write_rows(path: Path, count: int) -> Path:
    """Write a file of so many rows, all different."""
    rows = ({"messages": [{"role": "user", "text": f"Question {number}?"}]} for number in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Service(Protocol):
    """What has an address, in this process or in another."""

    @property
    def base_url(self) -> str:
        """Return the address."""
        ...


def run(
    service: Service,
    rows: Path,
    *,
    clock: Clock,
    also: Sequence[Callable[[Event], None]] = (),
    **settings: object,
) -> Seen:
    """Answer a file; `also` hears every event."""
    values = {"base_url": service.base_url, "output": rows.with_suffix(".parquet"), **settings}
    made = Settings(**values)  # type: ignore[arg-type]  # by the names of the settings
    seen, news, began = Seen(made.concurrency.low), News(), clock.monotonic()
    news.subscribe(lambda event: seen.events.append((clock.monotonic() - began, event)))
    for listener in also:
        news.subscribe(listener)
    seen.code = running.run(made, [str(rows)], ACCOUNT, news=news, clock=clock, tick=lambda: None)
    return seen


@contextmanager
def served(config: Config) -> Iterator[tuple[Running, FastClock]]:
    """Serve an emulator, with a clock for its client that is as fast."""
    with background(config) as service:
        yield service, FastClock(config.speed)
