"""SIGKILL at random moments, and damage to what the kills left: what is bought twice, lost, or not told.

    python tests/campaigns/kill.py --kills 100 --rows 2000 --concurrency 20
    python tests/campaigns/kill.py --kills 60 --rows 1200 --damage

The tool runs as a process against an emulator in this one. After every kill the same command continues; the
emulator's ledger, the tape that each kill left and the rows that the tool listed are held against each other.
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
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns.damage import DAMAGES, OF_TAPE, SILENT, in_sqlite, journal_of, on_tape, tape_of

from batch.emulator import Config, Latency, Quotas, Running, background
from batch.journal import Records
from batch.records import RequestIds

LONGEST_RUN_S = 120.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a campaign is; `rate` is about how many rows a second the emulator lets through."""

    kills: int
    rows: int
    concurrency: int
    damage: bool = False
    seed: int = 1


@dataclass(slots=True)
class Figures:
    """What a campaign measured; `broken` says which promises did not hold."""

    kills: int = 0
    answered: int = 0
    lost: int = 0
    billed: int = 0
    billed_twice: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    listed: int = 0
    listed_in_events: int = 0
    twice_not_listed: int = 0
    damages: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def hold(self, true: bool, promise: str) -> None:
        """Note a promise that was not kept."""
        if not true:
            self.broken.append(promise)


