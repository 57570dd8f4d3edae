"""What a person or a log collector sees of a run: a live line, lines at an interval, or JSON lines.

Printers subscribe to the news and are ticked by the clock; they decide nothing. Whatever came from a dataset
or a service is stripped of control characters before it meets a terminal. The home of rich, with `cli`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from batch.events import (
    AttemptLost,
    Event,
    Exporting,
    LimitChanged,
    Notice,
    RowFinished,
    RowsSkipped,
    RunFinished,
    RunStarted,
    ServiceBack,
    ServiceDown,
    StatusAsked,
    Stopping,
    Tally,
    UnknownBilled,
)
from batch.jsontext import Json, encode_text
from batch.plaintext import printable
from batch.records import Status

_RATE_WINDOW_S = 30.0


class Printer(Protocol):
    """Shows a run."""

    def note(self, event: Event) -> None:
        """Take in one event."""
        ...

    def tick(self) -> None:
        """Be given a chance to draw, about ten times a second."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def duration(seconds: float) -> str:
    """Return a duration for people: `8s`, `3m 20s`, `2h 5m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{whole}s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}h {minute}m" if hours else f"{minute}m {second}s"


def amount(number: int) -> str:
    """Return a large number for people: `812`, `81.2k`, `8.1M`."""
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1000:.1f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


class _Rate:
    """Rows finished per second over the last half minute."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._marks: list[tuple[float, int]] = [(now(), 0)]

    def per_second(self, done: int) -> float:
        now = self._now()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_WINDOW_S:
            self._marks.pop(0)
        began, before = self._marks[0]
        return (done - before) / (now - began) if now > began else 0.0


