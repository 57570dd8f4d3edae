"""Several runs on one quota: whether together they use it as one would, and what a killed one leaves.

By hand: `python tests/campaigns/sharing.py [--small] [NAME …]`. Real processes against one emulator, in real time.
The full size takes about ten minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns.measuring import ACCOUNT, write_rows

from batch.emulator import Config, Latency, Quotas, Running, background

AT_ONCE = 10
LATENCY = "uniform:0.3-0.6"
SAMPLE_S = 0.05
PATIENCE_S = 10.0
# In the file: of slots a total of ten, and all ten granted to one.
FULL_WIDTH = b'"slots":[10,10,10,10,10]'


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds that are measured, and that begin before: start of the processes and slow start."""

    measured_s: float
    settle_s: float


FULL = Size(40.0, 6.0)
SMALL = Size(5.0, 4.0)


@dataclass(frozen=True, slots=True)
class Found:
    """Answers per second in the measured time, each run's part of them, and the share of 429s in all."""

    per_second: float
    parts: tuple[float, ...]
    refused: float

    def __str__(self) -> str:
        parts = ", ".join(f"{part:.0%}" for part in self.parts)
        return f"{self.per_second:.2f} rows/s; parts {parts}; 429s {self.refused:.2%}"


@dataclass(slots=True)
class Job:
    """One run as a real process, and the rows that its journal says are answered."""

    process: subprocess.Popen[bytes]
    log: Path

    def answered(self) -> int:
        """Return how many rows it has answered."""
        return self.log.read_bytes().count(b'"event":"row_finished"')

    def end(self) -> None:
        """Kill it; nothing of it is needed any more."""
        self.process.kill()
        self.process.wait()


class Scene:
    """One emulator, a folder for temporary files of its own, and the runs in it."""

    def __init__(self, folder: Path, service: Running) -> None:
        self.folder, self.service = folder, service
        self.jobs: list[Job] = []

    def start(self, rows: int, *arguments: str) -> Job:
        """Start a run of so many rows."""
        number = len(self.jobs)
        log = self.folder / f"{number}.events"
        data = write_rows(self.folder / f"{number}.jsonl", rows)
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        words = [
            "run",
            str(data),
            "-o",
            str(self.folder / f"{number}.parquet"),
            "--base-url",
            self.service.base_url,
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "batch", *words, "--json", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **ACCOUNT, "TMPDIR": str(temporary)},
            )
        self.jobs.append(Job(process, log))
        return self.jobs[-1]

    def measure(self, seconds: float, jobs: Sequence[Job]) -> Found:
        """Watch for so long."""
        began, before = time.monotonic(), [job.answered() for job in jobs]
        time.sleep(seconds)
        after = [job.answered() for job in jobs]
        took = time.monotonic() - began
        done = [late - early for early, late in zip(before, after, strict=True)]
        refused = sum(job.log.read_bytes().count(b'"slow_down":true') for job in self.jobs)
        answered = sum(job.answered() for job in self.jobs)
        total = sum(done)
        parts = tuple(part / max(1, total) for part in done)
        return Found(total / took, parts, refused / max(1, refused + answered))

    def end(self) -> None:
        """Kill all runs."""
        for job in self.jobs:
            job.end()


def _scene(folder: Path, act: Callable[[Scene], Found], quotas: Quotas | None = None) -> Found:
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(quotas or Quotas(concurrent=AT_ONCE), Latency.parse(LATENCY), keep_entries=False)
    with background(config) as service:
        scene = Scene(folder, service)
        try:
            return act(scene)
        finally:
            scene.end()


MANY = 20_000


def together(folder: Path, size: Size, runs: int, *arguments: str, quotas: Quotas | None = None) -> Found:
    """So many runs alike, which start at the same time."""

    def act(scene: Scene) -> Found:
        jobs = [scene.start(MANY, *arguments) for _ in range(runs)]
        time.sleep(size.settle_s)
        return scene.measure(size.measured_s, jobs)

    return _scene(folder, act, quotas)


def modest(folder: Path, size: Size) -> Found:
    """One with everything to do, and one that may send two requests a second: it needs about one slot."""

    def act(scene: Scene) -> Found:
        jobs = [scene.start(MANY), scene.start(MANY, "--limit", "2/s")]
        time.sleep(size.settle_s)
        return scene.measure(size.measured_s, jobs)

    return _scene(folder, act)


def capped(folder: Path, size: Size) -> Found:
    """One of the two keeps to 30 % of the quota."""

    def act(scene: Scene) -> Found:
        jobs = [scene.start(MANY), scene.start(MANY, "--quota-share", "30%")]
        time.sleep(size.settle_s)
        return scene.measure(size.measured_s, jobs)

    return _scene(folder, act)


def killed(folder: Path, size: Size) -> tuple[float, Found]:
    """One of two is killed; returns in how many seconds the other ran at full width, and what it did from then."""
    waited = 0.0

    def act(scene: Scene) -> Found:
        nonlocal waited
        left, gone = (scene.start(MANY, "--concurrency", str(AT_ONCE)) for _ in range(2))
        time.sleep(size.settle_s)
        gone.end()
        began = time.monotonic()
        state = next((scene.folder / "tmp").glob("chatbatch-*/quota-*.json"))
        mark = f'"process":[{gone.process.pid},'.encode()
        while mark in (text := state.read_bytes()) or FULL_WIDTH not in text:
            if time.monotonic() - began > PATIENCE_S:
                raise AssertionError(f"the share did not come back: {text.decode()}")
            time.sleep(SAMPLE_S)
        waited = time.monotonic() - began
        return scene.measure(size.measured_s, [left])

    found = _scene(folder, act)
    return waited, found


def _fixed(folder: Path, size: Size) -> None:
    fixed = ("--concurrency", str(AT_ONCE))
    _compare(folder, size, "fixed 10", fixed)


def _auto(folder: Path, size: Size) -> None:
    _compare(folder, size, "auto", ())


def _compare(folder: Path, size: Size, name: str, arguments: tuple[str, ...]) -> None:
    alone = together(folder / "1", size, 1, *arguments)
    print(f"{name}, one: {alone}", flush=True)
    for runs in (2, 3):
        found = together(folder / str(runs), size, runs, *arguments)
        print(f"{name}, {runs}: {found}; {found.per_second / alone.per_second:.1%} of one", flush=True)


def _rate(folder: Path, size: Size) -> None:
    quotas = Quotas(concurrent=None, per_second=100)
    for runs in (1, 2):
        found = together(folder / str(runs), size, runs, "--limit", "100/s", "--concurrency", "64", quotas=quotas)
        print(f"100/s, {runs}: {found}", flush=True)


def _modest(folder: Path, size: Size) -> None:
    alone = together(folder / "1", size, 1)
    found = modest(folder / "2", size)
    print(f"one needs little: {found}; {found.per_second / alone.per_second:.1%} of one alone", flush=True)


def _killed(folder: Path, size: Size) -> None:
    waited, found = killed(folder, size)
    print(f"killed: the other had all after {waited:.2f} s; {found}", flush=True)


CAMPAIGNS: dict[str, Callable[[Path, Size], object]] = {
    "fixed": _fixed,
    "auto": _auto,
    "killed": _killed,
    "modest": _modest,
    "capped": lambda folder, size: print(f"one capped at 30 %: {capped(folder, size)}", flush=True),
    "rate": _rate,
}


def main() -> None:
    """Run the campaigns that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CAMPAIGNS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.names or CAMPAIGNS:
            CAMPAIGNS[name](Path(temporary) / name, SMALL if given.small else FULL)


if __name__ == "__main__":
    main()
