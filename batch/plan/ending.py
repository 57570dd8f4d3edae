"""How a run ended: its exit code, its summary, and the settings as they may be written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

from batch.errors import ExitCode
from batch.events import ModeShare, RunFinished, Spending, Tally
from batch.jsontext import JsonObject
from batch.limits import Limits
from batch.plan.opening import Input, Paths
from batch.plan.reckoning import Reckoning
from batch.settings import Settings
from batch.stopping import Stop
from batch.writer import Totals


class Left(Protocol):
    """What an answering leaves behind."""

    @property
    def held_back(self) -> int:
        """Return how many rows were beyond `--max-rows`."""
        ...

    @property
    def open_operations(self) -> int:
        """Return how many operations nobody has seen the end of."""
        ...


def outcome(settings: Settings, stop: Stop, left: Left, totals: Totals, tally: Tally) -> tuple[ExitCode, str]:
    """Return the exit code of a run whose output is written, and the reason where it is not 0."""
    rows = totals.rows
    wrong = rows["failed"] + rows["invalid"]
    if stop.exit_code is not None:
        return stop.exit_code, stop.reason
    if left.held_back:
        return ExitCode.BUDGET, f"--max-rows reached; {rows['pending']} rows are left"
    if settings.max_failed.exceeded(wrong, sum(rows.values())):
        return ExitCode.ROWS_FAILED, f"{wrong} rows have no answer"
    if rows["pending"] > left.open_operations:
        return ExitCode.ROWS_FAILED, f"{rows['pending']} rows were not there when the run began"
    if settings.error_on_empty and not tally.requests:
        return ExitCode.NOTHING_TO_DO, "nothing to do"
    return ExitCode.OK, ""


@dataclass(frozen=True, slots=True)
class End:
    """What only the end of a run knows."""

    output: str
    unknown_billed: int
    open_operations: int
    duration_s: float
    reason: str
    exit_code: ExitCode


@dataclass(frozen=True, slots=True)
class Spent:
    """What all runs of a job have spent: by currency, and by mode."""

    by_currency: list[Spending]
    by_mode: list[ModeShare]


@dataclass(frozen=True, slots=True)
class Written:
    """What an export found while it wrote: the output's totals, the estimate's error, and what is left."""

    totals: Totals
    reckoning: Reckoning


def summary(
    settings: Settings, written: Written, spent: Spent, tally: Tally, limits: Limits, end: End
) -> RunFinished:
    """Return the run's summary."""
    totals = written.totals
    return RunFinished(
        output=end.output,
        rows=dict(totals.rows),
        input_tokens=totals.input_tokens,
        completion_tokens=totals.completion_tokens,
        total_tokens=totals.total_tokens,
        spending=spent.by_currency,
        modes=spent.by_mode,
        open_operations=end.open_operations,
        estimated=written.reckoning.estimated,
        needs=written.reckoning.needs(),
        requests=tally.requests,
        retries=tally.retries,
        not_billed=tally.not_billed,
        maybe_billed=tally.maybe_billed,
        unknown_billed=end.unknown_billed,
        concurrency=limits.concurrency,
        limit_changes=tally.limit_changes,
        paused_s=limits.paused_s,
        duration_s=end.duration_s,
        emulated=settings.emulate,
        reason=end.reason,
        exit_code=end.exit_code,
        unstated=totals.unstated,
    )


# Where credentials stand, and addresses that may hold one.
_NOT_TOLD = frozenset({"service_account_key", "ping_url", "webhook"})


def told(settings: Settings, source: Input, paths: Paths) -> JsonObject:
    """Return the settings as they may be written down: they hold no secret, and no address of an emulator.

    With the inputs and how the user named them, so that the output can be written again from the journal and
    the inputs alone (`rewriting` reads this). Not resolved: a link's own name says what kind of file it is.
    """
    known: JsonObject = {"inputs": [str(item.path.absolute()) for item in source.files]}
    known["names"] = [item.name for item in source.files]
    known["output"] = str(paths.output)
    for name, value in asdict(settings).items():
        # Not `in (False, ())`: a temperature of 0 equals False, and has to be written down.
        if name in _NOT_TOLD:
            continue
        if value is None or value is False or value == () or (name == "base_url" and settings.emulate):
            continue
        given = getattr(settings, name)
        known[name] = given if isinstance(given, str | bool | int | float) else _text(given)
    known["keep"] = [f"{item.name}:{item.type}" for item in settings.keep]
    return known


def _text(value: object) -> str:
    return ", ".join(_text(item) for item in value) if isinstance(value, tuple | list) else str(value)
