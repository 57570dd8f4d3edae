"""Nights that never were: journals of many requests, with an outage, refusals and a run that was killed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from batch.journal import Intent, Journal, LimitSet, Outcome, Receipt, Result, Write
from batch.jsontext import encode, encode_text
from batch.parsing import Money
from batch.records import NOTHING_CHARGED, Charge, Reply, Status, Usage

HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</svg><script>document.title='owned'</script>",
    "--></style></title><script>document.title='owned'</script>",
    "\u202eevil\u0000\u001b[31m\u2066 text",
)
BEGAN = 1_795_384_800.0
_WORST = Charge(60, 2001, Money(Decimal("0.824"), "RUB"))


@dataclass(slots=True)
class Night:
    """Writes a journal and its input; `texts` are the first rows' questions and answers, and cost most."""

    folder: Path
    rows: int
    hours: float = 8.0
    texts: Sequence[str] = HOSTILE
    asked: str = "service"
    told: dict[str, object] = field(default_factory=dict)
    _writes: list[Write] = field(default_factory=list)
    _attempt: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(5))

    @property
    def output(self) -> Path:
        """Return the output that the journal belongs to; nobody wrote it."""
        return self.folder / "night.parquet"

    def write(self) -> Path:
        """Write everything; the first of two runs is killed, with five requests in flight; returns the output."""
        questions = [*self.texts, *(f"Question {n}?" for n in range(len(self.texts), self.rows))]
        source = self.folder / "night.jsonl"
        messages = ({"id": f"row-{n}", "messages": [{"role": "user", "text": q}]} for n, q in enumerate(questions))
        source.write_text("".join(json.dumps(row) + "\n" for row in messages), encoding="utf-8")
        told = {"inputs": [str(source)], "names": [source.name], "model": "yandexgpt", "id_column": "id"}
        journal = Journal.begin(self.folder / "night.parquet.journal", self.asked)
        settings = encode_text({**told, **self.told})  # type: ignore[dict-item]
        journal.begin_run(BEGAN, "0.0", settings)
        half, at = self.rows // 2, self._rows(journal, BEGAN, range(self.rows // 2))
        for n in range(half, half + 5):
            self._intent(journal, f"row-{n}", 1, at)
        self._flush(journal)
        journal.note_unknown()
        journal.begin_run(at + 5 * 3600, "0.0", settings)
        at = self._rows(journal, at + 5 * 3600, range(half, self.rows))
        journal.end_run(at + 60, 3)
        journal.close()
        return self.output

    def _rows(self, journal: Journal, at: float, numbers: range) -> float:
        limit, mean = 4, self.hours * 3600 / self.rows
        began = at
        for n in numbers:
            at += self._random.expovariate(1 / mean)
            if self._random.random() < 0.05:
                refused = self._random.random() < 0.4
                limit = max(2, limit * 4 // 5) if refused else limit + 1
                self._writes.append(LimitSet(journal.run, at, "requests at once", limit))
            outage = 0.4 < (at - began) / (self.hours * 1800) < 0.45
            self._row(journal, n, at, self._random.random() < (0.8 if outage else 0.03))
            if len(self._writes) > 4000:
                self._flush(journal)
        self._flush(journal)
        return at

    def _row(self, journal: Journal, n: int, at: float, lost: bool) -> None:
        key, number = f"row-{n}", 1
        if lost and n >= len(self.texts):
            code, outcome, charge = self._random.choice(
                [("HTTP_429", "not_billed", NOTHING_CHARGED), ("HTTP_503", "not_billed", NOTHING_CHARGED)] * 2
                + [("READ_TIMEOUT", "maybe_billed", None), ("<b>ODD</b>", "maybe_billed", None)]
            )
            self._intent(journal, key, 1, at)
            self._writes.append(Outcome(self._attempt, outcome, code, charge))
            if self._random.random() < 0.1:
                wrong = (code, "It is <i>busy</i>.", None, at + 1)
                self._writes.append(Result(key, self._attempt, Status.FAILED, 1, Usage(), *wrong))
                return
            number, at = 2, at + 5
        self._intent(journal, key, number, at)
        self._answer(n, key, number, at)

    def _intent(self, journal: Journal, key: str, number: int, at: float) -> None:
        self._attempt += 1
        asked = (self._attempt, key, number, at, journal.run, "yandexgpt", None, "sync")
        self._writes.append(Intent(*asked, _WORST))

    def _answer(self, n: int, key: str, number: int, at: float) -> None:
        given, taken = self._random.randint(20, 60), int(self._random.lognormvariate(5, 0.6)) + 1
        cost = Money(Decimal(9 if n < len(self.texts) else 0) + Decimal(given + taken) / 2500, "RUB")
        text = self.texts[n] if n < len(self.texts) else "Yes."
        usage = {"inputTextTokens": str(given), "completionTokens": str(taken), "totalTokens": str(given + taken)}
        said = {"message": {"role": "assistant", "text": text}, "status": "ALTERNATIVE_STATUS_FINAL"}
        body = encode({"result": {"alternatives": [said], "usage": usage, "modelVersion": "1"}})  # type: ignore[dict-item]
        took = self._random.lognormvariate(0.9, 0.5)
        counts = Usage(given, taken, 0, given + taken)
        self._writes += [
            Receipt(self._attempt, Reply(200, body), at + took, took),
            Outcome(self._attempt, "answered", None, Charge(given, taken, cost)),
            Result(key, self._attempt, Status.OK, number, counts, None, None, took, at + took, cost),
        ]

    def _flush(self, journal: Journal) -> None:
        journal.apply(self._writes)
        self._writes = []
