"""The compact summary: lines for a terminal, and the same numbers as one JSON object."""

from __future__ import annotations

import re
from collections.abc import Sequence

from batch.events import Spending
from batch.jsontext import Json, JsonObject
from batch.parsing import Money
from batch.report.facts import Facts, Spread
from batch.report.words import THIN, amount, decimal, duration, money, number, seconds, share

_KINDS_SHOWN = 8
_DIGITS_APART = re.compile(rf"(?<=\d){THIN}(?=\d)")  # on a terminal by commas, as every other command does it


def lines(facts: Facts) -> list[str]:
    """Return the summary for people; texts in it are not made printable yet."""
    emulated = "; EMULATED, the answers are made up" if facts.emulated else ""
    told = [f"{facts.output}: {facts.state}{emulated}"]
    told.append(_line("rows", ", ".join(f"{name} {_count(count)}" for name, count in facts.rows.items())))
    if facts.note:
        told.append(_line("", f"({facts.note})"))
    told += [_line("cost", _cost(line, facts.max_cost)) for line in facts.spending] or [_line("cost", "nothing")]
    given, taken = number(facts.input_tokens), number(facts.completion_tokens)
    told.append(_line("tokens", f"{given} in, {taken} out, {number(facts.total_tokens)} in all{_cap(facts)}"))
    told += [_line("estimate", text) for text in _estimate(facts)]
    rate = facts.rows_per_hour
    pace = "" if rate is None else f", {number(round(rate))} rows an hour"
    runs = f"{number(len(facts.runs))} run{'' if len(facts.runs) == 1 else 's'}"
    told.append(_line("duration", f"{duration(facts.duration_s)} in {runs}{pace}"))
    if facts.latency is not None:
        told.append(_line("latency", _spread([seconds(value) for value in _values(facts.latency)])))
    if facts.lengths is not None:
        told.append(_line("answers", _spread([decimal(value) for value in _values(facts.lengths)]) + " tokens"))
    said = f"{number(facts.requests)} requests, {number(facts.retries)} of them retries; {number(facts.lost)} lost"
    told.append(_line("requests", said + (f", {number(facts.in_flight)} open" if facts.in_flight else "")))
    told += _errors(facts)
    return [_DIGITS_APART.sub(",", line).replace(THIN, " ") for line in told]


def _line(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _count(count: int | None) -> str:
    return "?" if count is None else number(count)


def _cost(line: Spending, cap: Money | None) -> str:
    if not line.currency:
        return f"unknown for {number(line.unpriced)} requests: no price was known"
    said = f"answers {amount(line.answers)}"
    said += f", lost at most {amount(line.lost)}" if line.lost else ""
    said += f", end unseen at most {amount(line.unknown)}" if line.unknown else ""
    said += f", in all {money(line.total, line.currency)}"
    if cap is not None and cap.currency == line.currency:
        said += f" of {money(cap.amount, cap.currency)} ({share(float(line.total), float(cap.amount))})"
    return said


def _cap(facts: Facts) -> str:
    return "" if facts.max_total_tokens is None else f"; the cap is {number(facts.max_total_tokens)}"


def _estimate(facts: Facts) -> list[str]:
    told = []
    if (known := facts.estimated) is not None:
        counts = f"{number(known.estimated)} input tokens estimated, {number(known.stated)} stated"
        told.append(f"{counts} ({known.off_percent:+.1f} %)")
        if known.cost is not None and known.charged is not None:
            before, came = (money(item.amount, item.currency) for item in (known.cost, known.charged))
            told.append(f"{before} would have been estimated beforehand, {came} came")
    if (needs := facts.needs) is not None:
        cost = (
            "at a cost unknown" if needs.cost is None else f"about {money(needs.cost.amount, needs.cost.currency)}"
        )
        told.append(f"{number(needs.rows)} rows are left: {cost}")
    return told


def _values(spread: Spread) -> Sequence[float]:
    return (spread.p50, spread.p95, spread.p99, spread.highest)


def _spread(values: Sequence[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(("p50", "p95", "p99", "max"), values, strict=True))


def _errors(facts: Facts) -> list[str]:
    told: list[str] = []
    for loss in facts.losses[:_KINDS_SHOWN]:
        said = f"{number(loss.attempts)} {loss.error_code} ({loss.outcome.replace('_', ' ')}): "
        said += f"{number(loss.asked_again)} asked again, {number(loss.rows_failed)} rows given up"
        told.append(_line("" if told else "errors", said))
    if (more := len(facts.losses) - _KINDS_SHOWN) > 0:
        told.append(_line("", f"and {number(more)} other kinds"))
    return told


def record(facts: Facts) -> JsonObject:
    """Return the summary as one JSON object, the event `report`.

    Money stands as decimal text beside its currency; times are seconds since 1970 (UTC), lengths of time and
    latencies seconds, lengths of answers tokens; null is what is not known.
    """
    runs: list[Json] = [
        {
            "run": run.run, "started_at": run.started_at, "until": run.until, "state": run.state,
            "exit_code": run.exit_code,
        }
        for run in facts.runs
    ]  # fmt: skip
    losses: list[Json] = [
        {
            "error_code": loss.error_code, "outcome": loss.outcome, "requests": loss.attempts,
            "asked_again": loss.asked_again, "rows_failed": loss.rows_failed,
        }
        for loss in facts.losses
    ]  # fmt: skip
    known, needs, rate = facts.estimated, facts.needs, facts.rows_per_hour
    estimated: JsonObject | None = None
    if known is not None:
        estimated = {"rows": known.rows, "estimated": known.estimated, "stated": known.stated}
        for name, item in (("cost", known.cost), ("charged", known.charged)):
            estimated[name] = None if item is None else {"amount": f"{item.amount:f}", "currency": item.currency}
    left: JsonObject | None = None
    if needs is not None:
        left = {
            "rows": needs.rows, "input_tokens": needs.input_tokens, "completion_tokens": needs.completion_tokens,
            "cost": _money(needs.cost), "at_most": _money(needs.at_most),
        }  # fmt: skip
    return {
        "event": "report", "output": facts.output, "time": facts.now, "state": facts.state,
        "emulated": facts.emulated, "version": facts.version, "model": facts.model, "runs": runs,
        "duration_s": facts.duration_s, "rows": dict(facts.rows), "note": facts.note, "rows_per_hour": rate,
        "input_tokens": facts.input_tokens, "completion_tokens": facts.completion_tokens,
        "total_tokens": facts.total_tokens, "spending": [_spending(line) for line in facts.spending],
        "max_cost": _money(facts.max_cost), "max_total_tokens": facts.max_total_tokens,
        "requests": facts.requests, "retries": facts.retries, "lost": facts.lost, "open": facts.in_flight,
        "unknown_billed": facts.unknown, "errors": losses, "latency_s": _quantiles(facts.latency),
        "answer_tokens": _quantiles(facts.lengths), "finish_reasons": dict(facts.finished_by),
        "estimated": estimated, "needs": left,
    }  # fmt: skip


def _quantiles(spread: Spread | None) -> Json:
    if spread is None:
        return None
    return {"p50": spread.p50, "p95": spread.p95, "p99": spread.p99, "max": spread.highest}


def _spending(line: Spending) -> Json:
    return {
        "currency": line.currency or None, "answers": f"{line.answers:f}", "lost": f"{line.lost:f}",
        "unknown": f"{line.unknown:f}", "total": f"{line.total:f}", "unpriced": line.unpriced,
    }  # fmt: skip


def _money(value: Money | None) -> Json:
    return None if value is None else {"amount": f"{value.amount:f}", "currency": value.currency}
