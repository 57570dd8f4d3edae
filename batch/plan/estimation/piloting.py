"""A pilot: some rows of an input, of every length, really sent and journaled before an estimate is made.

They are bought once: the run afterwards finds their answers in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode, UsageError
from batch.events import Event, News, Stopping
from batch.plan import running
from batch.plan.estimation.sampling import Reservoirs
from batch.plan.estimation.surveying import Drawn, Pass
from batch.plan.job import Ticker
from batch.settings import Settings
from batch.storage import STANDARD_INPUT

# What ends a pilot early and leaves what was answered good for an estimate.
_GOOD_ENDS = (ExitCode.OK, ExitCode.BUDGET, ExitCode.DEADLINE)


class PilotStopped(ChatbatchError):
    """The pilot ended before its end; the exit code says why."""

    def __init__(self, reason: str, code: ExitCode) -> None:
        super().__init__(
            f"The pilot stopped: {reason}.", hint="What was answered is in the journal, and is not bought again."
        )
        self.exit_code = code


def check_pilot(settings: Settings, inputs: Sequence[str]) -> None:
    """Raise `UsageError` where a pilot's answers could not be kept."""
    if settings.output is None:
        raise UsageError(
            "--pilot sends rows that are paid for, and needs -o OUT: its journal keeps their answers for the run.",
            hint="Such as: chatbatch estimate tickets.jsonl -o answers.parquet --pilot 50",
        )
    if STANDARD_INPUT in inputs:
        raise UsageError("--pilot reads the input twice, which standard input cannot be: name a file.")


def choose(asked: Pass, rows: int) -> frozenset[str]:
    """Return the keys of so many rows without an answer, of each length in its proportion."""
    sample: Reservoirs[Drawn] = Reservoirs(rows)
    Pass(asked.settings, asked.source, asked.names, asked.journal, asked.learned, sample, by_key=True).survey()
    return frozenset(key for stratum in sample.drawn(0).values() for key, _ in stratum.items if key is not None)


def send(
    settings: Settings,
    inputs: Sequence[str],
    environment: Mapping[str, str],
    keys: frozenset[str],
    *,
    news: News,
    clock: Clock,
    tick: Ticker,
) -> None:
    """Send the rows of these keys as a run would, under its caps; the output is not written.

    Raises `PilotStopped` where the service refused to go on, or somebody interrupted.
    """
    reasons: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Stopping):
            reasons.append(event.reason)

    news.subscribe(note)
    code = running.run(settings, inputs, environment, news=news, clock=clock, tick=tick, only=keys)
    if code not in _GOOD_ENDS:
        raise PilotStopped(reasons[0] if reasons else "it was ended", code)
