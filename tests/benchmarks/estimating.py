"""Rows per second of the offline estimate, beside plainly parsing the same file, and its memory.

By hand: `python tests/benchmarks/estimating.py [--rows 200000] [--pairs 3]`. Each way is a process of its own,
in turn, and its best of the pairs counts. Wanted: the estimate takes at most 3 times as long as parsing each
line, and its peak memory is the same for a tenth of the rows.
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

from batch.jsontext import parse
from batch.readers import ColumnMapping, open_reader
from batch.readers.dialects import Place
from batch.readers.jsonl import JsonLinesReader, lines_of
from batch.records import Defaults, Options
from batch.storage import blocks, find
from batch.tokens import Estimator, Tally

_DEFAULTS = Defaults("yandexgpt-lite", None, Options())
_RUSSIAN = (
    "Клиент спрашивает, почему доставка заказа задерживается и когда ему вернут деньги за повреждённый товар; "
    "ответьте вежливо, коротко и по существу дела, не обещайте лишнего"
)
_ENGLISH = (
    "The customer asks why delivery of order 4711 is late and when the money for a damaged parcel will be "
    "returned; answer politely, briefly and to the point, promise nothing"
)


def write_rows(path: Path, count: int) -> None:
    """Write chats of 100 to 600 bytes, half Russian and half English; a third have a system prompt."""
    chance = random.Random(1)
    with path.open("wb") as file:
        for number in range(count):
            words, most = (_RUSSIAN, 40) if number % 2 else (_ENGLISH, 75)
            text = " ".join(chance.choices(words.split(), k=chance.randint(5, most)))
            turns = [{"role": "user", "content": text}]
            if number % 3 == 0:
                turns.insert(0, {"role": "system", "content": "Ответь одной фразой."})
            file.write(orjson.dumps({"id": f"row-{number}", "messages": turns}) + b"\n")


def _each_line(read: Callable[[bytes], object]) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with path.open("rb") as file:
            for line in file:
                read(line)

    return run


def _reader_alone(path: Path) -> None:
    for _ in open_reader(find([str(path)]), ColumnMapping()).chunks():
        pass


def _rows(path: Path) -> Tally:
    tally = Tally(_DEFAULTS)
    for chunk in open_reader(find([str(path)]), ColumnMapping()).chunks():
        for row in chunk.rows:
            tally.add_row(row)
    return tally


def _hurried(path: Path) -> Tally:
    files = find([str(path)])
    reader, tally = JsonLinesReader(files, ColumnMapping()), Tally(_DEFAULTS)
    for item in files:
        place = Place(0, item.name, 1)
        tally.add_lines((line for _, line in lines_of(blocks(item))), lambda line, at=place: reader.row(at, line))
    return tally


WAYS: dict[str, Callable[[Path], Tally | None]] = {
    "orjson, line by line": _each_line(orjson.loads),
    "our parse, line by line": _each_line(parse),
    "json, line by line": _each_line(json.loads),
    "reader alone": _reader_alone,
    "reader and estimate": _rows,
    "estimate, line by line": _hurried,
}


def _child(way: str, path: Path) -> None:
    """Run one way; print its seconds, its peak in MB and what it estimates."""
    began = time.perf_counter()
    tally = WAYS[way](path)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    estimator = Estimator.for_model("gpt:yandexgpt-lite/latest")
    tokens = sum(estimator.total(share.counts) for share in tally.shares.values()) if tally else 0
    print(seconds, peak, tokens)


def measure(way: str, path: Path) -> tuple[float, float, float]:
    """Return seconds, peak in MB and estimated tokens of one way in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--file", str(path)]
    seconds, peak, tokens = subprocess.check_output(command, text=True).split()
    return float(seconds), float(peak), float(tokens)


def main() -> None:
    """Measure all ways and print rates, ratios and peaks."""
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
        rows, tenth = Path(folder, "rows.jsonl"), Path(folder, "tenth.jsonl")
        write_rows(rows, options.rows)
        write_rows(tenth, options.rows // 10)
        print(f"{options.rows:,} rows of {rows.stat().st_size / options.rows:.0f} bytes")
        runs = [{way: measure(way, rows) for way in WAYS} for _ in range(options.pairs)]
        best = {way: min(run[way] for run in runs) for way in WAYS}
        names = ("orjson, line by line", "our parse, line by line", "json, line by line")
        for way, (seconds, peak, tokens) in best.items():
            ratios = "  ".join(f"{seconds / best[name][0]:>5.2f}" for name in names)
            grown = f"{peak - measure(way, tenth)[1]:>+5.1f} MB over a tenth of the rows"
            found = f"  {tokens:,.0f} tokens" if tokens else ""
            print(f"{way:<24} {options.rows / seconds:>10,.0f} rows/s  x {ratios}  {peak:.0f} MB, {grown}{found}")
    print("The ratios are to the three ways of plainly parsing; at most 3 is wanted of our parse.")


if __name__ == "__main__":
    main()
