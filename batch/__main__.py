"""`python -m batch`: the same as the command `chatbatch`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from batch.cli.main import run_command_line

    sys.exit(run_command_line())


if __name__ == "__main__":
    main()
