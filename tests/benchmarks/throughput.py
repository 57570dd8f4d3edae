"""Rows per second and CPU per row of `chatbatch run`, beside a bare aiohttp loop that posts the same bodies.

By hand: `python tests/benchmarks/throughput.py [--rows 20000] [--concurrency 64] [--pairs 3]`. Both are whole
processes against the same static local server, in turn; the figure to quote is the ratio of one pair. The
bare loop keeps nothing, limits nothing and judges nothing: it is what the machine can do at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_BARE = """
import asyncio, json, sys, aiohttp
async def main(url, path, n):
    bodies = iter(open(path, "rb"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def work():
            for body in bodies:
                async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                    await answer.read()
        await asyncio.gather(*(work() for _ in range(n)))
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one process took: wall and CPU seconds, and its peak memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[str], environment: dict[str, str]) -> Figures:
    """Run a command to its end; raises where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{command[:4]} ended with {process.returncode}")
    return Figures(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@contextmanager
def static_server() -> Iterator[str]:
    """Serve the static answer from a process of its own."""
    server = subprocess.Popen(
        [sys.executable, str(HERE / "static_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait(10)


def write_rows(path: Path, rows: int) -> None:
    """Write request bodies of about the length of a support request."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"Здравствуйте! Заказ №{number} не пришёл вовремя. " + "Подскажите, пожалуйста, где он? " * 4
            body = {
                "modelUri": "gpt://folder/yandexgpt-lite",
                "completionOptions": {"stream": False, "temperature": 0.3, "maxTokens": "500"},
                "messages": [
                    {"role": "system", "text": "Ты помощник службы поддержки."},
                    {"role": "user", "text": text},
                ],
            }
            file.write(json.dumps(body, ensure_ascii=False) + "\n")


def run_command(url: str, rows: Path, output: Path, concurrency: int) -> list[str]:
    """Return the `chatbatch run` that answers the rows."""
    return [
        sys.executable, "-m", "batch", "run", str(rows), "-o", str(output), "--base-url", url,
        "--concurrency", str(concurrency), "-q",
    ]  # fmt: skip


def main() -> None:
    """Measure pairs and print their figures and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    environment = {**os.environ, "API_KEY": "benchmark", "FOLDER_ID": "folder"}
    ratios = []
    with tempfile.TemporaryDirectory() as folder, static_server() as url:
        rows = Path(folder, "rows.jsonl")
        write_rows(rows, options.rows)
        for pair in range(options.pairs):
            post = f"{url}/foundationModels/v1/completion"
            bare = measure([sys.executable, "-c", _BARE, post, str(rows), str(options.concurrency)], environment)
            output = Path(folder, f"out-{pair}.parquet")
            ours = measure(run_command(url, rows, output, options.concurrency), environment)
            ratios.append(bare.wall_s / ours.wall_s)
            for name, figures in (("bare aiohttp loop", bare), ("chatbatch run", ours)):
                print(
                    f"{name:<18} {options.rows / figures.wall_s:>8.0f} rows/s   "
                    f"{1e6 * figures.cpu_s / options.rows:>6.0f} µs CPU/row   {figures.peak_mb:>6.0f} MB peak"
                )
            print(f"{'ratio':<18} {ratios[-1]:>8.2f}")
    print(f"median ratio of {options.pairs} pairs: {statistics.median(ratios):.2f} (at least 0.20 is wanted)")
    print(f"the benchmark itself took {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.1f} s of CPU")


if __name__ == "__main__":
    main()
