"""`python -m batch`: the same as the command `chatbatch`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TextIO


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from batch.cli.main import run_command_line

    # Where nobody listens yet (reading, counting), SIGTERM still lets files be closed and locks be given back.
    signal.signal(signal.SIGTERM, _terminated)
    code = run_command_line()
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def _flush(stream: TextIO | None) -> None:
    """Write what is left; where the reader went away, do not let the interpreter try again and fail."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno() if stream else 1)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
