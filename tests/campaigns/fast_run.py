"""A run in a process of its own, to be killed, whose clock goes faster: `fast_run.py SPEED SETTINGS INPUT…`.

SETTINGS is a JSON object of settings as text, as a job's file would have them. Events go to stdout as JSON lines.
"""

from __future__ import annotations

import json
import os
import sys

from batch.clock import FastClock
from batch.errors import ChatbatchError
from batch.events import News
from batch.plan import running
from batch.progress import JsonProgress
from batch.settings import Layer, resolve


def main(speed: str, settings: str, *inputs: str) -> int:
    """Run, and print a failure as the command would; returns the exit code."""
    news, printer = News(), JsonProgress(sys.stdout, None)
    news.subscribe(printer.note)
    resolved = resolve([Layer("campaign", json.loads(settings))])
    try:
        clock = FastClock(float(speed))
        code = running.run(resolved.settings, inputs, os.environ, news=news, clock=clock, tick=printer.tick)
    except ChatbatchError as error:
        print(json.dumps({"event": "error", "message": str(error)}))
        code = error.exit_code
    sys.stdout.flush()
    return int(code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
