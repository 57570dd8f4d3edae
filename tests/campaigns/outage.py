"""The service goes away in the middle of a run, three times in three ways, and comes back.

By hand: `python tests/campaigns/outage.py [--small]`. Times are emulated: an outage of minutes takes seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns.measuring import Seen, run, served, write_rows

from batch.emulator import Config, Latency, Quotas, Running
from batch.errors import ExitCode
from batch.events import Event, RowFinished, RunFinished
from batch.parsing import Bounds

KINDS = ("refused", "503", "502")
SLOTS = 10
# Pauses of 1, 2, 4 … 60 s: so many probes fall into five minutes, and one of them may be under way.
PROBES_IN_FIVE_MINUTES = 11


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage as the client met it: how it failed, from when to when, and when each request failed."""

    kind: str
    began: float
    ended: float
    failed: list[float]

    @property
    def probes(self) -> int:
        """Return how many requests failed that were not in flight when it began."""
        return max(0, len(self.failed) - SLOTS)

    @property
    def longest_pause(self) -> float:
        """Return the longest time between two failures."""
        return max(
            (later - first for first, later in zip(self.failed, self.failed[1:], strict=False)), default=0.0
        )

    def __str__(self) -> str:
        took = f"{self.ended - self.began:.0f} s of {self.kind}"
        return f"{took}: {len(self.failed)} requests failed, at most {self.longest_pause:.0f} s apart"


@dataclass(frozen=True, slots=True)
class Story:
    """What a run through outages came to."""

    seen: Seen
    rows: Counter[str]
    outages: list[Outage]


class _Weather(Thread):
    """Takes the service away each time that so many more rows are answered; `ask` sends SIGUSR1 meanwhile."""

    def __init__(self, service: Running, every: int, lasting_s: float, *, ask: bool) -> None:
        super().__init__(daemon=True)
        self.periods: list[tuple[str, float, float]] = []
        self._service = service
        self._every = every
        self._lasting_s = lasting_s
        self._ask = ask
        self._answered = 0
        self._over = False

    def note(self, event: Event) -> None:
        """Count the rows that are done."""
        self._answered += isinstance(event, RowFinished)
        self._over = self._over or isinstance(event, RunFinished)

    def run(self) -> None:
        """Let the outages come and go."""
        for number, kind in enumerate(KINDS, start=1):
            while self._answered < number * self._every and not self._over:
                time.sleep(0.001)
            began = time.monotonic()
            self._begin(kind)
            time.sleep(self._lasting_s / 2)
            if self._ask and not self._over:
                os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(self._lasting_s / 2)
            self._end()
            self.periods.append((kind, began, time.monotonic()))

    def _begin(self, kind: str) -> None:
        if kind == "refused":
            self._service.refuse()
        else:
            self._service.emulator.outage = kind

    def _end(self) -> None:
        if self._service.emulator.outage is None:
            self._service.accept()
        self._service.emulator.outage = None


def through(folder: Path, *, rows: int, lasting_s: float, speed: float, ask: bool = False) -> Story:
    """Answer rows at ten at once, with an outage of `lasting_s` emulated seconds at each quarter."""
    config = Config(Quotas(concurrent=SLOTS), Latency.parse("fixed:5"), speed=speed)
    path = write_rows(folder / "outage.jsonl", rows)
    with served(config) as (service, clock):
        weather = _Weather(service, rows // 4, lasting_s / speed, ask=ask)
        weather.start()
        began = time.monotonic()
        seen = run(service, path, clock=clock, also=[weather.note], concurrency=Bounds(SLOTS, SLOTS))
        weather.join(timeout=60)
    # What was read before the outage's end may be told a moment after it.
    spans = [(kind, (at - began) * speed, (to - began) * speed) for kind, at, to in weather.periods]
    outages = [Outage(kind, at, to, [when for when in seen.lost() if at <= when <= to]) for kind, at, to in spans]
    return Story(seen, Counter({name: count for name, count in seen.summary().rows.items() if count}), outages)


def for_ever(folder: Path, *, max_outage_s: float, speed: float) -> tuple[Seen, ExitCode]:
    """Answer rows of a service that goes away for good."""
    path = write_rows(folder / "gone.jsonl", 60)
    with served(Config(latency=Latency.parse("fixed:5"), speed=speed)) as (service, clock):
        answered: list[Event] = []

        def go(event: Event) -> None:
            answered.append(event)
            if isinstance(event, RowFinished) and len(answered) > 30:
                service.emulator.outage = "503"

        bounds = Bounds(SLOTS, SLOTS)
        seen = run(service, path, clock=clock, also=[go], concurrency=bounds, max_outage=max_outage_s)
    return seen, seen.code


def main() -> None:
    """Run both and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the size that runs with the tests")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory() as name:
        rows, lasting, speed = (160, 300.0, 100.0) if small else (800, 900.0, 60.0)
        story = through(Path(name), rows=rows, lasting_s=lasting, speed=speed)
        print(f"rows: {dict(story.rows)}, exit {story.seen.code}")
        for outage in story.outages:
            print(outage)
        seen, code = for_ever(Path(name), max_outage_s=600.0, speed=speed)
        print(f"gone for good, --max-outage 600: exit {code}, {len(seen.lost())} requests failed")


if __name__ == "__main__":
    main()
