"""Rows per second of `chatbatch estimate`, beside plainly parsing the same file, and its memory.

By hand: `python tests/benchmarks/estimating.py [--rows 200000] [--pairs 3]`. Each way is a process of its own, in
turn, and its best of the pairs counts, in seconds of the processor: others on the machine disturb them least.
Wanted: the estimate, with all that the command does, takes at most 3 times as long as orjson, the fastest parser,
takes for the lines alone; and its peak memory is the same for a tenth of the rows.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from batch.clock import SystemClock
from batch.events import News
from batch.jsontext import parse
from batch.plan.estimation.estimating import Outer, Wishes, estimate
from batch.readers import ColumnMapping, open_reader
from batch.settings import Settings
from batch.storage import find

_RUSSIAN = (
    "Клиент спрашивает, почему доставка заказа задерживается и когда ему вернут деньги за повреждённый товар; "
    "ответьте вежливо, коротко и по существу дела, не обещайте лишнего"
)
_ENGLISH = (
    "The customer asks why delivery of order 4711 is late and when the money for a damaged parcel will be "
    "returned; answer politely, briefly and to the point, promise nothing"
)


_MARKED = "Клиент пишет: «где мой заказ № 4711?» — и ждёт ответа… Ответьте коротко, по-русски и с «ёлочками»"
_REQUEST = {
    "modelUri": "gpt://b1g0000000000000000f/yandexgpt-lite",
    "completionOptions": {"stream": False, "temperature": 0.3, "maxTokens": "500"},
}


def chats(number: int, chance: random.Random) -> dict[str, object]:
    """Return a chat, every second one Russian, the others English; a third have a system prompt."""
    words, most = (_RUSSIAN, 40) if number % 2 else (_ENGLISH, 75)
    text = " ".join(chance.choices(words.split(), k=chance.randint(5, most)))
    turns = [{"role": "user", "content": text}]
    if number % 3 == 0:
        turns.insert(0, {"role": "system", "content": "Ответь одной фразой."})
    return {"id": f"row-{number}", "messages": turns}


def requests(number: int, chance: random.Random) -> dict[str, object]:
    """Return a request as in the service's guide, in Russian with its typographic marks."""
    text = f"{number}: " + " ".join(chance.choices(_MARKED.split(), k=chance.randint(5, 60)))
    system = {"role": "system", "text": "Ответь одной фразой."}
    return {**_REQUEST, "messages": [system, {"role": "user", "text": text}]}


KINDS = {"chats": chats, "requests": requests}


def write_rows(path: Path, kind: str, count: int) -> None:
    """Write rows of 100 to 900 bytes."""
    chance = random.Random(1)
    with path.open("wb") as file:
        for number in range(count):
            file.write(orjson.dumps(KINDS[kind](number, chance)) + b"\n")


def _each_line(read: Callable[[bytes], object]) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with path.open("rb") as file:
            for line in file:
                read(line)

    return run


def _reader_alone(path: Path) -> None:
    for _ in open_reader(find([str(path)]), ColumnMapping()).chunks():
        pass


def _estimate(settings: Settings) -> Callable[[Path], int]:
    def run(path: Path) -> int:
        outer = Outer(SystemClock(), News(), lambda: None)
        return estimate(settings, [str(path)], {}, Wishes(), outer).input.span.expected

    return run


WAYS: dict[str, Callable[[Path], int | None]] = {
    "orjson, line by line": _each_line(orjson.loads),
    "our parse, line by line": _each_line(parse),
    "json, line by line": _each_line(json.loads),
    "reader alone": _reader_alone,
    "estimate, row by row": _estimate(Settings(max_rows=10**9)),
    "estimate": _estimate(Settings()),
}
PLAINLY = list(WAYS)[:3]


def _child(way: str, path: Path) -> None:
    """Run one way; print its seconds, its peak in MB and what it estimates."""
    began = time.process_time()
    tokens = WAYS[way](path)
    seconds = time.process_time() - began
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, tokens or 0)


def measure(way: str, path: Path) -> tuple[float, float, float]:
    """Return seconds, peak in MB and estimated tokens of one way in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--file", str(path)]
    seconds, peak, tokens = subprocess.check_output(command, text=True).split()
    return float(seconds), float(peak), float(tokens)


def compare(kind: str, options: argparse.Namespace, folder: Path) -> None:
    """Measure all ways with rows of one kind and print rates, ratios and peaks."""
    rows, tenth = folder / f"{kind}.jsonl", folder / f"{kind}-tenth.jsonl"
    write_rows(rows, kind, options.rows)
    write_rows(tenth, kind, options.rows // 10)
    print(
        f"\n{options.rows:,} {kind} of {rows.stat().st_size / options.rows:.0f} bytes; times as long as", *PLAINLY
    )
    runs = [{way: measure(way, rows) for way in WAYS} for _ in range(options.pairs)]
    best = {way: min(run[way] for run in runs) for way in WAYS}
    for way, (seconds, peak, tokens) in best.items():
        ratios = "  ".join(f"{seconds / best[name][0]:>5.2f}" for name in PLAINLY)
        grown = f"{peak - measure(way, tenth)[1]:>+5.1f} MB over a tenth of the rows"
        found = f"  {tokens:,.0f} tokens" if tokens else ""
        print(f"{way:<24} {options.rows / seconds:>10,.0f} rows/s  x {ratios}  {peak:.0f} MB, {grown}{found}")


def main() -> None:
    """Compare all ways for each kind of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        _child(options.way, options.file)
        return
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            compare(kind, options, Path(folder))


if __name__ == "__main__":
    main()
