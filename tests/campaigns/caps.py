"""Random caps on random datasets, with faults and kills: what the service billed never exceeds the cap.

    python tests/campaigns/caps.py --runs 200

The tool runs as a process, with a fast clock, against an emulator in this one that forgets nothing it billed. It
is killed at random moments and begun again until it ends by itself; then the emulator's ledger, at the price
list's figures, is held against the cap, and the journal's spending against both.
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

from batch.emulator import Config, Fault, Latency, Quotas, Running, background
from batch.journal import Records
from batch.records import Message, Options, Request
from batch.tokens import upper_bound

SPEED = 20.0
LONGEST_RUN_S = 60.0
ACCOUNT = {"API_KEY": "AQVN-campaign", "FOLDER_ID": "b1gcampaign000000000"}
# Per 1,000 tokens, as in the service's price list; here once more, so that the tool's own is not its witness.
PRICES = {"yandexgpt-lite": Decimal("0.20"), "yandexgpt": Decimal("1.20")}
FAULTS = ("429", "500", "502", "503", "504", "empty", "drop-before", "drop-after", "truncated", "cut")
OPERATION_FAULTS = ("operation-failed", "operation-invalid", "operation-expired", "operation-empty")
STRUCK = ("completion", "completionAsync", "operations")
MODES = ("sync", "sync", "async", "both")
# The asynchronous mode's tokens cost half.
SHARE = {"sync": 1, "async": Decimal("0.5")}
LONGEST_OPERATION_S = 4.0
WORDS = ["река", "Волга", "впадает", "в", "Каспийское", "море", "the", "quick", "fox", "1234", "—", "你好"]


@dataclass(slots=True)
class Figures:
    """What a campaign measured; `broken` says which promises did not hold."""

    runs: int = 0
    kills: int = 0
    capped: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    exceeded: int = 0
    left_too_much: int = 0
    most_left: float = 0.0
    """The most that a capped run left unused, in worst cases of its largest row."""
    billed_share: list[float] = field(default_factory=list)
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows of random lengths, some with a longest answer of their own, and what is asked of them."""

    rows: list[dict[str, object]]
    model: str
    max_tokens: int
    concurrency: int
    mode: str

    @classmethod
    def random(cls, draw: random.Random) -> Dataset:
        """Make one up."""
        most = draw.choice([20, 100, 400])
        return cls([_row(draw) for _ in range(draw.randint(20, 90))], draw.choice(list(PRICES)), most,
                   draw.randint(1, 12), draw.choice(MODES))  # fmt: skip

    @property
    def least_share(self) -> Decimal:
        """Return what a token costs in the cheapest mode that is used, as a share of its price."""
        return Decimal(1) if self.mode == "sync" else SHARE["async"]

    def worst(self) -> int:
        """Return the largest worst case of a row in tokens."""
        return max(upper_bound(self._request(row)) + self._most(row) + 1 for row in self.rows)

    def _most(self, row: dict[str, object]) -> int:
        own = row.get("completionOptions")
        return int(str(own["maxTokens"])) if isinstance(own, dict) else self.max_tokens

    def _request(self, row: dict[str, object]) -> Request:
        turns = row["messages"]
        assert isinstance(turns, list)
        messages = tuple(Message(str(turn["role"]), str(turn["text"])) for turn in turns)
        return Request(self.model, messages, Options(max_tokens=self._most(row)))


def _row(draw: random.Random) -> dict[str, object]:
    text = " ".join(draw.choices(WORDS, k=draw.choice([1, 5, 20, 80])))
    row: dict[str, object] = {"messages": [{"role": "user", "text": f"{draw.random()} {text}"}]}
    if draw.random() < 0.2:
        row["completionOptions"] = {"maxTokens": str(draw.choice([10, 50, 300]))}
    return row


