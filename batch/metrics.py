"""The figures of a run for Prometheus: a file for the node exporter's textfile collector.

The home of prometheus_client, an extra: this module is imported only where a metrics file was asked for. The
counters count this run, and begin again with the next, as a process's do; so `increase()` over a day adds up
the runs. What only the end of a run knows stays from the run before until this one ends.

A run that is killed cannot say so: its file goes on saying that it runs, but no longer when it was last seen. An
alert compares that with the time; the next run writes down that the one before was killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from batch.errors import UsageError
from batch.events import (
    AttemptLost,
    Event,
    LimitChanged,
    RunFinished,
    ServiceBack,
    ServiceDown,
    Tally,
    UnknownBilled,
)
from batch.plaintext import printable

_MODE = 0o644  # the node exporter is another user, whatever the umask under cron
_KILLED = 128 + signal.SIGKILL  # as a shell tells it; also of a machine that lost its power
_MOST_CODES = 50  # of lost requests; the service's codes are a handful, but they are the service's

_Values = Sequence[tuple[Mapping[str, str], float]]
_RUNNING, _STARTED = "chatbatch_running", "chatbatch_run_start_timestamp_seconds"
_SEEN, _ENDED = "chatbatch_run_last_seen_timestamp_seconds", "chatbatch_run_end_timestamp_seconds"
_TOOK, _CODE = "chatbatch_run_duration_seconds", "chatbatch_run_exit_code"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose figures they are: a job's by its name, else a run's by its output; `facts` describe the run."""

    name: str
    output: str
    facts: Mapping[str, str]

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of every figure. Not `job`: Prometheus has that for what it scrapes."""
        return {"job_name": self.name} if self.name else {"output": self.output}


@dataclass(slots=True)
class Metrics:
    """Counts a run from its news, and writes the file."""

    path: Path
    subject: Subject
    began: float
    now: Callable[[], float] = time.time
    tally: Tally = field(default_factory=Tally)
    _lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    _limits: dict[str, int] = field(default_factory=dict)
    _in_doubt: int = 0
    _down: bool = False
    _finished: RunFinished | None = None
    _ended: tuple[float, int, bool] | None = None
    _before: dict[str, _Values] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, subject: Subject, began: float, now: Callable[[], float] = time.time) -> Metrics:
        """Return the figures of a run that began at `began` (seconds since 1970), with what stays of the last.

        Makes the folder and writes the file once; raises `UsageError` where that cannot be done. A file that
        is not understood is replaced, as if there had been none.
        """
        if path.suffix != ".prom":
            raise UsageError(
                f"The metrics file {printable(str(path))} would not be read: the node exporter reads *.prom alone."
            )
        made = cls(path, subject, began, now)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            before = _read(path, subject.labels)
            made._before = {**before, **_killed(before)}
            made.write()
        except OSError as error:
            raise UsageError(
                f"The metrics file {printable(str(path))} cannot be written: {error.strerror}.",
                hint="Name another one with --metrics-file, or leave it out.",
            ) from None
        return made

    def note(self, event: Event) -> None:
        """Take in an event."""
        self.tally.note(event)
        match event:
            case AttemptLost():
                known = len(self._lost) < _MOST_CODES or (event.error_code, event.billed.value) in self._lost
                self._lost[event.error_code if known else "OTHER", event.billed.value] += 1
            case LimitChanged(limit, value, _):
                self._limits[limit] = value
            case UnknownBilled(row_keys, _):
                self._in_doubt = len(row_keys)
            case ServiceDown() | ServiceBack():
                self._down = isinstance(event, ServiceDown)
            case RunFinished():
                self._finished = event
                self._limits["requests at once"] = event.concurrency

    def ended(self, at: float, code: int, *, well: bool) -> None:
        """Take in how the run ended, and when (seconds since 1970)."""
        self._ended = (at, code, well)

    def write(self) -> None:
        """Write the file under another name and rename it; raises `OSError`."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Figures(list(self._families())))
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")  # no *.prom: nobody reads it
        try:
            with temporary.open("wb") as file:
                os.fchmod(file.fileno(), _MODE)
                file.write(generate_latest(registry))
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _families(self) -> Iterator[Metric]:
        for name, text, values in self._counters():
            yield self._filled(CounterMetricFamily(name, text, labels=()), values)
        for name, text, values in self._gauges():
            yield self._filled(GaugeMetricFamily(name, text, labels=()), values)
        for name, text, values in self._at_the_end():
            yield self._filled(GaugeMetricFamily(name, text, labels=()), values or self._before.get(name, ()))

    def _filled(self, family: Metric, values: _Values) -> Metric:
        name = family.name + ("_total" if family.type == "counter" else "")
        for labels, value in values:
            family.add_sample(name, {**self.subject.labels, **labels}, value)
        return family

    def _counters(self) -> Iterator[tuple[str, str, _Values]]:
        """Yield what this run has counted so far: name without `_total`, meaning, values."""
        tally = self.tally
        tokens = [({"direction": "in"}, tally.input_tokens), ({"direction": "out"}, tally.completion_tokens)]
        # The format knows floating point alone; what was spent to the last digit stands in the journal.
        cost = [({"currency": currency}, float(spent)) for currency, spent in tally.cost.items()]
        lost = [({"code": code, "billed": billed}, count) for (code, billed), count in self._lost.items()]
        yield "chatbatch_requests", "Requests of this run that have ended.", [({}, tally.requests)]
        yield "chatbatch_retries", "Requests of this run that were made again.", [({}, tally.retries)]
        yield "chatbatch_lost_requests", "Requests that brought no answer, and whether they were billed.", lost
        yield "chatbatch_tokens", "Tokens of this run's answers, as the service stated them.", tokens
        yield "chatbatch_cost", "What this run's answers cost.", cost
        yield "chatbatch_limit_changes", "Changes of limits in this run.", [({}, tally.limit_changes)]

    def _gauges(self) -> Iterator[tuple[str, str, _Values]]:
        """Yield what is so now."""
        tally = self.tally
        rows: _Values = [({"status": status}, count) for status, count in self._rows().items()]
        limits = [({"limit": limit}, value) for limit, value in self._limits.items()]
        yield "chatbatch_rows", "Rows of the input by what became of them.", rows
        yield "chatbatch_input_rows", "Rows of the input.", [({}, tally.rows)]
        yield (
            "chatbatch_answered_before_rows",
            "Rows with an answer from a run before.",
            [({}, tally.answered_before)],
        )
        yield "chatbatch_limit", "Limits in force, such as requests at once.", limits
        yield (
            "chatbatch_in_doubt_requests",
            "Requests of the run before that may have been billed.",
            [({}, self._in_doubt)],
        )
        yield "chatbatch_service_down", "Whether the service is down and being probed.", [({}, self._down)]
        yield _RUNNING, "Whether the run is running, as far as it could say.", [({}, self._ended is None)]
        yield _STARTED, "When the last run started.", [({}, self.began)]
        yield _SEEN, "When the last run wrote this: every minute or oftener while it runs.", [({}, self.now())]
        yield "chatbatch_run_info", "What the last run was.", [(self.subject.facts, 1)]

    def _rows(self) -> Mapping[str, int]:
        if self._finished is not None:
            return self._finished.rows
        tally = self.tally
        left = max(0, tally.rows - tally.finished)
        ok = tally.ok + tally.answered_before
        return {"ok": ok, "failed": tally.failed, "invalid": tally.invalid, "pending": left}

    def _at_the_end(self) -> Iterator[tuple[str, str, _Values]]:
        """Yield what the end of a run knows; of the run before where this one has not ended."""
        end, finished = self._ended, self._finished
        at: _Values = [({}, end[0])] if end else []
        taken: _Values = [({}, end[0] - self.began)] if end else []
        spent: _Values = []
        if finished is not None:
            spent = [
                ({"currency": line.currency, "kind": kind}, float(amount))
                for line in finished.spending
                if line.currency
                for kind, amount in (("answers", line.answers), ("lost", line.lost), ("unknown", line.unknown))
            ]
        yield _ENDED, "When the last run ended.", at
        yield _TOOK, "How long the last run took.", taken
        yield _CODE, "The exit code of the last run; 137 where it was killed.", [({}, end[1])] if end else []
        yield (
            "chatbatch_last_success_timestamp_seconds",
            "When a run last ended well.",
            at if end and end[2] else [],
        )
        yield (
            "chatbatch_open_operations",
            "Operations whose answers are still to be collected.",
            ([({}, finished.open_operations)] if finished else []),
        )
        yield "chatbatch_spent", "What all runs together have spent, lost and in doubt at most.", spent


class _Figures(Collector):
    """What the registry asks for the figures."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _killed(before: Mapping[str, _Values]) -> dict[str, _Values]:
    """Return what the end of a run would have said that never said it; nothing where the last one did."""
    running, started, seen = (_one(before.get(name, ())) for name in (_RUNNING, _STARTED, _SEEN))
    if not running:
        return {}
    told: dict[str, _Values] = {_CODE: [({}, _KILLED)]}
    if seen is not None and started is not None:
        told |= {_ENDED: [({}, seen)], _TOOK: [({}, max(0.0, seen - started))]}
    return told


def _one(values: _Values) -> float | None:
    return values[0][1] if len(values) == 1 else None


def _read(path: Path, whose: Mapping[str, str]) -> dict[str, _Values]:
    """Return the gauges of a file that was written before, by name, of this subject."""
    try:
        families = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return {}
    return {
        family.name: [
            ({name: value for name, value in sample.labels.items() if name not in whose}, sample.value)
            for sample in family.samples
            if whose.items() <= sample.labels.items()
        ]
        for family in families
    }
