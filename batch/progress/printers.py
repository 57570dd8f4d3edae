"""Those who show a run: a live line, lines at an interval, only what is wrong, or JSON lines.

Printers subscribe to the news and are ticked by the clock; they decide nothing. Whatever came from a dataset
or a service is stripped of control characters before it meets a terminal.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from batch.errors import ExitCode
from batch.events import (
    CancelBegun,
    CancelEnded,
    Event,
    Exporting,
    Notice,
    RowsSkipped,
    RunFinished,
    RunStarted,
    StatusAsked,
    Stopping,
    Tally,
    UnknownBilled,
)
from batch.jsontext import Json, JsonObject, encode_text
from batch.plaintext import printable
from batch.progress.lines import Line, OperationsLine, RowsLine
from batch.wording import brief, headline, summary

_MOST_HELD = 20


class Sink(Protocol):
    """Where text goes: a stream, or a log file."""

    def write(self, text: str, /) -> object:
        """Take a text, whole lines of it."""
        ...

    def flush(self) -> object:
        """Let others see what was written."""
        ...


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


class LineProgress:
    """A line per interval and the summary, on a stream that is no terminal; None: no lines in between.

    `timed`: its lines begin with the time of day. `line` is what they say; of rows, unless it says otherwise.
    """

    def __init__(
        self,
        stream: Sink,
        interval: float | None,
        verbose: int,
        now: Callable[[], float] = time.monotonic,
        *,
        timed: bool = True,
        line: Line | None = None,
    ) -> None:
        self._stream = stream
        self._timed = timed
        self._interval = interval
        self._verbose = verbose
        self._now = now
        self._line = line or RowsLine(now)
        self._last = now()

    def note(self, event: Event) -> None:
        """Print what an event is worth."""
        self._line.note(event)
        if isinstance(event, RunFinished):
            self._print(summary(event))
        elif isinstance(event, StatusAsked):
            self._print_line()
        elif said := headline(event, self._verbose):
            self._print(printable(said))

    def tick(self) -> None:
        """Print the line when its time has come."""
        if self._interval is not None and self._now() - self._last >= self._interval:
            self._last = self._now()
            self._print_line()

    def close(self) -> None:
        """Nothing is to be undone."""

    def _print_line(self) -> None:
        at = f"{time.strftime('%H:%M:%S')}  " if self._timed else ""
        self._print(at + self._line.text())

    def _print(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveProgress:
    """A line that is drawn again and again, on a terminal; above it, what events are worth."""

    def __init__(
        self,
        stream: TextIO,
        verbose: int,
        now: Callable[[], float] = time.monotonic,
        *,
        line: Line | None = None,
    ) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._verbose = verbose
        self._line = line or RowsLine(now)
        self._now = now
        self._drawn = 0.0
        self._phase = ""

    def note(self, event: Event) -> None:
        """Take in an event; the first one starts the drawing, the last one ends it."""
        self._line.note(event)
        if isinstance(event, RunStarted | CancelBegun):
            self._live.start()
        elif isinstance(event, CancelEnded):
            self.close()
        elif isinstance(event, Exporting):
            self._phase = f"writing {event.output}"
            self._drawn = 0.0
        elif isinstance(event, RunFinished):
            self.close()
            self._console.print(Text(summary(event)))
        elif isinstance(event, StatusAsked):
            self._console.print(Text(self._line.text()))
        elif said := headline(event, self._verbose):
            self._console.print(Text(printable(said)))

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
    """Only what is wrong: in one line why a run ended and how far it came, and requests that are in doubt.

    Notices and the wish to stop are held back until the end says whether something is wrong.
    """

    def __init__(self, stream: Sink, line: Line | None = None) -> None:
        self._stream = stream
        self._line = line or RowsLine(time.monotonic)
        self._held: deque[str] = deque(maxlen=_MOST_HELD)

    def note(self, event: Event) -> None:
        """Print what is wrong."""
        self._line.note(event)
        if isinstance(event, StatusAsked):
            self._print(self._line.text())
        elif isinstance(event, UnknownBilled):
            self._print(headline(event, 0) or "")
        elif isinstance(event, Notice | Stopping):
            self._held.append(headline(event, 0) or "")
        elif isinstance(event, RunFinished):
            if event.exit_code not in (ExitCode.OK, ExitCode.NOTHING_TO_DO):
                self._print(brief(event))
            self._held.clear()
        elif isinstance(event, CancelEnded):
            self._held.clear()

    def tick(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Say what was held back where the run never came to its summary."""
        while self._held:
            self._print(self._held.popleft())

    def _print(self, text: str) -> None:
        self._stream.write(printable(text) + "\n")
        self._stream.flush()


class JsonProgress:
    """Every event as one JSON line: `event` is its name in snake case, then its fields.

    `rows_skipped` comes once per chunk of the input, `progress` at the interval of `--stats`.
    """

    def __init__(self, stream: Sink, interval: float | None, now: Callable[[], float] = time.monotonic) -> None:
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
            name, fields = as_json(event)
            self._write(name, fields)
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
        counted = {name: _json(value) for name, value in asdict(self._tally).items()}
        self._write("progress", {**counted, "finished": self._tally.finished})
        self._stream.flush()

    def _write(self, name: str, fields: JsonObject) -> None:
        self._stream.write(encode_text({"event": name, "time": time.time(), **fields}) + "\n")


class JsonPulse:
    """Only how far operations that are cancelled are, as one JSON line `cancel_progress` per interval."""

    def __init__(
        self,
        stream: Sink,
        interval: float | None,
        line: OperationsLine,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._interval = interval
        self._line = line
        self._now = now
        self._last = now()

    def note(self, event: Event) -> None:
        """Count an event."""
        self._line.note(event)
        if isinstance(event, StatusAsked):
            self._write()

    def tick(self) -> None:
        """Write the line when its time has come."""
        if self._interval is not None and self._now() - self._last >= self._interval:
            self._last = self._now()
            self._write()

    def close(self) -> None:
        """Nothing is to be undone."""

    def _write(self) -> None:
        told: JsonObject = {"event": "cancel_progress", "time": time.time(), **self._line.counts()}
        self._stream.write(encode_text(told) + "\n")
        self._stream.flush()


def as_json(event: Event) -> tuple[str, JsonObject]:
    """Return an event's name in snake case and its fields, as a JSON line has them."""
    return _snake(type(event).__name__), {name: _json(value) for name, value in asdict(event).items()}


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


class Reserved:
    """A printer that is told of a run only once that has something to tell; an idle run leaves no trace.

    Idle is a run that made no request and ended well. What comes before is held: a handful of events, since
    the counts of skipped rows are added up.
    """

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._held: list[Event] | None = []

    def note(self, event: Event) -> None:
        """Hold an event, or pass it on with those before it."""
        if self._held is None:
            self._printer.note(event)
        elif _is_idle(event):
            last = self._held[-1] if self._held else None
            if isinstance(event, RowsSkipped) and isinstance(last, RowsSkipped):
                self._held[-1] = RowsSkipped(last.answered + event.answered, last.invalid + event.invalid)
            else:
                self._held.append(event)
        else:
            held, self._held = self._held, None
            for before in held:
                self._printer.note(before)
            self._printer.note(event)

    def tick(self) -> None:
        """Give the printer its chance, once it knows of the run."""
        if self._held is None:
            self._printer.tick()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._printer.close()


def _is_idle(event: Event) -> bool:
    if isinstance(event, RunFinished):
        return not event.requests and event.exit_code in (ExitCode.OK, ExitCode.NOTHING_TO_DO)
    return isinstance(event, RunStarted | RowsSkipped | Notice | Exporting)


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
