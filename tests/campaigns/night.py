"""A night with tokens of an hour: no row fails by a 401, and the token is renewed once for all workers.

    python tests/campaigns/night.py --hours 14 --speed 2000

Real runs against the emulator, which takes nothing but tokens that it issued and that live, on one sped-up clock:
one run in synchronous mode, one in asynchronous mode, whose looks need the token as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import measuring
from unit.issuers import ACCOUNT_ID, KEY_ID, pair, write_key

from batch.clock import FastClock
from batch.emulator import Config, Latency, Quotas, background
from batch.parsing import Bounds, RateLimit

WORKERS = 16
LIFE_S = 3600.0
ANSWER_S = 90.0
PER_MINUTE = 4
# Renewed a tenth of its life before its end, so a little more often than once an hour.
USED_S = 0.9 * LIFE_S


@dataclass(frozen=True, slots=True)
class Night:
    """What a night came to; `lasted_s` in emulated seconds, `refused` the 401s that the emulator answered."""

    mode: str
    lasted_s: float
    real_s: float
    rows: dict[str, int]
    requests: int
    looks: int
    refused: int
    lost: int
    tokens: int

    @property
    def expected(self) -> float:
        """Return how many tokens such a night needs."""
        return 1 + self.lasted_s / USED_S

    def __str__(self) -> str:
        return (
            f"{self.mode}: {self.lasted_s / 3600:.1f} h emulated in {self.real_s:.0f} s; rows {self.rows}; "
            f"{self.requests:,} requests, {self.looks:,} looks; {self.refused} answers 401, {self.lost} requests "
            f"lost; {self.tokens} tokens obtained for {WORKERS} workers ({self.expected:.1f} are needed)"
        )


def through(folder: Path, mode: str, *, hours: float, speed: float) -> Night:
    """Answer as many rows as take so many hours."""
    sync = mode == "sync"
    rows = int(hours * 3600 * WORKERS / ANSWER_S if sync else hours * 60 * PER_MINUTE)
    config = Config(
        Quotas(concurrent=None, async_per_second=None, async_per_hour=None, operations_per_second=None),
        Latency.parse(f"fixed:{ANSWER_S}"),
        operation_latency=Latency.parse("uniform:30-600"),
        strict_credentials=True,
        service_account_keys={KEY_ID: (ACCOUNT_ID, pair()[1])},
        iam_token_lifetime_s=LIFE_S,
        keep_entries=False,
    )
    clock, path, began = FastClock(speed), measuring.write_rows(folder / f"{mode}.jsonl", rows), time.monotonic()
    with background(config, clock=clock) as service:
        seen = measuring.run(
            service,
            path,
            clock=clock,
            service_account_key=write_key(folder / "key.json"),
            mode=mode,
            concurrency=Bounds(WORKERS, WORKERS),
            async_limit=(RateLimit(PER_MINUTE, 60),),
        )
        totals = service.emulator.totals()
    by_route = totals["by_route"]
    assert isinstance(by_route, dict)
    return Night(
        mode,
        seen.events[-1][0],
        time.monotonic() - began,
        {name: count for name, count in seen.summary().rows.items() if count},
        sum(by_route["completion" if sync else "completionAsync"].values()),
        sum(by_route.get("operations", {}).values()),
        sum(counts.get("401", 0) for counts in by_route.values()),
        len(seen.lost()),
        int(str(totals["iam_tokens"])),
    )


def main() -> int:
    """Spend both nights, print what they came to, and say whether they went as they should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=14.0)
    parser.add_argument("--speed", type=float, default=2000.0)
    parser.add_argument("--mode", choices=("sync", "async"), action="append")
    asked = parser.parse_args()
    well = True
    for mode in asked.mode or ("sync", "async"):
        with tempfile.TemporaryDirectory() as name:
            night = through(Path(name), mode, hours=asked.hours, speed=asked.speed)
        print(night, flush=True)
        well &= set(night.rows) == {"ok"} and night.tokens <= night.expected + 2
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
