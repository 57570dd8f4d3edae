"""Asynchronous mode: what of its quotas is used, and what a kill costs.

    python tests/campaigns/operations.py pace --rows 5000 --speed 4
    python tests/campaigns/operations.py kill --kills 50 --rows 1500 [--leave]
    python tests/campaigns/operations.py both

`pace` answers rows within the service's quotas (10 submissions a second and 5,000 an hour, 50 looks a second).
`kill` kills a real process at random moments, each time beginning it again, and holds the emulator's ledger of
submissions against what the journal lists as in doubt; with `--leave` those that are killed only hand rows in and
leave (`--detach-after-submit`), one more does so to its end, and another run collects the answers. `both` meets a
deadline that asynchronous mode alone misses.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import pyarrow.parquet as pq
from campaigns import measuring
from campaigns.elsewhere import elsewhere

from batch.clock import FastClock
from batch.emulator import Config, Latency, Quotas, Running, background
from batch.journal import Records
from batch.parsing import RateLimit
from batch.records import RequestIds

SUBMITTED_PER_S = 10
ACCOUNT = {"API_KEY": "AQVN-campaign", "FOLDER_ID": "b1gcampaign000000000"}
LONGEST_RUN_S = 120.0
FAST_RUN = Path(__file__).parents[1] / "campaigns" / "fast_run.py"


@dataclass(slots=True)
class Pace:
    """What a run under the quotas came to; `ideal_s` is what they allow at best, operations' own time included."""

    rows: int
    answered: int
    makespan_s: float
    ideal_s: float
    refused: int
    looks_each: float

    @property
    def ratio(self) -> float:
        """Return the makespan as a share of what the quotas allow."""
        return self.makespan_s / self.ideal_s


def pace(folder: Path, rows: int, speed: float, latency: str, per_hour: int = 5000) -> Pace:
    """Answer so many rows in asynchronous mode, with a clock that goes `speed` times as fast."""
    clock = FastClock(speed)
    path = measuring.write_rows(folder / "in.jsonl", rows)
    limits = {"async_limit": (RateLimit(SUBMITTED_PER_S, 1), RateLimit(per_hour, 3600))}
    words = ("--speed", str(speed), "--async-per-hour", str(per_hour), "--operation-latency", latency)
    with elsewhere(*words) as service:
        seen = measuring.run(service, path, clock=clock, mode="async", **limits)
        totals = service.totals()
    routes = totals["by_route"]
    assert isinstance(routes, dict)
    refused = sum(counts.get("429", 0) for counts in routes.values())
    # The last operation begins when the windows let it at best, and takes what it took here.
    last_begins = (rows - 1) // per_hour * 3600.0 + (rows - 1) % per_hour / SUBMITTED_PER_S
    longest = float(latency.partition(":")[2].split("-")[-1])
    return Pace(rows, len(seen.answers()), seen.summary().duration_s, last_begins + longest, refused,
                int(str(totals["polls"])) / rows)  # fmt: skip


@dataclass(slots=True)
class Kills:
    """What the kills cost; `broken` says which promises did not hold."""

    kills: int = 0
    answered: int = 0
    submissions: int = 0
    submitted_twice: int = 0
    twice_not_listed: int = 0
    listed: int = 0
    most_listed_at_once: int = 0
    left_open: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


