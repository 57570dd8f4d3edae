"""`chatbatch estimate`: rows, tokens, money and hours, before anything is paid."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode

if TYPE_CHECKING:
    from batch.plan.estimation.estimates import Estimate
    from batch.plan.estimation.estimating import Wishes
    from batch.progress import Printer
    from batch.settings import Settings

# What decides neither what is sent nor how fast, nor what it may cost.
_NOT_FOR_ESTIMATES = ("dry_run", "error_on_empty", "max_failed")


def _options() -> list[click.Parameter]:
    return [item for item in settings_options() if item.name not in _NOT_FOR_ESTIMATES]


@click.command(params=_options())
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--exact", type=click.IntRange(1), metavar="N", help="Count N rows by the service's free tokenizer.")
@click.option(
    "--pilot", type=click.IntRange(1), metavar="N", help="Really send N rows; needs -o, and is paid for."
)
@click.option("--calibrate", metavar="OUT", help="Learn from an earlier output how long inputs and answers are.")
@click.option("--answer-tokens", type=click.IntRange(1), metavar="N", help="Take answers to have N tokens each.")
def command(
    inputs: tuple[str, ...],
    exact: int | None,
    pilot: int | None,
    calibrate: str | None,
    answer_tokens: int | None,
    **flags: object,
) -> int:
    """Say what a run of INPUT would take: rows, tokens, cost in both modes, and hours at the quotas.

    Sends nothing by itself, and needs no credentials. Rows that the journal of -o OUT holds are
    not counted again, and 20 answers in it or more tell how long answers are. --exact N has a
    sample, stratified by length, counted by the service's tokenizer, which is free. --pilot N
    really sends N rows of all lengths under the caps of a run; they are journaled, and the run
    afterwards does not buy them again.

    With --mode both and --stop-at or --max-duration it also says how a run would divide the rows,
    and what that costs. Requests of earlier runs that the windows of a limit still hold count,
    where the journal of -o OUT knows of them.

    --json prints one object: event "estimate"; files; mode (of the run); emulated (whether what
    was learned is the emulator's); rows (total, valid, invalid, answered, duplicates, held_back,
    to_send); input_tokens and completion_tokens (low, expected, high, grade, basis); models; modes
    by name (sync, async; both only as above), each with cost (a list by currency: low, expected,
    high, at_most as decimal text; null where a price is unknown), unpriced, rows (how many are sent
    in each mode), prices_dated, seconds (low, expected, high), latency_s, binding_limit, done_at,
    deadline, deadline_from, in_time, rows_left, needed, used (a list: limit, requests of earlier
    runs); latency_basis; caps; exact; pilot. -q prints one line, of the run's mode.

    \b
    Examples:
      chatbatch estimate tickets.jsonl --max-tokens 500
      chatbatch estimate reviews.parquet --prompt-column text --calibrate last-week.parquet
      chatbatch estimate tickets.jsonl -o answers.parquet --pilot 50 --stop-at 07:30
      chatbatch estimate tickets.jsonl --mode both --stop-at 07:00
    """
    from batch.cli.forecast import show_estimate
    from batch.parsing import home_expanded
    from batch.plan.estimation.estimating import Wishes

    settings = settings_from(flags).settings
    wishes = Wishes(exact, pilot, home_expanded(calibrate) if calibrate else None, answer_tokens)
    show_estimate(_made(settings, inputs, wishes), as_json=settings.json, quiet=settings.quiet)
    return ExitCode.OK


def _made(settings: Settings, inputs: tuple[str, ...], wishes: Wishes) -> Estimate:
    from batch.clock import SystemClock
    from batch.events import News
    from batch.plan.estimation.estimating import Outer, estimate

    news, printer = News(), _printer(settings)
    news.subscribe(printer.note)
    with closing(printer):
        return estimate(settings, inputs, os.environ, wishes, Outer(SystemClock(), news, printer.tick))


def _printer(settings: Settings) -> Printer:
    """Return what shows a pilot on stderr; stdout is the estimate's."""
    from batch.progress import LineProgress, LiveProgress, QuietProgress, Steadfast

    stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
    if settings.json or settings.quiet:
        return Steadfast(QuietProgress(stderr))
    if stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Steadfast(LiveProgress(stderr, settings.verbose))
    return Steadfast(LineProgress(stderr, settings.stats, settings.verbose))
