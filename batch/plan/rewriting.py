"""The output written again from the journal and the input: nothing is sent, and no journal is written.

Inputs and settings are those that the last run wrote down (`ending.told`). Receipts that a run has not judged
yet are judged in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batch import pricing, storage
from batch.accounts import Accounts
from batch.attempts import answered
from batch.errors import AttemptFailed, ChatbatchError, OutputHeld, UsageError
from batch.journal import Inspection, RunRecord, Stored, is_held
from batch.jsontext import Json, JsonObject, NotJson, parse
from batch.plan.exporting import Join
from batch.plan.feeding import RowNames
from batch.plan.opening import Input, defaults, journal_of, open_input
from batch.plan.portions import Portion
from batch.providers import judge_of, models_of
from batch.readers import open_reader
from batch.records import Answer, KeyedChunk
from batch.settings import Layer, Settings, Value, resolve
from batch.writer import Judge, Layout, Totals, check_name, write

# What decides which rows there are, how they are known, and what the output says of them.
_TEXTS = (
    "provider", "model", "folder", "prompt_column", "id_column", "prices", "price_input",
    "price_output", "currency",
)  # fmt: skip
_VERBATIM = ("system", "template")  # were read from a file already where the user wrote @FILE
_NUMBERS = ("temperature", "max_tokens")
_SWITCHES = ("dedupe", "emulate", "only_new")


@dataclass(frozen=True, slots=True)
class Remembered:
    """A run's inputs, how the user named them, its settings, and the record they come from."""

    settings: Settings
    inputs: Sequence[str]
    names: Sequence[str]
    told: JsonObject

    @classmethod
    def of(cls, journal: Inspection) -> Remembered:
        """Return what the last run of a journal wrote down; raises `ChatbatchError` saying what is missing."""
        runs = journal.runs()
        if not runs:
            raise ChatbatchError(f"The journal {journal.path} knows of no run: it ended before it began.")
        return cls._read(runs[-1])

    @classmethod
    def _read(cls, run: RunRecord) -> Remembered:
        try:
            told = parse(run.settings)
        except NotJson:
            told = None
        if not isinstance(told, dict):
            raise _lost(run, "any settings")
        inputs = _texts(run, told, "inputs")
        names = _texts(run, told, "names") if "names" in told else inputs
        return cls(_settings(run, told), inputs, names, told)

    def open(self) -> Input:
        """Open the inputs; raises `InputError` with the path of one that is gone."""
        source = open_input(self.settings, self.inputs)
        named = dict(zip(self.inputs, self.names, strict=False))
        files = [replace(item, name=named.get(item.name, item.name)) for item in source.files]
        return Input(files, source.mapping, open_reader(files, source.mapping))


def _lost(run: RunRecord, what: str) -> ChatbatchError:
    return ChatbatchError(
        f"The record of run {run.run} (chatbatch {run.version}) does not hold {what}.",
        hint="chatbatch run with the same inputs and settings writes the output; answered rows are not sent.",
    )


def _texts(run: RunRecord, told: JsonObject, name: str) -> list[str]:
    items = told.get(name, [] if name == "keep" else None)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _lost(run, f"its {name}")
    return [str(item) for item in items]


def _settings(run: RunRecord, told: JsonObject) -> Settings:
    values: dict[str, Value] = {"keep": tuple(_texts(run, told, "keep"))}
    for name in (*_TEXTS, *_NUMBERS, *_VERBATIM, *_SWITCHES):
        if name in told and not _fits(name, told[name]):
            raise _lost(run, f"its {name} as it was")
    for name in (*_TEXTS, *_NUMBERS):
        if name in told:
            values[name] = str(told[name])
    settings = resolve([Layer("journal", values)]).settings
    return replace(
        settings,
        system=_verbatim(told.get("system")),
        template=_verbatim(told.get("template")),
        dedupe=told.get("dedupe") is True,
        emulate=told.get("emulate") is True,
        only_new=told.get("only_new") is True,
    )


def _fits(name: str, value: Json) -> bool:
    if name in _SWITCHES:
        return isinstance(value, bool)
    if name in _NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _verbatim(value: Json) -> str | None:
    return value if isinstance(value, str) else None