def kill(folder: Path, kills: int, rows: int, seed: int = 1, speed: float = 20.0, *, leave: bool = False) -> Kills:
    """Kill a run so many times, let it end, and compare; with `leave`, runs that hand in and leave."""
    draw, figures, began = random.Random(seed), Kills(), time.monotonic()
    path = measuring.write_rows(folder / "in.jsonl", rows)
    output = path.with_suffix(".parquet")
    clock = FastClock(speed)
    quotas = Quotas(async_per_second=None, async_per_hour=None, operations_per_second=None)
    config = Config(quotas=quotas, operation_latency=Latency.parse("uniform:2-60"))
    with background(config, clock=clock) as service:
        listed_before = number = 0
        while figures.kills < kills and number < 2 * kills:
            # In between somebody comes in synchronous mode: what is open is finished all the same.
            mode = "sync" if number % 10 == 4 and not leave else "async"
            words = _words(service, path, output, speed, mode=mode, leave=leave)
            number += 1
            goal = service.ledger.activity().submissions + draw.uniform(0, 1.9 * rows / (kills + 1))
            process = subprocess.Popen(words, env={**os.environ, **ACCOUNT}, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + LONGEST_RUN_S
            while process.poll() is None and time.monotonic() < deadline:
                if service.ledger.activity().submissions >= goal:
                    break
                time.sleep(0.002)
            figures.kills += process.poll() is None
            process.kill()
            process.wait(10)
            listed = len(_unknown(output))
            figures.most_listed_at_once = max(figures.most_listed_at_once, listed - listed_before)
            listed_before = listed
        if leave:
            _to_its_end(_words(service, path, output, speed, leave=True), figures)
            figures.left_open = _open(output)
            handed_in = service.ledger.activity().submissions
        _to_its_end(_words(service, path, output, speed), figures)
        if leave and service.ledger.activity().submissions != handed_in:
            figures.broken.append("the run that collects handed something in")
        _compare(service, output, rows, figures)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _to_its_end(words: list[str], figures: Kills) -> None:
    ran = subprocess.run(
        words, env={**os.environ, **ACCOUNT}, capture_output=True, timeout=LONGEST_RUN_S, check=False
    )
    if ran.returncode != 0:
        figures.broken.append(
            f"the last run ended with {ran.returncode}: {ran.stdout[-500:]!r} {ran.stderr[-500:]!r}"
        )


def _words(
    service: Running, path: Path, output: Path, speed: float, mode: str = "async", *, leave: bool = False
) -> list[str]:
    settings = {"output": str(output), "base_url": service.base_url, "mode": mode, "async_limit": "10/s",
                "poll_limit": "off", "concurrency": "4"}  # fmt: skip
    if mode == "sync":
        settings["max_rows"] = "20"
    if leave:
        settings["detach_after_submit"] = "true"
    return [sys.executable, str(FAST_RUN), str(speed), json.dumps(settings), str(path)]


def _unknown(output: Path) -> list[str]:
    journal = output.with_name(output.name + ".journal")
    if not journal.exists():
        return []
    records = Records.open(journal)
    try:
        return [key for key, _, _ in records.unknown()]
    finally:
        records.close()


def _open(output: Path) -> int:
    records = Records.open(output.with_name(output.name + ".journal"))
    try:
        return sum(1 for _ in records.open_operations())
    finally:
        records.close()


def _compare(service: Running, output: Path, rows: int, figures: Kills) -> None:
    records = Records.open(output.with_name(output.name + ".journal"))
    try:
        identity = records.fact("identity")
    finally:
        records.close()
    keys = [row["row_key"] for row in pq.read_table(output).to_pylist() if row["status"] == "ok"]
    listed = Counter(RequestIds.of(identity, key).client_request_id for key in _unknown(output))
    # What was submitted as an operation, and what was billed without having been one.
    times = service.ledger.submissions()
    times.update(entry.client_request_id for entry in service.ledger.entries() if entry.mode == "sync")
    figures.answered, figures.submissions = len(keys), service.ledger.activity().submissions
    figures.listed = listed.total()
    figures.submitted_twice = sum(number - 1 for number in times.values())
    figures.twice_not_listed = sum(max(0, number - 1 - listed[name]) for name, number in times.items())
    if figures.answered != rows:
        figures.broken.append(f"{figures.answered} of {rows} rows have an answer")
    if figures.twice_not_listed:
        figures.broken.append(f"{figures.twice_not_listed} rows were bought twice and not listed")


@dataclass(frozen=True, slots=True)
class Night:
    """One way of spending a night: whether the deadline was met, what was answered, and what it cost."""

    mode: str
    code: int
    answered: int
    cost: Decimal
    by_mode: dict[str, int]


def both(folder: Path, rows: int = 1500, speed: float = 30.0) -> list[Night]:
    """Spend the same night in each mode, with a deadline that asynchronous mode alone would miss."""
    nights = []
    for mode in ("async", "sync", "both"):
        clock = FastClock(speed)
        quotas = Quotas(concurrent=10, async_per_hour=900)
        config = Config(
            quotas=quotas, latency=Latency.parse("uniform:4-6"), operation_latency=Latency.parse("uniform:20-60")
        )
        (folder / mode).mkdir()
        path = measuring.write_rows(folder / mode / "in.jsonl", rows)
        with background(config, clock=clock) as service:
            seen = measuring.run(
                service, path, clock=clock, mode=mode, max_duration=1500.0,
                async_limit=(RateLimit(10, 1), RateLimit(900, 3600)),
            )  # fmt: skip
            totals = {name: service.ledger.totals(name) for name in ("sync", "async")}
        price = {"sync": Decimal("0.0002"), "async": Decimal("0.0001")}
        cost = sum((totals[name].total_tokens * price[name] for name in totals), Decimal(0))
        nights.append(
            Night(
                mode, int(seen.code), len(seen.answers()), cost, {name: totals[name].requests for name in totals}
            )
        )
    return nights


def main() -> int:
    """Run a campaign and print its figures; 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["pace", "kill", "both"])
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--speed", type=float, default=4.0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--leave", action="store_true", help="kill: runs that hand in and leave")
    parser.add_argument("--latency", default="uniform:2-5", help="how long operations take, such as uniform:20-60")
    parser.add_argument("--per-hour", type=int, default=5000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chatbatch-operations-") as folder:
        if given.which == "pace":
            found = pace(Path(folder), given.rows or 5000, given.speed, given.latency, given.per_hour)
            print(f"{found.answered} of {found.rows} rows in {found.makespan_s:.1f} s")
            print(f"{found.ratio:.3f} of the ideal {found.ideal_s:.1f} s; {found.refused} refusals")
            print(f"{found.looks_each:.2f} looks at each operation")
            return 0
        if given.which == "both":
            for night in both(Path(folder), given.rows or 1500):
                told = f"exit {night.code:3}  {night.answered:,} answers  {night.cost:.4f} RUB"
                print(f"{night.mode:6} {told}  {night.by_mode}")
            return 0
        figures = kill(Path(folder), given.kills, given.rows or 1500, leave=given.leave)
    for name in Kills.__dataclass_fields__:
        print(f"{name:20} {getattr(figures, name)}")
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
