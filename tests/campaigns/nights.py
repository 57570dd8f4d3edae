"""A month of nights: a job whose input grows, killed and cut off at random; each row is answered once.

    python tests/campaigns/nights.py --nights 30

`chatbatch job run` runs as a process against one emulator in this one, which forgets nothing that it billed. At
the end the output, the job's history and the emulator's ledger are held against each other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

from batch.emulator import Config, Fault, Latency, LedgerEntry, Quotas, Running, background

IN_FLIGHT = 10
LONGEST_RUN_S = 60.0
ACCOUNT = {"API_KEY": "AQVN-campaign", "FOLDER_ID": "b1gcampaign000000000"}
# Per 1,000 tokens, as in the service's price list; here once more, so that the tool's own is not its witness.
PRICE = Decimal("0.20")
JOB = f"""
[input]
files = ["in/"]
[output]
path = "out.parquet"
[service]
base_url = "{{env:SERVICE}}"
[limits]
concurrency = {IN_FLIGHT}
[retry]
attempts = 2
timeout = "5s"
max_outage = "1s"
[history]
keep = 500
"""


@dataclass(slots=True)
class Figures:
    """What a campaign measured; `broken` says which promises did not hold."""

    nights: int = 0
    rows: int = 0
    kills: int = 0
    outages: int = 0
    empty: int = 0
    runs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    billed: int = 0
    twice: int = 0
    doubtful: int = 0
    answered: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def hold(self, true: bool, promise: str) -> None:
        """Note a promise that was not kept."""
        if not true:
            self.broken.append(promise)


class Campaign:
    """Nights of one job in a folder, against one emulator."""

    def __init__(self, folder: Path, seed: int, most_rows: int = 60) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._most = most_rows
        self.figures = Figures()
        (folder / "jobs").mkdir()
        (folder / "in").mkdir()
        (folder / "jobs/night.toml").write_text(JOB)

    def run(self, nights: int) -> Figures:
        """Let so many nights pass, then one in which nothing happens, and compare."""
        began, figures = time.monotonic(), self.figures
        latency = Latency.parse("uniform:0.02-0.1")
        with background(Config(quotas=Quotas(concurrent=None), latency=latency)) as service:
            for number in range(nights):
                self._night(service, number)
            figures.nights = nights
            code = self._start(service).wait(LONGEST_RUN_S)
            figures.hold(code == 0, f"the last run ended with {code}")
            self._compare(service)
        figures.seconds = round(time.monotonic() - began, 1)
        return figures

    def _night(self, service: Running, number: int) -> None:
        fate = self._random.choice(["well", "killed", "killed", "outage", "empty"])
        if fate == "empty":
            self.figures.empty += 1
            self._end(self._start(service), {0})
            return
        self._grow(number)
        if fate == "outage":
            self._outage(service)
        elif fate == "killed":
            self._killed(service)
            if self._random.random() < 0.5:  # started again at once; else the next night takes over
                self._end(self._start(service), {0})
        else:
            self._end(self._start(service), {0})

    def _grow(self, number: int) -> None:
        """Add rows: to a file that is there, or as a file of their own."""
        first, count = self.figures.rows, self._random.randint(self._most // 3, self._most)
        lines = [
            json.dumps({"messages": [{"role": "user", "text": f"Question {n}?"}]}) + "\n"
            for n in range(first, first + count)
        ]
        name = "all.jsonl" if self._random.random() < 0.5 else f"{number:03}.jsonl"
        with (self._folder / "in" / name).open("a") as file:
            file.writelines(lines)
        self.figures.rows += count

    def _outage(self, service: Running) -> None:
        """The service is down from somewhere in the night on; the job ends as one that should run again later."""
        self.figures.outages += 1
        before = service.ledger.totals().requests
        process = self._start(service)
        self._wait(service, process, before + self._random.randint(0, 20))
        service.emulator.faults = (Fault("503", 1.0),)
        self._end(process, {0, 3, 5})
        service.emulator.faults = ()

    def _killed(self, service: Running) -> None:
        before = service.ledger.totals().requests
        process = self._start(service)
        self._wait(service, process, before + self._random.randint(1, self._most))
        process.send_signal(signal.SIGKILL)
        self.figures.kills += process.wait(LONGEST_RUN_S) == -signal.SIGKILL
        self.figures.codes[process.returncode] += 1
        time.sleep(0.15)  # what is in flight goes on at the service, and is billed

    def _wait(self, service: Running, process: subprocess.Popen[bytes], billed: int) -> None:
        deadline = time.monotonic() + LONGEST_RUN_S
        while service.ledger.totals().requests < billed and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)

    def _start(self, service: Running) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TZ")}
        words = ["job", "run", "night", "--jobs-dir", str(self._folder / "jobs"), "-q"]
        with (self._folder / "stderr").open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "batch", *words],
                env={**kept, **ACCOUNT, "SERVICE": service.base_url},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def _end(self, process: subprocess.Popen[bytes], expected: set[int]) -> None:
        code = process.wait(LONGEST_RUN_S)
        self.figures.codes[code] += 1
        self.figures.hold(code in expected, f"a run ended with {code}, not one of {expected}")

    def _history(self) -> list[dict[str, object]]:
        words = ["job", "history", "night", "--jobs-dir", str(self._folder / "jobs"), "-n", "500", "--json"]
        told = subprocess.run([sys.executable, "-m", "batch", *words], check=True, capture_output=True, text=True)
        return [json.loads(line) for line in told.stdout.splitlines()]

    def _compare(self, service: Running) -> None:
        figures, history = self.figures, self._history()
        rows = pq.read_table(self._folder / "out.parquet").to_pylist()
        delivered: dict[str | None, LedgerEntry] = {}
        for entry in service.ledger.entries():
            if entry.delivered:
                delivered[entry.client_request_id] = entry  # the last is the one that was kept
        times = service.ledger.by_request_id()
        figures.runs = len(history)
        figures.outcomes = Counter(str(item["outcome"]) for item in history)
        figures.billed, figures.twice = sum(times.values()), sum(number - 1 for number in times.values())
        figures.answered = _sum(history, "answered")
        figures.doubtful = _sum(history, "doubtful")
        figures.tokens = _sum(history, "input_tokens") + _sum(history, "completion_tokens")
        figures.cost = sum((Decimal(item["cost"].get("RUB", "0")) for item in history), Decimal(0))  # type: ignore[attr-defined]
        hold = figures.hold
        hold([row["status"] for row in rows] == ["ok"] * figures.rows, "each row is answered, and stands once")
        hold(len(times) == figures.rows, "every row was billed, and nothing else")
        hold(figures.answered == figures.rows, "the history's answered rows are the rows")
        hold(figures.twice <= figures.doubtful, "whatever was billed twice is told as doubtful")
        hold(figures.doubtful <= figures.kills * IN_FLIGHT, "no more is in doubt than was in flight")
        ledger = sum(entry.total_tokens for entry in delivered.values())
        hold(figures.tokens == ledger == sum(row["total_tokens"] for row in rows), "tokens add up to the ledger")
        hold(figures.cost == ledger * PRICE / 1000, "the cost adds up to the ledger")
        hold(figures.cost == sum(row["cost"] for row in rows), "the cost adds up to the output")
        hold(figures.outcomes["killed"] == figures.kills, "every killed run is in the history")
        hold(figures.outcomes["running"] == 0, "no run is left open")
        hold(figures.runs == sum(figures.codes.values()) + 1, "every run left a record")


def _sum(history: list[dict[str, object]], name: str) -> int:
    return sum(int(str(item[name])) for item in history)


def main() -> int:
    """Run the campaign and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--rows", type=int, default=60, help="the most rows of a night")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = Campaign(Path(name), arguments.seed, arguments.rows).run(arguments.nights)
        if figures.broken:
            print((Path(name) / "stderr").read_text())
    print(figures)
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
