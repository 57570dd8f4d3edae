"""Journal, input and output against each other: a line for each discrepancy.

Nothing is changed, and memory is flat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path

from batch import storage
from batch.errors import ChatbatchError, InputError
from batch.journal import IDENTITY, TAPE_END, Inspection, alive_elsewhere, is_held, read_owner, tape_path
from batch.journal import examine as read_tape
from batch.jsontext import NotJson, parse
from batch.plan.opening import Input
from batch.plan.rewriting import Remembered, joined
from batch.records import Answer
from batch.writer import METADATA_KEY, PREFIX, leftovers

COMPARED = (
    "row_key", "status", "completion", "finish_reason", "tool_calls", "error_code", "model", "model_version",
    "input_tokens", "completion_tokens", "reasoning_tokens", "total_tokens", "cost", "currency", "attempts",
    "request_id", "operation_id",
)  # fmt: skip
TOKENS = ("input_tokens", "completion_tokens", "total_tokens")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: a `fault`, or a note of what is worth knowing."""

    fault: bool
    text: str


@dataclass(slots=True)
class _Sums:
    """What the comparison adds up; `met` are the journal's results that a row of the input has."""

    output_rows: int = 0
    input_rows: int = 0
    met: int = 0
    newer: int = 0
    output: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    journal: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    output_cost: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    journal_cost: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


def examine(output: Path, journal_path: Path, now: float) -> Iterator[Finding]:
    """Yield what is wrong, and what is worth knowing, of an output at the time `now`."""
    owner = read_owner(journal_path)
    running = is_held(journal_path) or alive_elsewhere(owner, now)
    if owner and not running:
        yield Finding(
            False, f"a run of process {owner.get('pid')} on {owner.get('host')} died holding the journal"
        )
    try:
        journal = Inspection.open(journal_path)
    except ChatbatchError as error:
        yield Finding(True, f"journal: {error}")
        return
    try:
        with journal.snapshot():
            yield from _journal(journal, running=running)
            yield from _tape(journal, running=running)
            yield from _rows(output, journal, running=running)
    except ChatbatchError as error:
        yield Finding(True, f"cannot go on: {error}")
    finally:
        journal.close()
    if not running:
        for path in leftovers(output):
            yield Finding(True, f"{path} was left unfinished by a command that was killed")


def _journal(journal: Inspection, *, running: bool) -> Iterator[Finding]:
    if damage := journal.damage():
        yield Finding(True, f"journal: SQLite finds damage: {damage}")
    for clause in journal.contradictions():
        yield Finding(True, f"journal: {clause}")
    for item in journal.waiting():
        yield Finding(not running, f"journal: row {item.row_key}: its receipt {item.attempt} was never judged")
    if (opened := journal.open_sum()).count and not running:
        text = (
            f"journal: {opened.count} operations are open; the same run collects them, chatbatch cancel ends them"
        )
        yield Finding(False, text)
    for key, operation, status in journal.expired():
        became = {"ok": "answered since", "failed": "failed"}.get(status or "", "not answered")
        yield Finding(
            False, f"row {key}: operation {operation} expired, may have been billed; the row is {became}"
        )
    unknown = journal.unknown() + ([] if running else journal.open_requests())
    for key, _, status in unknown:
        yield Finding(
            False, f"row {key}: a request may have been billed unseen; the row is {status or 'not answered'}"
        )


def _tape(journal: Inspection, *, running: bool) -> Iterator[Finding]:
    path, end = tape_path(journal.path), int(journal.fact(TAPE_END) or 0)
    try:
        facts = read_tape(path, end)
    except OSError as error:
        yield Finding(True, f"tape: {path} cannot be read: {error.strerror}")
        return
    for offset in facts.harmed:
        yield Finding(True, f"tape: the line at byte {offset} is damaged")
    if facts.identity != journal.fact(IDENTITY):
        yield Finding(True, "tape: it belongs to another journal")
    if not facts.fits:
        yield Finding(True, f"tape: no line ends at byte {end}, to which the journal has played it")
    for kind, count in journal.lines().items():
        if facts.entries[kind] != count:
            yield Finding(True, f"tape: it holds {facts.entries[kind]} entries {kind}, and the journal {count}")
    if facts.size > end and not running:
        yield Finding(False, f"tape: {facts.size - end} bytes are not in the journal yet; the next run plays them")


def _rows(output: Path, journal: Inspection, *, running: bool) -> Iterator[Finding]:
    remembered = Remembered.of(journal)
    source = remembered.open()
    if not output.exists():
        yield Finding(not running, f"output: {output} does not exist; chatbatch export writes it")
        return
    opened = _Output.open(output, _column_names(remembered, source))
    written, sums = output.stat().st_mtime, _Sums()
    join = joined(remembered, source, journal, str(output))
    said = opened.rows()
    for keyed, answers in join.rows():
        known = journal.results([key for key in keyed.keys if key])
        firsts = zip(keyed.keys, keyed.first, strict=True)
        sums.met += sum(1 for key, first in firsts if first and key in known)
        for read, row in zip(keyed.chunk.rows, answers, strict=True):
            yield from _row(read.where, row, next(said, None), sums, newer_than=written if running else None)
    sums.output_rows += sum(1 for _ in said)
    yield from _totals(opened, sums, running=running)
    results = journal.sums().results
    left = sum(results.values()) - results.get("invalid", 0) - sums.met
    if left > 0:
        yield Finding(False, f"journal: {left} results belong to rows that are not in the input any more")


