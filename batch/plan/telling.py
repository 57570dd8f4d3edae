"""Being noticed: whoever is not there learns how a run began, how far it is, and how it ended.

Encloses everything of a run that can fail, so that every end is told: a run that cannot begin, one that breaks
off, one that a signal ends. Only SIGKILL and a machine that loses its power tell nothing: a health check is
missed then, and the metrics file says when the run was last seen.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch import __version__
from batch.clock import Clock
from batch.errors import ChatbatchError, ExitCode, UsageError
from batch.events import Event, RunFinished
from batch.jsontext import JsonObject, encode_text
from batch.logfile import LogFile
from batch.notify import Notifier, is_failure
from batch.plaintext import printable
from batch.plan.opening import journal_of
from batch.progress import JsonProgress, LineProgress, as_json
from batch.settings import Settings
from batch.wording import brief, duration

if TYPE_CHECKING:
    from batch.metrics import Metrics

# A run that has not written its figures for much longer is gone, whatever they say.
SEEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit code, and the sentence and the hint of the error that ended it, if any."""

    code: int
    error: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Outcome:
        """Return what an exception that leaves a run means; the command line says the same of it."""
        match error:
            case ChatbatchError():
                return cls(int(error.exit_code), str(error), error.hint)
            case KeyboardInterrupt():
                return cls(int(ExitCode.INTERRUPTED), "Interrupted.")
            case SystemExit():
                code = error.code if isinstance(error.code, int) else int(ExitCode.UNEXPECTED)
                signalled = code == 128 + signal.SIGTERM
                return cls(code, "Terminated." if signalled else "The process was ended.")
            case _:
                return cls(int(ExitCode.UNEXPECTED), f"Unexpected {type(error).__name__}.")


