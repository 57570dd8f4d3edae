"""What a job's runs came to: a line of JSON for each, in the job's state, and nothing else to administer.

A run writes a line when it begins and another, complete one when it ends; of two lines with the same `id` the
later counts. So a run that was killed is seen, and the next run closes it. Appending is locked, synced, and
begins on a line of its own, whatever a crash left of the last one.

What a run bought is what its journal gained meanwhile. The next run of a killed one takes over what was answered
and not yet judged; nothing is counted twice and nothing is left out, so the records of a job that alone writes
its journal add up to what the journal holds.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from batch.errors import ExitCode, UsageError
from batch.journal import Records
from batch.jsontext import Json, JsonObject, NotJson, encode, parse

RUNNING, KILLED, IDLE = "running", "killed", "nothing to do"
# How many lines beyond what is kept make the file worth writing anew, as a share of those kept.
_SLACK = 2
OUTCOMES: Mapping[int, str] = {
    ExitCode.OK: "done", ExitCode.UNEXPECTED: "unexpected failure", ExitCode.USAGE: "wrong settings",
    ExitCode.ROWS_FAILED: "rows failed", ExitCode.CREDENTIALS: "credentials", ExitCode.INPUT: "input",
    ExitCode.UNAVAILABLE: "service unavailable", ExitCode.QUOTA: "quota", ExitCode.BUDGET: "budget reached",
    ExitCode.NOTHING_TO_DO: IDLE, ExitCode.DEADLINE: "deadline reached", ExitCode.HELD: "held by another run",
    ExitCode.INTERRUPTED: "interrupted", ExitCode.TERMINATED: "terminated",
}  # fmt: skip
"""An outcome's word by exit code."""


@dataclass(frozen=True, slots=True)
class Bought:
    """What a journal holds, or what it gained: answers with the tokens that the service stated, and money.

    `doubtful` requests brought no answer and may have been billed: what they cost is at most `doubtful_cost`.
    Money by currency.
    """

    answered: int = 0
    input_tokens: int = 0
    completion_tokens: int = 0
    cost: Mapping[str, Decimal] = field(default_factory=dict)
    doubtful: int = 0
    doubtful_cost: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def of_journal(cls, journal: Path) -> Bought:
        """Return what a journal holds, nothing where there is none; raises `JournalError` where it is damaged."""
        if not journal.exists():
            return cls()
        records = Records.open(journal)
        try:
            spent = records.spending()
        finally:
            records.close()
        counts = [0, 0, 0, 0]
        cost: dict[str, Decimal] = {}
        doubtful: dict[str, Decimal] = {}
        for item in spent:
            if item.outcome is None or item.outcome == "not_billed":
                continue  # nobody knows the end yet, or it cost nothing
            answered = item.outcome == "answered"
            into = cost if answered else doubtful
            if item.cost is not None and item.cost.currency:
                into[item.cost.currency] = into.get(item.cost.currency, Decimal(0)) + item.cost.amount
            gained = (
                (item.attempts, item.input_tokens, item.output_tokens, 0) if answered else (0, 0, 0, item.attempts)
            )
            counts = [total + more for total, more in zip(counts, gained, strict=True)]
        return cls(counts[0], counts[1], counts[2], cost, counts[3], doubtful)

    def minus(self, before: Bought) -> Bought:
        """Return what was gained since."""
        return Bought(
            self.answered - before.answered,
            self.input_tokens - before.input_tokens,
            self.completion_tokens - before.completion_tokens,
            _difference(self.cost, before.cost),
            self.doubtful - before.doubtful,
            _difference(self.doubtful_cost, before.doubtful_cost),
        )

    def as_json(self) -> JsonObject:
        """Return it with money as text, since JSON's numbers are not decimal."""
        return {
            "answered": self.answered, "input_tokens": self.input_tokens,
            "completion_tokens": self.completion_tokens, "cost": _as_texts(self.cost),
            "doubtful": self.doubtful, "doubtful_cost": _as_texts(self.doubtful_cost),
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: Json) -> Bought:
        """Return what `as_json` told."""
        found = told if isinstance(told, dict) else {}
        return cls(
            _int(found.get("answered")) or 0,
            _int(found.get("input_tokens")) or 0,
            _int(found.get("completion_tokens")) or 0,
            _decimals(found.get("cost")),
            _int(found.get("doubtful")) or 0,
            _decimals(found.get("doubtful_cost")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run of a job; times are seconds since 1970, `ended_at` is None while it goes on or where it was killed.

    `rows` is how the job's rows stood at its end; `before` what the journal held when it began, from which
    `gained` is counted: None where nobody knows yet.
    """

    id: str
    started_at: float
    version: str
    host: str
    pid: int
    settings: str
    output: str
    journal: str
    before: Bought
    ended_at: float | None = None
    outcome: str = RUNNING
    exit_code: int | None = None
    error: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    gained: Bought | None = None

    @property
    def after(self) -> Bought:
        """Return what the journal held at the end, as far as it is known."""
        return self.before if self.gained is None else self.before.minus(Bought().minus(self.gained))

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
            host=self.host, pid=self.pid, before=self.before.as_json(),
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
            before=Bought.from_json(told.get("before")),
            ended_at=_float(told.get("ended_at")),
            outcome=_text(told, "outcome"),
            exit_code=_int(told.get("exit_code")),
            error=_text(told, "error"),
            rows={name: _int(count) or 0 for name, count in rows.items()} if isinstance(rows, dict) else {},
            gained=Bought.from_json(told) if "answered" in told else None,
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


def _difference(now: Mapping[str, Decimal], before: Mapping[str, Decimal]) -> dict[str, Decimal]:
    sums = {code: now.get(code, Decimal(0)) - before.get(code, Decimal(0)) for code in {**before, **now}}
    return {code: amount for code, amount in sums.items() if amount}


def _as_texts(money: Mapping[str, Decimal]) -> JsonObject:
    return {code: f"{amount:f}" for code, amount in sorted(money.items())}


def _decimals(told: Json) -> dict[str, Decimal]:
    return {code: Decimal(str(amount)) for code, amount in told.items()} if isinstance(told, dict) else {}


def _text(told: JsonObject, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _int(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