class Campaign:
    """Runs in a folder, one after the other, each against an emulator of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self.figures = Figures()

    def run(self, runs: int) -> Figures:
        """Make so many runs."""
        began = time.monotonic()
        for number in range(runs):
            self._one(number, random.Random(self._seed * 1_000_003 + number))
        self.figures.runs = runs
        self.figures.seconds = round(time.monotonic() - began, 1)
        return self.figures

    def _one(self, number: int, draw: random.Random) -> None:
        data = Dataset.random(draw)
        rows = self._folder / f"{number}.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in data.rows), encoding="utf-8")
        faults = [Fault(name, draw.uniform(0, 0.1), STRUCK) for name in draw.sample(FAULTS, draw.randint(0, 4))]
        faults += [Fault(name, draw.uniform(0, 0.1)) for name in draw.sample(OPERATION_FAULTS, draw.randint(0, 2))]
        # What all rows may take by a rough guess; caps from far too little to more than enough.
        guess = len(data.rows) * (40 + data.max_tokens * 0.5)
        tokens = int(guess * draw.uniform(0.05, 1.5))
        by_money = draw.random() < 0.6
        price = PRICES[data.model]
        cap = {"max_cost": f"{tokens * price / 1000:.4f} RUB"} if by_money else {"max_total_tokens": str(tokens)}
        latency = Latency.parse("uniform:0.2-2")
        quotas = Quotas(None, async_per_second=None, async_per_hour=None, operations_per_second=None)
        config = Config(quotas=quotas, latency=latency, faults=tuple(faults), speed=SPEED,
                        operation_latency=Latency.parse(f"uniform:1-{LONGEST_OPERATION_S}"),
                        seed=draw.randrange(10**6))  # fmt: skip
        with background(config) as service:
            code = self._until_it_ends(service, data, rows, cap, draw)
            time.sleep(LONGEST_OPERATION_S / SPEED)  # operations of killed runs, which nobody knows of, end too
        self._compare(service, data, rows.with_suffix(".parquet"), cap, code)

    def _until_it_ends(
        self, service: Running, data: Dataset, rows: Path, cap: dict[str, str], draw: random.Random
    ) -> int:
        settings = {
            "output": str(rows.with_suffix(".parquet")),
            "base_url": service.base_url,
            "model": data.model,
            "max_tokens": str(data.max_tokens),
            "concurrency": str(data.concurrency),
            "retries": "2",
            "mode": data.mode,
            "async_limit": "off",
            "poll_limit": "off",
            **cap,
        }
        words = [sys.executable, str(Path(__file__).with_name("fast_run.py")), str(SPEED), json.dumps(settings)]
        env = {**os.environ, **ACCOUNT}
        for _ in range(draw.choice([0, 0, 1, 2, 3])):
            process = subprocess.Popen([*words, str(rows)], env=env, stdout=subprocess.DEVNULL)
            before, target = service.ledger.totals().requests, draw.randint(1, len(data.rows) // 4)
            deadline = time.monotonic() + draw.uniform(0.5, 2.5)
            while process.poll() is None and time.monotonic() < deadline:
                if service.ledger.totals().requests - before >= target:
                    break
                time.sleep(0.002)
            self.figures.kills += process.poll() is None
            process.kill()
            process.wait(10)
        ran = subprocess.run([*words, str(rows)], env=env, capture_output=True, timeout=LONGEST_RUN_S, check=False)
        if ran.returncode not in (0, 3, 8):
            self.figures.broken.append(
                f"{rows.name}: exit {ran.returncode}: {ran.stdout[-400:]!r} {ran.stderr[-400:]!r}"
            )
        return ran.returncode

    def _compare(self, service: Running, data: Dataset, output: Path, cap: dict[str, str], code: int) -> None:
        figures, by_money = self.figures, "max_cost" in cap
        price = PRICES[data.model] / 1000 if by_money else Decimal(1)

        def amount(mode: str, tokens: int) -> Decimal:
            return tokens * (price * SHARE[mode] if by_money else price)

        totals = {mode: service.ledger.totals(mode) for mode in SHARE}
        billed = sum(amount(mode, each.input_tokens + each.completion_tokens) for mode, each in totals.items())
        records = Records.open(output.with_name(output.name + ".journal"))
        try:
            spent = sum(amount(item.mode, item.input_tokens + item.output_tokens) for item in records.spending())
        finally:
            records.close()
        most = Decimal((cap.get("max_cost") or cap["max_total_tokens"]).split()[0])
        unused, worst = most - spent, data.worst() * (price * data.least_share if by_money else price)
        figures.codes[code] += 1
        figures.modes[data.mode] += 1
        figures.billed_share.append(round(float(billed / spent), 4) if spent else 1.0)
        if billed > most or unused < 0:
            figures.exceeded += 1
            figures.broken.append(f"{output.name} ({data.mode}): billed {billed}, spent {spent}, cap {cap}")
        if billed > spent:
            figures.broken.append(f"{output.name} ({data.mode}): billed {billed}, the journal knows of {spent}")
        if code == 8:
            figures.capped += 1
            figures.most_left = max(figures.most_left, round(float(unused / worst), 3))
            if unused >= worst * data.concurrency:
                figures.left_too_much += 1
                figures.broken.append(f"{output.name}: {unused} of {cap} left, a row takes at most {worst}")


def main() -> int:
    """Run a campaign and print its figures; 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chatbatch-caps-") as folder:
        figures = Campaign(Path(folder), given.seed).run(given.runs)
    shares = sorted(figures.billed_share)
    print(f"billed, as a share of what the journal counts as spent: median {shares[len(shares) // 2]}, "
          f"least {shares[0]}")  # fmt: skip
    for name in (
        "runs",
        "kills",
        "codes",
        "modes",
        "capped",
        "exceeded",
        "left_too_much",
        "most_left",
        "seconds",
        "broken",
    ):
        print(f"{name:16} {getattr(figures, name)}")
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
