"""The report's tables: errors by kind, the most expensive rows, and those that failed."""

from __future__ import annotations

from collections.abc import Sequence

from batch.report.facts import Entry, Facts
from batch.report.html import Node, Safe, cut, joined, tag
from batch.report.words import money, number, seconds, share

# Bytes of markup: 90 rows with two texts each stay well below a megabyte.
_TEXT_BYTES, _NAME_BYTES, _GLANCE = 2600, 400, 90
_BILLED = {
    "not_billed": "not billed", "maybe_billed": "maybe billed", "billed": "billed", "unknown": "end unseen",
}  # fmt: skip


def errors(facts: Facts) -> Safe:
    """Return the table of errors and retries by kind."""
    most = max(loss.attempts for loss in facts.losses)
    rows = [
        tag(
            "tr",
            tag("td", _limited(loss.error_code, _NAME_BYTES), class_="key"),
            tag("td", _BILLED.get(loss.outcome, loss.outcome)),
            _figure("requests", number(loss.attempts)),
            tag("td", tag("i", style=f"width:{100 * loss.attempts / most:.1f}%"), class_="bar"),
            _figure("asked again", number(loss.asked_again)),
            _figure("rows given up", number(loss.rows_failed)),
        )
        for loss in facts.losses[:40]
    ]
    head = _head("kind", "billed?", "#requests", "", "#asked again", "#rows given up")
    return tag("div", tag("table", head, tag("tbody", *rows), class_="rows"), class_="card")


def expensive(facts: Facts) -> Safe:
    """Return the table of the rows that cost most."""
    rows = [
        tag(
            "tr",
            _key(entry),
            _figure("cost", _cost(entry)),
            _figure("in", _count(entry.row.input_tokens)),
            _figure("out", _count(entry.row.completion_tokens)),
            _figure("took", "–" if entry.row.latency_s is None else seconds(entry.row.latency_s)),
            _texts(entry),
        )
        for entry in facts.expensive
    ]
    head = _head("row", "#cost", "#tokens in", "#out", "#took", "question and answer")
    return tag("div", tag("table", head, tag("tbody", *rows), class_="rows"), class_="card")


def failed(facts: Facts) -> Safe:
    """Return the table of the rows that have no answer."""
    rows = []
    for entry in facts.failed:
        code = _limited(entry.row.error_code or "", _NAME_BYTES)
        said = _limited(entry.row.error_message or "", _NAME_BYTES * 2)
        why = tag("td", tag("span", code, class_="code"), tag("small", tag("bdi", said)))
        rows.append(tag("tr", _key(entry), why, _figure("attempts", number(entry.row.attempts)), _texts(entry)))
    head = _head("row", "what went wrong", "#attempts", "question")
    return tag("div", tag("table", head, tag("tbody", *rows), class_="rows"), class_="card")


def dearest_share(facts: Facts) -> str:
    """Return what the most expensive rows are of the whole cost, in words; empty where no price is known."""
    said = []
    for line in facts.spending:
        costs = [entry.row.cost for entry in facts.expensive if entry.row.cost is not None]
        own = [cost.amount for cost in costs if cost.currency == line.currency]
        if line.currency and own and line.answers:
            part = share(float(sum(own)), float(line.answers))
            said.append(f"These {len(own)} rows cost {part} of what all answers cost in {line.currency}.")
    return " ".join(said)


def _head(*names: str) -> Safe:
    cells = (tag("th", name.removeprefix("#"), class_="n" if name.startswith("#") else None) for name in names)
    return tag("thead", tag("tr", *cells))


def _figure(name: str, text: str) -> Safe:
    return tag("td", text, class_="n", data_name=name)


def _key(entry: Entry) -> Safe:
    where = tag("small", tag("bdi", _limited(entry.where, _NAME_BYTES))) if entry.where else None
    return tag("td", tag("bdi", _limited(entry.row.row_key, _NAME_BYTES)), where, class_="key")


def _texts(entry: Entry) -> Safe:
    parts: list[Node] = []
    for who, text in (("question", entry.question), ("answer", entry.answer)):
        if text:
            parts += [
                tag("p", who, class_="who"),
                tag("p", _limited(text, _TEXT_BYTES), class_="text", dir="auto"),
            ]
    if not parts:
        return tag("td", "–", class_="texts")
    glance = " ".join((entry.question or entry.answer).split())
    short = glance if len(glance) <= _GLANCE else glance[: _GLANCE - 1] + "…"
    return tag("td", tag("details", tag("summary", tag("bdi", short)), joined(*parts)), class_="texts")


def _limited(text: str, most: int) -> str:
    shown, left = cut(text, most)
    return f"{shown}… ({number(left)} characters more)" if left else shown


def _cost(entry: Entry) -> str:
    cost: Sequence[str] = [] if entry.row.cost is None else [money(entry.row.cost.amount, entry.row.cost.currency)]
    return cost[0] if cost else "unknown"


def _count(value: int | None) -> str:
    return "–" if value is None else number(value)