class Settled:
    """A journal's answers as if every receipt had been judged; holds as many as nobody has judged yet."""

    def __init__(self, journal: Inspection, judge: Judge, open_accounts: Callable[[], Accounts]) -> None:
        self._journal = journal
        self.judged: dict[str, Stored] = {}
        accounts: Accounts | None = None
        for item in journal.waiting():
            receipt = item.receipt
            accounts = accounts or open_accounts()
            try:
                completion = judge(receipt.reply)
            except AttemptFailed:
                continue
            charge = accounts.actual(item.model, item.mode, completion.usage)
            times = (receipt.latency_s, receipt.received_at)
            result = answered(item.row_key, item.attempt, item.number, completion, *times, charge)
            self.judged[item.row_key] = Stored(result, receipt.reply, item.model, item.content)

    def fact(self, name: str) -> str:
        """Return a lasting fact about the journal."""
        return self._journal.fact(name)

    def results(self, row_keys: Sequence[str]) -> dict[str, Stored]:
        """Return the results of rows, with those of receipts that were judged here."""
        found = self._journal.results(row_keys)
        for key in row_keys:
            judged, known = self.judged.get(key), found.get(key)
            if judged is not None and (known is None or known.result.attempt < judged.result.attempt):
                found[key] = judged
        return found


def joined(remembered: Remembered, source: Input, journal: Inspection, output: str | None = None) -> Join:
    """Return the input's rows with what the journal holds of them, its last receipts judged.

    Where several outputs share the journal, the rows of one: of `output`, or of the last run's.
    """
    settings = remembered.settings
    judge = judge_of(settings)
    names = RowNames(models_of(settings, settings.folder).identity, by_id=settings.id_column is not None)
    settled = Settled(journal, judge, lambda: Accounts(pricing.load(settings), names.identity))
    join = Join(source.reader, defaults(settings), names, settled, judge, settings.dedupe)
    if settings.only_new:
        at = output or str(remembered.told.get("output"))
        join.portion = Portion.of(journal.runs(), at, time.time(), lambda _marks: None)
    return join


def rewrite(output: Path, journal_path: Path, other: Path | None) -> tuple[Path, Totals]:
    """Write the output, or `other`, again; returns where, and what it holds.

    Raises `OutputHeld` where a run holds what would be written, `InputError` where an input is gone.
    """
    target = other or output
    check_name(target)
    held = _held_by(output, journal_path, target)
    _refuse_held(held)
    journal = Inspection.open(journal_path)
    try:
        with journal.snapshot():
            remembered = Remembered.of(journal)
            source = remembered.open()
            if target.resolve() in {item.path.resolve() for item in source.files}:
                raise UsageError(f"{target} is an input of the run; name another file with -o.")
            storage.check_folder(target)
            storage.ready_folder(target)
            layout = Layout.of(source.reader.columns, remembered.settings.keep)
            rows = _unless_held(joined(remembered, source, journal, str(output)).rows(), held)
            facts: JsonObject = {
                "chatbatch": journal.runs()[-1].version,
                "settings": remembered.told,
                "emulated": remembered.settings.emulate,
            }
            return target, write(target, layout, rows, facts, owned=False)
    finally:
        journal.close()


def _held_by(output: Path, journal_path: Path, target: Path) -> list[Path]:
    """Return the journals whose run would write the target too; raises `UsageError` for somebody else's output."""
    if target.resolve() == output.resolve():
        return [journal_path, journal_of(output)]
    beside = journal_of(target)
    if beside.exists() and beside.resolve() != journal_path.resolve():
        raise UsageError(f"{target} is the output of another journal; name another file with -o.")
    return [beside]


def _refuse_held(journals: Sequence[Path]) -> None:
    if any(is_held(path) for path in journals):
        raise OutputHeld(
            "A run is going on, and writes this output when it ends.",
            hint="Write what there is so far elsewhere, such as -o so-far.parquet.",
        )


def _unless_held(
    rows: Iterator[tuple[KeyedChunk, Sequence[Answer]]], journals: Sequence[Path]
) -> Iterator[tuple[KeyedChunk, Sequence[Answer]]]:
    """Yield the rows; raises at their end where a run began meanwhile, whose output is not to be replaced."""
    yield from rows
    _refuse_held(journals)
