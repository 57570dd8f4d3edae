"""What of a quota is used, and how many requests are refused on the way.

By hand: `python tests/campaigns/quotas.py [--small] [NAME …]`. The full size takes about six minutes, the small
one, which runs with the tests, one. Throughput is measured in emulated time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns.measuring import Seen, run, served, write_rows

from batch.clock import FastClock
from batch.emulator import Config, Latency, Quotas
from batch.errors import ExitCode
from batch.parsing import AUTO, Bounds, RateLimit

USED, REFUSED, STORM, MAKESPAN = 0.97, 0.02, 0.5, 1.03
# What arrives within so many real seconds of the first 429 was on the way when it came.
ON_THE_WAY_S = 0.05


@dataclass(frozen=True, slots=True)
class Size:
    """How much each campaign sends, and how fast its clock runs."""

    concurrent_rows: int
    concurrent_speed: float
    per_second_rows: int
    per_second_speed: float
    per_hour: int
    per_hour_speed: float
    known_rows: int


FULL = Size(1000, 5.0, 4000, 1.0, 5000, 100.0, 4000)
SMALL = Size(100, 2.5, 700, 1.0, 500, 400.0, 600)


@dataclass(frozen=True, slots=True)
class Found:
    """What a run against an unknown quota came to."""

    used: float
    refused: float
    storm: float
    seen: Seen

    def __str__(self) -> str:
        requests = self.seen.summary().requests
        count = len(self.seen.refusals())
        return (
            f"used {self.used:.1%} once settled; {count} of {requests} requests were 429s ({self.refused:.2%}), "
            f"worst second after the first: {self.storm:.0%} of the requests at once"
        )


Unknown = Callable[[Path, Size], Found]


def _found(seen: Seen, used: float, speed: float) -> Found:
    return Found(used, seen.refused_share(), seen.worst_storm(max(1.0, ON_THE_WAY_S * speed)), seen)


def _share(answers: Sequence[float], first: int, last: int, per_second: float) -> float:
    """Return the throughput between two answers, as a share of the allowed one."""
    return (last - first) / (answers[last] - answers[first]) / per_second


def unknown_concurrency(folder: Path, size: Size) -> Found:
    """Ten at once, which the client is not told; an answer takes four seconds."""
    config = Config(Quotas(concurrent=10), Latency.parse("fixed:4"), speed=size.concurrent_speed)
    with served(config) as (service, clock):
        rows = write_rows(folder / "concurrent.jsonl", size.concurrent_rows)
        seen = run(service, rows, clock=clock, concurrency=AUTO)
    answers = seen.answers()
    return _found(seen, _share(answers, 40, len(answers) - 11, 10 / 4), config.speed)


def unknown_per_second(folder: Path, size: Size) -> Found:
    """A hundred per second, which the client is not told; an answer takes 0.15 seconds."""
    quotas = Quotas(concurrent=None, per_second=100)
    config = Config(quotas, Latency.parse("fixed:0.15"), speed=size.per_second_speed)
    with served(config) as (service, clock):
        rows = write_rows(folder / "second.jsonl", size.per_second_rows)
        seen = run(service, rows, clock=clock, concurrency=AUTO)
    answers, refusals = seen.answers(), seen.refusals()
    settled = sum(at < refusals[0] + 2 for at in answers) if refusals else len(answers) // 2
    return _found(seen, _share(answers, settled, len(answers) - 20, 100), config.speed)


def unknown_per_hour(folder: Path, size: Size) -> Found:
    """So many per hour, which the client is not told; for the quota of two hours."""
    quotas = Quotas(concurrent=None, per_hour=size.per_hour)
    config = Config(quotas, Latency.parse("fixed:0.5"), speed=size.per_hour_speed)
    with served(config) as (service, clock):
        rows = write_rows(folder / "hour.jsonl", 2 * size.per_hour)
        seen = run(service, rows, clock=clock, concurrency=AUTO)
    used = _share(seen.answers(), size.per_hour - 1, 2 * size.per_hour - 1, size.per_hour / 3600)
    return _found(seen, used, config.speed)


def known_per_second(folder: Path, size: Size, burst: int, concurrency: Bounds) -> tuple[float, int]:
    """A hundred per second, which the client is told; returns the makespan by the ideal, and the 429s."""
    quotas = Quotas(concurrent=None, per_second=100, burst=burst)
    config = Config(quotas, Latency.parse("fixed:0.05"), speed=size.per_second_speed)
    with served(config) as (service, clock):
        rows = write_rows(folder / f"known-{burst}-{concurrency}.jsonl", size.known_rows)
        seen = run(service, rows, clock=clock, concurrency=concurrency, limit=(RateLimit(100, 1),))
    ideal = size.known_rows / 100 + 0.05
    return seen.answers()[-1] / ideal, len(seen.refusals())


@dataclass(frozen=True, slots=True)
class Together:
    """Three runs under 10 per second and so many per hour: exit codes, answers of each, and all 429s."""

    codes: list[ExitCode]
    answered: list[int]
    refused: int


class _Later(FastClock):
    """A clock of the same speed, an hour later."""

    def time(self) -> float:
        return super().time() + 3700


def windows_together(folder: Path, per_hour: int = 40, speed: float = 1.0) -> Together:
    """Stop half-way through the hour's quota, start again, and once more an hour later."""
    quotas = Quotas(concurrent=None, per_second=10, per_hour=per_hour)
    rows = write_rows(folder / "together.jsonl", per_hour + 20)
    limits = (RateLimit(10, 1), RateLimit(per_hour, 3600))
    runs: list[Seen] = []
    with served(Config(quotas, Latency.parse("fixed:0.5"), speed=speed)) as (service, clock):
        for part in range(3):
            if part == 2:
                clock = _Later(speed)
                service.emulator.quotas = quotas  # the emulator's hour is over, too
            changes: dict[str, object] = {"max_rows": per_hour // 2} if part == 0 else {"max_duration": 600.0}
            runs.append(run(service, rows, clock=clock, concurrency=Bounds(20, 20), limit=limits, **changes))
    return Together(
        [seen.code for seen in runs],
        [len(seen.answers()) for seen in runs],
        sum(len(seen.refusals()) for seen in runs),
    )


def _known(folder: Path, size: Size, burst: int) -> str:
    told = []
    for concurrency in (Bounds(64, 64), AUTO):
        ratio, refused = known_per_second(folder, size, burst, concurrency)
        told.append(f"concurrency {concurrency}: makespan {ratio:.3f} of the ideal, {refused} 429s")
    return "; ".join(told)


CAMPAIGNS: dict[str, Callable[[Path, Size], object]] = {
    "unknown-concurrency": unknown_concurrency,
    "unknown-second": unknown_per_second,
    "unknown-hour": unknown_per_hour,
    "known-burst-100": lambda folder, size: _known(folder, size, 100),
    "known-burst-10": lambda folder, size: _known(folder, size, 10),
    "windows-together": lambda folder, _size: windows_together(folder),
}


def main() -> None:
    """Run all of them, or those named, and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the size that runs with the tests")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CAMPAIGNS))
    arguments = parser.parse_args()
    size = SMALL if arguments.small else FULL
    with tempfile.TemporaryDirectory() as name:
        for campaign in arguments.names or CAMPAIGNS:
            print(f"{campaign}: {CAMPAIGNS[campaign](Path(name), size)}", flush=True)


if __name__ == "__main__":
    main()