def _column_names(remembered: Remembered, source: Input) -> set[str]:
    """Return the columns that came in, whose names an answer's column cannot have."""
    own = source.reader.columns
    return set(own.names) if own is not None else {item.name for item in remembered.settings.keep}


def _row(
    where: str, row: Answer, said: dict[str, object] | None, sums: _Sums, *, newer_than: float | None
) -> Iterator[Finding]:
    sums.input_rows += 1
    if said is None:
        return
    sums.output_rows += 1
    for name in TOKENS:
        stated = said.get(name)
        sums.output[name] += stated if isinstance(stated, int) else 0
        sums.journal[name] += getattr(row, name) or 0
    if (cost := said["cost"]) is not None and isinstance(cost, Decimal):
        sums.output_cost[str(said["currency"])] += cost
    if row.cost is not None:
        sums.journal_cost[str(row.currency)] += row.cost
    if newer_than is not None and row.finished_at is not None and row.finished_at.timestamp() > newer_than:
        sums.newer += 1
        return
    wrong = [name for name in COMPARED if said.get(name) != _plain(getattr(row, name))]
    if wrong:
        told = ", ".join(f"{n} is {_short(said.get(n))}, not {_short(_plain(getattr(row, n)))}" for n in wrong)
        yield Finding(True, f"output: row {sums.output_rows} ({where}): {told}")


def _totals(opened: _Output, sums: _Sums, *, running: bool) -> Iterator[Finding]:
    if sums.newer:
        yield Finding(False, f"output: {sums.newer} rows were answered since; the run writes them when it ends")
    if sums.output_rows != sums.input_rows:
        text = f"output: it has {sums.output_rows} rows, and the input {sums.input_rows}"
        yield Finding(not running, text)
    for name in TOKENS:
        if sums.output[name] != sums.journal[name] and not sums.newer:
            yield Finding(
                True, f"{name}: the output's sum is {sums.output[name]}, the journal's {sums.journal[name]}"
            )
        stated = opened.totals.get(name)
        if opened.is_parquet and stated != sums.output[name]:
            yield Finding(True, f"{name}: the output's metadata say {stated}, its rows {sums.output[name]}")
    yield from _costs(opened, sums)


def _costs(opened: _Output, sums: _Sums) -> Iterator[Finding]:
    stated = opened.totals.get("cost")
    told = {str(name): _decimal(amount) for name, amount in stated.items()} if isinstance(stated, dict) else {}
    for currency in sorted(sums.output_cost.keys() | sums.journal_cost.keys() | told.keys()):
        rows, journal = sums.output_cost[currency], sums.journal_cost[currency]
        if rows != journal and not sums.newer:
            yield Finding(True, f"cost: the output's sum is {rows:f} {currency}, the journal's {journal:f}")
        if opened.is_parquet and told.get(currency, Decimal(0)) != rows:
            stated_sum = told.get(currency)
            yield Finding(
                True, f"cost: the output's metadata say {stated_sum or 0:f} {currency}, its rows {rows:f}"
            )


@dataclass(frozen=True, slots=True)
class _Output:
    """An output that is read back: the names that its columns of the answer have, and its metadata's totals."""

    path: Path
    names: dict[str, str]
    totals: dict[str, object]
    is_parquet: bool

    @classmethod
    def open(cls, path: Path, taken: set[str]) -> _Output:
        names = {name: PREFIX + name if name in taken else name for name in COMPARED}
        if path.suffix.lower() != ".parquet":
            return cls(path, names, {}, False)
        there, text = storage.parquet_footer(path, METADATA_KEY)
        if missing := sorted(set(names.values()) - set(there)):
            raise InputError(f"{path} has no column {', '.join(missing)}.")
        facts = parse(text or "{}")
        totals = facts.get("totals", {}) if isinstance(facts, dict) else {}
        return cls(path, names, dict(totals) if isinstance(totals, dict) else {}, True)

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows in order, by the answer's own names."""
        for rows in self._batches():
            for row in rows:
                said = {name: row.get(column) for name, column in self.names.items()}
                said["cost"] = _decimal(said["cost"])
                yield said

    def _batches(self) -> Iterator[Sequence[dict[str, object]]]:
        if self.is_parquet:
            yield from storage.read_parquet(self.path, list(self.names.values()))
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = parse(line)
                except NotJson:
                    row = None
                if not isinstance(row, dict):
                    raise InputError(f"{self.path}: line {number} is no JSON object.")
                yield [dict(row)]


def _decimal(value: object) -> object:
    """Return an amount as both kinds of output hold it; what is none stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return Decimal(value)
    except InvalidOperation:
        return value


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _short(value: object) -> str:
    text = "empty" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"