class Campaign:
    """One campaign in a folder, against one emulator."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self._scale = scale
        self._random = random.Random(scale.seed)
        self._input, self._output = folder / "in.jsonl", folder / "out.parquet"
        self._events = folder / "events.jsonl"
        self._received: dict[str, bytes] = {}
        self._told: list[str] = []
        self._in_flight: set[int] = set()
        self.figures = Figures()
        rows = (json.dumps({"messages": [{"role": "user", "text": f"Question {n}?"}]}) for n in range(scale.rows))
        self._input.write_text("".join(row + "\n" for row in rows))

    def run(self) -> Figures:
        """Kill as often as was asked, let the last run end, and compare."""
        began, figures, scale = time.monotonic(), self.figures, self._scale
        latency = Latency.parse("uniform:0.05-0.6")
        with background(Config(quotas=Quotas(concurrent=None), latency=latency)) as service:
            harm = ""
            for number in range(scale.kills):
                code = self._killed(service, scale.kills - number)
                self._take_stock(harm)
                if code != -signal.SIGKILL:
                    figures.hold(code == 0, f"a run ended with {code}: {self._said()}")
                    break
                figures.kills += 1
                harm = self._harm() if scale.damage and number % 2 else ""
            process = self._start(service)
            code = process.wait(LONGEST_RUN_S)
            figures.hold(code == 0, f"the last run ended with {code}: {self._said()}")
            self._take_stock(harm)
            self._compare(service)
        figures.seconds = time.monotonic() - began
        return figures

    def _start(self, service: Running) -> subprocess.Popen[bytes]:
        words = ["run", self._input, "-o", self._output, "--base-url", service.base_url, "--json"]
        words += ["--concurrency", self._scale.concurrency]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATBATCH_")}
        account = {"API_KEY": "AQVN-campaign", "FOLDER_ID": "b1gcampaign000000000"}
        with self._events.open("wb") as events:
            return subprocess.Popen(
                [sys.executable, "-m", "batch", *map(str, words)],
                env={**kept, **account},
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=subprocess.STDOUT,
            )

    def _killed(self, service: Running, kills_left: int) -> int:
        """Run until a random moment, then kill; returns how the process ended."""
        rows_left = self._scale.rows - len(self._received)
        share = self._random.uniform(0, 2 * rows_left / (kills_left + 1))
        before, began = service.ledger.totals().requests, time.monotonic()
        early = self._random.random() < 0.1  # some while it starts: opening the journal, settling
        longest = self._random.uniform(0.1, 1.0) if early else LONGEST_RUN_S
        process = self._start(service)
        try:
            while process.poll() is None and service.ledger.totals().requests < before + share:
                if time.monotonic() - began > longest:
                    break
                time.sleep(0.002)
            time.sleep(self._random.uniform(0, 0.05))
        finally:
            process.kill()
        return process.wait(10)

    def _harm(self) -> str:
        """Damage one copy of what a kill left; returns what was done."""
        name = list(DAMAGES)[self.figures.damages.total() % len(DAMAGES)]
        stands = tape_of(self._output).exists() and journal_of(self._output).exists()
        if not stands:
            return ""
        DAMAGES[name](self._output)
        self.figures.damages[name] += 1
        if name not in OF_TAPE:
            return name
        # What only the tape had was not acknowledged to anybody yet, and may be gone with it.
        held = {**in_sqlite(journal_of(self._output)), **on_tape(tape_of(self._output)).received}
        self._received = {key: body for key, body in self._received.items() if key in held}
        return name

    def _take_stock(self, harm: str) -> None:
        """Read the events of the last run and what it left on the tape."""
        figures, left = self.figures, on_tape(tape_of(self._output))
        gone = self._received.keys() - left.received.keys()
        if gone:  # the next run may have been killed before it wrote a harmed tape again
            gone -= in_sqlite(journal_of(self._output)).keys()
        figures.hold(not gone, f"{len(gone)} receipts left the journal after {harm or 'a kill'}")
        self._received |= left.received
        self._in_flight |= left.in_flight
        figures.in_flight = len(self._in_flight)
        figures.most_in_flight = max(figures.most_in_flight, len(left.in_flight))
        started = mended = False
        for event in self._news():
            started = started or event["event"] == "run_started"
            if event["event"] == "unknown_billed":
                self._told += event["row_keys"]
                count = len(event["row_keys"])
                figures.hold(count <= self._scale.concurrency, f"{count} rows were listed at once")
            if event["event"] == "notice" and "journal" in event["message"]:
                mended = True
                figures.notices[event["message"].split("(")[0].split(";")[0]] += 1
        figures.hold(
            mended or not started or harm in SILENT,
            f"nothing was told of the damage: {harm}",
        )

    def _news(self) -> list[dict[str, object] | dict[str, list[str]] | dict[str, str]]:
        lines = self._events.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}\n")]

    def _said(self) -> str:
        return self._events.read_text()[-500:]

    def _compare(self, service: Running) -> None:
        """Hold the output, the tape, the lists and the ledger against each other."""
        figures, scale = self.figures, self._scale
        records = Records.open(journal_of(self._output))
        try:
            identity, unknown = records.fact("identity"), [key for key, _, _ in records.unknown()]
        finally:
            records.close()
        rows = {row["row_key"]: row for row in pq.read_table(self._output).to_pylist()}
        times = service.ledger.by_request_id()
        ids = {key: RequestIds.of(identity, key).client_request_id for key in rows}
        listed = Counter(ids[key] for key in unknown)
        figures.answered = sum(row["status"] == "ok" for row in rows.values())
        figures.lost = sum(_text(body) != rows[key]["completion"] for key, body in self._received.items())
        figures.billed, figures.listed = times.total(), len(unknown)
        figures.listed_in_events = len(self._told)
        figures.billed_twice = sum(number - 1 for number in times.values())
        figures.twice_not_listed = sum(max(0, times[name] - 1 - listed[name]) for name in times)
        figures.hold(figures.answered == scale.rows, "every row has its answer")
        figures.hold(figures.lost == 0, "no answer is lost")
        figures.hold(set(times) == set(ids.values()), "only these rows were asked")
        figures.hold(figures.billed_twice <= figures.in_flight, "billed twice at most what was in flight")
        figures.hold(figures.twice_not_listed == 0, "everything that was billed twice was listed")
        figures.hold(figures.most_in_flight <= scale.concurrency, "no more in flight than the concurrency")
        figures.hold(set(self._told) <= set(unknown), "what was told is in the journal")


def _text(body: bytes) -> object:
    answer = json.loads(body)
    return answer.get("result", answer)["alternatives"][0]["message"]["text"]


def main() -> int:
    """Run a campaign and print its figures; 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--damage", action="store_true", help="harm one copy of the journal after every 2nd kill")
    given = parser.parse_args()
    scale = Scale(given.kills, given.rows, given.concurrency, given.damage, given.seed)
    with tempfile.TemporaryDirectory(prefix="chatbatch-kill-") as folder:
        figures = Campaign(Path(folder), scale).run()
    for name in Figures.__dataclass_fields__:
        print(f"{name:18} {getattr(figures, name)}")
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
