"""What a job's runs came to: a line of JSON for each, in the job's state, and nothing else to administer.

A run writes a line when it begins, one when it begins to send, and a complete one when it ends; of lines with
the same `id` the last counts. So a run that was killed is seen, and the next run closes it. Appending is locked,
synced, and begins on a line of its own, whatever a crash left of the last one.

A record that is not `settled` is counted once more by each run that follows, until it is: what a killed run left
unjudged, or on the journal's tape alone, is known only then.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batch.errors import ExitCode, UsageError
from batch.jsontext import Json, JsonObject, NotJson, encode, parse
from batch.plan.scheduled.bought import Bought, Place

RUNNING, KILLED, IDLE = "running", "killed", "nothing to do"
# A run writes three lines; so many for each that is kept make the file worth writing anew.
_SLACK = 4
OUTCOMES: Mapping[int, str] = {
    ExitCode.OK: "done", ExitCode.UNEXPECTED: "unexpected failure", ExitCode.USAGE: "wrong settings",
    ExitCode.ROWS_FAILED: "rows failed", ExitCode.CREDENTIALS: "credentials", ExitCode.INPUT: "input",
    ExitCode.UNAVAILABLE: "service unavailable", ExitCode.QUOTA: "quota", ExitCode.BUDGET: "budget reached",
    ExitCode.NOTHING_TO_DO: IDLE, ExitCode.DEADLINE: "deadline reached", ExitCode.HELD: "held by another run",
    ExitCode.INTERRUPTED: "interrupted", ExitCode.TERMINATED: "terminated",
}  # fmt: skip
"""An outcome's word by exit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run of a job; times are seconds since 1970, `ended_at` is None while it goes on.

    `rows` is how the job's rows stood at its end, as far as it is known. `run` is its number in its journal, whose
    `identity` tells it from another of that name; 0 where it never began to send. `gained` is None where nobody
    knows, and may change until `settled`.
    """

    id: str
    started_at: float
    version: str
    host: str
    pid: int
    settings: str
    output: str
    journal: str
    run: int = 0
    identity: str = ""
    emulated: bool = False
    ended_at: float | None = None
    outcome: str = RUNNING
    exit_code: int | None = None
    error: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    gained: Bought | None = None
    settled: bool = False

    @property
    def place(self) -> Place | None:
        """Return where the run stands in its journal; None where it never came so far."""
        return Place(Path(self.journal), self.identity, self.run) if self.run else None

    def as_json(self) -> JsonObject:
        """Return the record as it is written and shown; `gained`'s fields stand beside the others."""
        told: JsonObject = {
            "id": self.id, "started_at": self.started_at, "ended_at": self.ended_at, "outcome": self.outcome,
            "exit_code": self.exit_code, "error": self.error or None, "rows": dict(self.rows) or None,
        }  # fmt: skip
        if self.gained is not None:
            told.update(self.gained.as_json())
        told.update(
            output=self.output, journal=self.journal, settings=self.settings, version=self.version,
            host=self.host, pid=self.pid, run=self.run or None, identity=self.identity, emulated=self.emulated,
            settled=self.settled,
        )  # fmt: skip
        return told

    @classmethod
    def from_json(cls, told: JsonObject) -> Record:
        """Return the record that a line holds; raises `ValueError` where it holds none."""
        rows = told.get("rows")
        started = _float(told.get("started_at"))
        if started is None or not isinstance(told.get("id"), str):
            raise ValueError("no record of a run")
        return cls(
            id=_text(told, "id"),
            started_at=started,
            version=_text(told, "version"),
            host=_text(told, "host"),
            pid=_int(told.get("pid")) or 0,
            settings=_text(told, "settings"),
            output=_text(told, "output"),
            journal=_text(told, "journal"),
            run=_int(told.get("run")) or 0,
            identity=_text(told, "identity"),
            emulated=told.get("emulated") is True,
            ended_at=_float(told.get("ended_at")),
            outcome=_text(told, "outcome"),
            exit_code=_int(told.get("exit_code")),
            error=_text(told, "error"),
            rows={name: _int(count) or 0 for name, count in rows.items()} if isinstance(rows, dict) else {},
            gained=Bought.from_json(told) if "answered" in told else None,
            settled=told.get("settled") is True,
        )


class History:
    """The records of one job, in its state's folder; `keep` is how many are kept."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.path = folder / "history.jsonl"
        self._keep = keep

    def records(self) -> list[Record]:
        """Return the runs, the oldest first; lines that a crash or a disk left unreadable are passed over."""
        return _merged(self._lines())[-self._keep :]

    def append(self, record: Record) -> None:
        """Add a line, lastingly; trim to what is kept. Raises `UsageError` where the state cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                with self.path.open("ab+") as file:
                    size = file.seek(0, os.SEEK_END)
                    torn = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
                    file.write((b"\n" if torn else b"") + encode(record.as_json()) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                self._trim()
        except OSError as error:
            raise UsageError(
                f"The job's history {self.path} cannot be written: {error.strerror}.",
                hint="Name another folder with folder in [history] of the job file.",
            ) from error

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"The job's history {self.path} cannot be read: {error.strerror}.") from error

    def _trim(self) -> None:
        """Write the file anew, once it is much longer than what is kept."""
        lines = self._lines()
        if len(lines) <= _SLACK * self._keep + 2:
            return
        kept = b"".join(encode(record.as_json()) + b"\n" for record in _merged(lines)[-self._keep :])
        whole = self.path.with_name(self.path.name + ".new")
        with whole.open("wb") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(whole, self.path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Enclose a change; the lock is a file of its own, since the history's is replaced."""
        lock = os.open(self.path.with_name("history.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _merged(lines: list[bytes]) -> list[Record]:
    found: dict[str, Record] = {}
    for line in lines:
        try:
            told = parse(line)
            record = Record.from_json(told) if isinstance(told, dict) else None
        except (NotJson, ValueError):
            continue
        if record is not None:
            found[record.id] = record  # in the place of its beginning
    return list(found.values())


def _text(told: JsonObject, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _int(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
