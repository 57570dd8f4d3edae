"""How a run ended: its exit code, its summary, and the settings as they may be written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from batch.errors import ExitCode
from batch.events import RunFinished, Tally
from batch.jsontext import JsonObject
from batch.limits import Limits
from batch.plan.opening import Input, Paths
from batch.settings import Settings
from batch.stopping import Stop
from batch.writer import Totals


def outcome(settings: Settings, stop: Stop, held_back: int, totals: Totals, tally: Tally) -> tuple[ExitCode, str]:
    """Return the exit code of a run whose output is written, and the reason where it is not 0."""
    rows = totals.rows
    wrong = rows["failed"] + rows["invalid"]
    if stop.exit_code is not None:
        return stop.exit_code, stop.reason
    if held_back:
        return ExitCode.BUDGET, f"--max-rows reached; {rows['pending']} rows are left"
    if settings.max_failed.exceeded(wrong, sum(rows.values())):
        return ExitCode.ROWS_FAILED, f"{wrong} rows have no answer"
    if rows["pending"]:
        return ExitCode.ROWS_FAILED, f"{rows['pending']} rows were not there when the run began"
    if settings.error_on_empty and not tally.requests:
        return ExitCode.NOTHING_TO_DO, "nothing to do"
    return ExitCode.OK, ""


@dataclass(frozen=True, slots=True)
class End:
    """What only the end of a run knows."""

    output: str
    unknown_billed: int
    duration_s: float
    reason: str
    exit_code: ExitCode


def summary(settings: Settings, totals: Totals, tally: Tally, limits: Limits, end: End) -> RunFinished:
    """Return the run's summary."""
    return RunFinished(
        output=end.output,
        rows=dict(totals.rows),
        input_tokens=totals.input_tokens,
        completion_tokens=totals.completion_tokens,
        total_tokens=totals.total_tokens,
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
    )


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
        if value is None or value is False or value == () or (name == "base_url" and settings.emulate):
            continue
        given = getattr(settings, name)
        known[name] = given if isinstance(given, str | bool | int | float) else _text(given)
    known["keep"] = [f"{item.name}:{item.type}" for item in settings.keep]
    return known


def _text(value: object) -> str:
    return ", ".join(_text(item) for item in value) if isinstance(value, tuple | list) else str(value)