class _Line:
    """The one line that says how far a run is."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.tally = Tally()
        self._rate = _Rate(now)

    def text(self) -> str:
        tally = self.tally
        share = f" ({100 * tally.finished / tally.rows:.1f} %)" if tally.rows else ""
        rate = self._rate.per_second(tally.ok + tally.failed)
        left = tally.rows - tally.finished
        parts = [f"{tally.finished:,}/{tally.rows:,} rows{share}"]
        if tally.failed or tally.invalid:
            parts.append(f"{tally.failed:,} failed, {tally.invalid:,} invalid")
        parts += [f"{rate:.1f} rows/s", f"{amount(tally.input_tokens + tally.completion_tokens)} tokens"]
        if tally.retries:
            parts.append(f"{tally.retries:,} retries")
        if rate > 0 and left > 0:
            parts.append(f"{duration(left / rate)} left")
        return "  ·  ".join(parts)


def _headline(event: Event, verbose: int) -> str | None:
    """Return the line that an event is worth, or None."""
    match event:
        case Notice(message):
            return message
        case Stopping(reason, _):
            return f"Stopping: {reason}. Rows in flight finish; what is done is kept."
        case LimitChanged(limit, value, reason) if verbose or reason != "grown":
            return f"Limit: {value} {limit} ({reason})."
        case ServiceDown(code, message, wait):
            return f"The service is down ({code}: {message}); probing in {duration(wait)}."
        case ServiceBack(outage_s):
            return f"The service is back after {duration(outage_s)}."
        case UnknownBilled(row_keys, asked_again):
            then = "their rows are asked again" if asked_again else "their rows are left (--unknown skip)"
            shown = ", ".join(row_keys[:5]) + (", …" if len(row_keys) > 5 else "")
            was = f"{len(row_keys)} requests were in flight when the run before ended, and may have been billed"
            return f"{was}; {then}: {shown}"
        case AttemptLost() if verbose:
            after = f"again in {event.delay_s:.1f}s" if event.delay_s is not None else "given up"
            cost = "" if event.billed.value == "no" else ", may have been billed"
            what = f"attempt {event.number}: {event.error_code}{cost}, {after}"
            return f"{event.row_key}: {what}: {event.error_message}"
        case RowFinished(status=Status.FAILED) if verbose:
            return f"{event.row_key}: failed: {event.error_code}: {event.error_message}"
        case _:
            return None


def summary(event: RunFinished) -> str:
    """Return the summary of a run for people."""
    rows = ", ".join(f"{count:,} {status}" for status, count in event.rows.items() if count) or "none"
    requests = f"{event.requests:,}"
    if event.not_billed or event.maybe_billed:
        requests += (
            f"; brought no answer: {event.not_billed:,} surely not billed, {event.maybe_billed:,} maybe billed"
        )
    pace = f"{event.concurrency} at once"
    if event.limit_changes:
        pace += f" in the end, after {event.limit_changes:,} changes of limits"
    if event.paused_s >= 1:
        pace += f"; paused for {duration(event.paused_s)}"
    lines = [
        f"{'Done' if not event.reason else 'Ended: ' + event.reason} in {duration(event.duration_s)}.",
        f"  rows      {rows}",
        f"  tokens    {event.input_tokens:,} in, {event.completion_tokens:,} out, {event.total_tokens:,} in all",
        f"  requests  {requests}",
        f"  pace      {pace}",
        f"  output    {event.output}",
    ]
    if event.unknown_billed:
        doubt = f"{event.unknown_billed:,} requests of the run before may have been billed"
        lines.insert(4, f"  in doubt  {doubt}")
    if event.emulated:
        lines.append("  EMULATED  the answers are made up: nothing left this machine and nothing was paid")
    return "\n".join(lines)


class LineProgress:
    """A line per interval and the summary, on a stream that is no terminal; None: no lines in between."""

    def __init__(
        self, stream: TextIO, interval: float | None, verbose: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._interval = interval
        self._verbose = verbose
        self._now = now
        self._line = _Line(now)
        self._last = now()

    def note(self, event: Event) -> None:
        """Print what an event is worth."""
        self._line.tally.note(event)
        if isinstance(event, RunFinished):
            self._print(summary(event))
        elif isinstance(event, StatusAsked):
            self._print_line()
        elif headline := _headline(event, self._verbose):
            self._print(printable(headline))

    def tick(self) -> None:
        """Print the line when its time has come."""
        if self._interval is not None and self._now() - self._last >= self._interval:
            self._last = self._now()
            self._print_line()

    def close(self) -> None:
        """Nothing is to be undone."""

    def _print_line(self) -> None:
        self._print(f"{time.strftime('%H:%M:%S')}  {self._line.text()}")

    def _print(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveProgress:
    """A line that is drawn again and again, on a terminal; above it, what events are worth."""

    def __init__(self, stream: TextIO, verbose: int, now: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._verbose = verbose
        self._line = _Line(now)
        self._now = now
        self._drawn = 0.0
        self._phase = ""

    def note(self, event: Event) -> None:
        """Take in an event; the first one starts the drawing, the last one ends it."""
        self._line.tally.note(event)
        if isinstance(event, RunStarted):
            self._live.start()
        elif isinstance(event, Exporting):
            self._phase = f"writing {event.output}"
            self._drawn = 0.0
        elif isinstance(event, RunFinished):
            self.close()
            self._console.print(Text(summary(event)))
        elif isinstance(event, StatusAsked):
            self._console.print(Text(self._line.text()))
        elif headline := _headline(event, self._verbose):
            self._console.print(Text(printable(headline)))

    def tick(self) -> None:
        """Draw, at most five times a second."""
        if self._live.is_started and self._now() - self._drawn >= 0.2:
            self._drawn = self._now()
            line = self._line.text() + (f"  ·  {self._phase}" if self._phase else "")
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """Take the live line away."""
        self._live.stop()


class QuietProgress:
    """Only what is wrong: why a run stopped early, and rows that have no answer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = _Line(time.monotonic)

    def note(self, event: Event) -> None:
        """Print what is wrong."""
        self._line.tally.note(event)
        if isinstance(event, StatusAsked):
            self._stream.write(self._line.text() + "\n")
            self._stream.flush()
        elif isinstance(event, Notice | UnknownBilled) and (headline := _headline(event, 0)):
            self._stream.write(printable(headline) + "\n")
        elif isinstance(event, RunFinished) and event.reason:
            self._stream.write(summary(event) + "\n")

    def tick(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is to be undone."""


class JsonProgress:
    """Every event as one JSON line: `event` is its name in snake case, then its fields.

    `rows_skipped` comes once per chunk of the input, `progress` at the interval of `--stats`.
    """

    def __init__(self, stream: TextIO, interval: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._interval = interval
        self._now = now
        self._last = now()
        self._tally = Tally()

    def note(self, event: Event) -> None:
        """Write an event."""
        self._tally.note(event)
        if isinstance(event, StatusAsked):
            self._write_progress()
        elif not (isinstance(event, RowsSkipped) and not event.answered and not event.invalid):
            self._write(_snake(type(event).__name__), asdict(event))
        if isinstance(event, RunFinished):
            self._stream.flush()

    def tick(self) -> None:
        """Write how far the run is when its time has come; what was written before is seen by now."""
        self._stream.flush()
        if self._interval is not None and self._now() - self._last >= self._interval:
            self._last = self._now()
            self._write_progress()

    def close(self) -> None:
        """Nothing is to be undone."""

    def _write_progress(self) -> None:
        self._write("progress", {**asdict(self._tally), "finished": self._tally.finished})
        self._stream.flush()

    def _write(self, name: str, fields: dict[str, object]) -> None:
        line: dict[str, Json] = {"event": name, "time": time.time()}
        line.update({key: _json(value) for key, value in fields.items()})
        self._stream.write(encode_text(line) + "\n")


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).removeprefix("_")


def _json(value: object) -> Json:
    if isinstance(value, Enum):
        return _json(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return str(value)


class Steadfast:
    """A printer whose failures do not reach the run: a reader that went away ends the printing alone."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._gone = False

    def note(self, event: Event) -> None:
        """Show an event, while there is somebody to show it to."""
        self._try(lambda: self._printer.note(event))

    def tick(self) -> None:
        """Draw, while there is somebody to draw for."""
        self._try(self._printer.tick)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._try(self._printer.close)

    def _try(self, show: Callable[[], None]) -> None:
        if self._gone:
            return
        try:
            show()
        except (OSError, ValueError):  # a broken pipe, a full disk behind a redirection, a closed stream
            self._gone = True
