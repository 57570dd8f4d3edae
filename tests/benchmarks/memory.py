"""Peak memory of `chatbatch run` at 50,000 and at 200,000 rows, against the static local server.

By hand: `python tests/benchmarks/memory.py [--rows 50000 200000]`. Memory is flat when the two differ by at
most 10 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from throughput import measure, run_command, static_server, write_rows


def main() -> None:
    """Measure each size in a process of its own and print peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[50_000, 200_000])
    options = parser.parse_args()
    environment = {**os.environ, "API_KEY": "benchmark", "FOLDER_ID": "folder"}
    peaks = []
    with tempfile.TemporaryDirectory() as folder, static_server() as url:
        for count in options.rows:
            rows = Path(folder, f"{count}.jsonl")
            write_rows(rows, count)
            figures = measure(run_command(url, rows, Path(folder, f"{count}.parquet"), 64), environment)
            peaks.append(figures.peak_mb)
            print(
                f"{count:>9,} rows  {figures.peak_mb:>6.1f} MB peak  {count / figures.wall_s:>6.0f} rows/s",
                flush=True,
            )
    print(f"ratio {peaks[1] / peaks[0]:.3f} (at most 1.10 is wanted)")


if __name__ == "__main__":
    main()