class Telling:
    """Tells a health check, a webhook, a log file and a metrics file, whichever there are."""

    def __init__(self, settings: Settings, clock: Clock, warn: Callable[[str], None], job: str) -> None:
        self._settings = settings
        self._clock = clock
        self._warn = warn
        self._job = job
        self._code: int | None = None
        self._finished: RunFinished | None = None
        self._began, self._at = clock.monotonic(), clock.time()
        self._written = self._began
        self._notifier = Notifier(settings.ping_url, settings.webhook)
        self._log: LogFile | None = None
        self._lines: LineProgress | JsonProgress | None = None
        self._metrics: Metrics | None = None
        self._metrics_broken = False

    @property
    def subject(self) -> str:
        """Return what is told of, for people: the job or the output, and the machine."""
        return f"{self._job or self._settings.output or 'chatbatch'} on {socket.gethostname()}"

    def begin(self) -> None:
        """Tell that the run begins; raises `UsageError` for a log or metrics file that cannot be written."""
        self._notifier.begin(f"{self.subject}: started, chatbatch {__version__}")
        settings = self._settings
        self._not_another_file()
        if settings.log_file is not None:
            self._log = LogFile.open(
                settings.log_file,
                size=settings.log_size,
                keep=settings.log_keep,
                stamped=not settings.json,
                now=self._clock.time,
                broken=self._warn,
            )
            now = self._clock.monotonic
            if settings.json:
                self._lines = JsonProgress(self._log, settings.stats, now)
            else:
                self._lines = LineProgress(self._log, settings.stats, max(1, settings.verbose), now, timed=False)
            self._say(
                f"{self.subject}: started, chatbatch {__version__}, process {os.getpid()}",
                {"event": "command_started", "version": __version__, "pid": os.getpid(), "job": self._job or None},
            )
        if settings.metrics_file is not None:
            self._metrics = _open_metrics(settings.metrics_file, settings, self._job, self._clock)

    def note(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, RunFinished):
            self._finished = event
        if self._lines is not None:
            self._lines.note(event)
        if self._metrics is not None:
            self._metrics.note(event)

    def tick(self) -> None:
        """Write what is due: lines at the interval of `--stats`, figures as often, and every minute at least."""
        if self._lines is not None:
            self._lines.tick()
        every = min(self._settings.stats or SEEN_S, SEEN_S)
        if self._metrics is not None and self._clock.monotonic() - self._written >= every:
            self._written = self._clock.monotonic()
            self._write_metrics()

    def ended(self, code: int) -> None:
        """Take in the exit code of a run that came to its end."""
        self._code = code

    def end(self, error: BaseException | None) -> None:
        """Tell how the run ended; raises nothing, and waits some seconds at most."""
        outcome = Outcome.of(error) if error is not None else Outcome(self._code or 0)
        if not is_failure(outcome.code):
            outcome = Outcome(outcome.code)  # that there was nothing to do is no error to whoever is not there
        if self._metrics is not None:
            self._metrics.ended(self._clock.time(), outcome.code, well=not is_failure(outcome.code))
            self._write_metrics()
        if outcome.error:
            hint = f" {outcome.hint}" if outcome.hint else ""
            self._say(
                f"Error: {outcome.error}{hint}",
                {"event": "error", "message": outcome.error, "hint": outcome.hint, "exit_code": outcome.code},
            )
        for lost in self._notifier.end(outcome.code, self._text(outcome), self._summary(outcome)):
            self._warn(lost)
            self._say(f"Warning: {lost}", {"event": "warning", "message": lost})
        self._say(f"Ended with exit code {outcome.code}", {"event": "command_ended", "exit_code": outcome.code})
        if self._log is not None:
            self._log.close()

    def _text(self, outcome: Outcome) -> str:
        """Return how it ended in a line."""
        parts = [outcome.error] if outcome.error else []
        if self._finished is not None:
            parts.append(brief(self._finished))
        else:
            spent = duration(self._clock.monotonic() - self._began)
            parts.append(f"Ended with exit code {outcome.code} after {spent}.")
        return printable(f"{self.subject}: {' '.join(parts)}")

    def _summary(self, outcome: Outcome) -> JsonObject:
        """Return what the webhook gets: the fields of `run_finished`, if the run came so far, and the rest."""
        told: JsonObject = {"event": "run_finished", "time": self._clock.time(), "text": self._text(outcome)}
        if self._finished is not None:
            told.update(as_json(self._finished)[1])
        told.setdefault("output", str(self._settings.output) if self._settings.output else None)
        told.setdefault("duration_s", self._clock.monotonic() - self._began)
        told.update(
            exit_code=outcome.code,
            failed=is_failure(outcome.code),
            error=outcome.error or None,
            hint=outcome.hint or None,
            job=self._job or None,
            host=socket.gethostname(),
            version=__version__,
            started_at=self._at,
        )
        return told

    def _say(self, text: str, fields: JsonObject) -> None:
        """Write a line of our own into the log, in whichever form it has."""
        if self._log is not None:
            self._log.write(encode_text({**fields, "time": self._clock.time()}) if self._settings.json else text)

    def _write_metrics(self) -> None:
        if self._metrics is None:
            return
        try:
            self._metrics.write()
        except OSError as error:
            if not self._metrics_broken:
                self._metrics_broken = True
                self._warn(
                    f"The metrics file {printable(str(self._metrics.path))} cannot be written: {error.strerror}."
                )

    def _not_another_file(self) -> None:
        """Raise `UsageError` where the log or the metrics would be written over something else."""
        settings = self._settings
        taken = {}
        if settings.output is not None:
            taken = {settings.output.resolve(): "the output", journal_of(settings.output).resolve(): "a journal"}
        if settings.journal is not None:
            taken[settings.journal.resolve()] = "a journal"
        for name, path in (("--log-file", settings.log_file), ("--metrics-file", settings.metrics_file)):
            if path is None:
                continue
            if (what := taken.get(path.resolve())) is not None:
                raise UsageError(f"{name} {printable(str(path))} is {what} as well; name another file.")
            taken[path.resolve()] = "another file of this run"


@contextmanager
def telling(settings: Settings, *, clock: Clock, warn: Callable[[str], None], job: str = "") -> Iterator[Telling]:
    """Enclose a run, of which nothing has been looked at yet; `ended` takes its exit code.

    `warn` is given a sentence for what could not be told, at most one for each of the four; that never fails
    the run. `job` is the name of the job whose run it is. Raises `UsageError` before the run begins for a file
    that cannot be written.
    """
    told = Telling(settings, clock, warn, job)
    try:
        told.begin()
        yield told
    except BaseException as error:  # also an interrupt, and an exit by SIGTERM
        told.end(error)
        raise
    told.end(None)


def tell_unbegun(
    error: ChatbatchError, settings: Settings, *, clock: Clock, warn: Callable[[str], None], job: str
) -> None:
    """Tell health check and webhook that a run ended before it could begin; raises nothing.

    Log and metrics are left alone: they may be those of a run that goes on.
    """
    Telling(settings, clock, warn, job).end(error)


def _open_metrics(path: Path, settings: Settings, job: str, clock: Clock) -> Metrics:
    try:
        from batch.metrics import Metrics, Subject
    except ImportError:
        raise UsageError(
            "--metrics-file needs prometheus-client, which is not installed.",
            hint="Install it with: pip install 'chatbatch[metrics]'.",
        ) from None
    output = str(settings.output.absolute()) if settings.output else ""
    facts = {"output": output, "model": settings.model, "mode": settings.mode, "version": __version__}
    facts["emulated"] = str(settings.emulate).lower()
    return Metrics.open(path, Subject(job, output, facts), clock.time(), clock.time)
