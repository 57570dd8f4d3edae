"""How an estimate is printed: as a table for people, or as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click

from batch.cli.tables import show
from batch.jsontext import Json, JsonObject, encode_text
from batch.plan.estimation.estimates import Asked, CapOutlook, Cost, Estimate, Mode, ModelTokens, Span, Tokens
from batch.plan.estimation.schedule import BOTH, Schedule
from batch.pricing import money, short_name

_NO_DEADLINE = "needs to know by when: set --stop-at or --max-duration"
_ROWS_END = 28  # where the first column of numbers ends
_SET_PRICE = "set --price-input and --price-output, or state it in a file for --prices"


def show_estimate(estimate: Estimate, *, as_json: bool, quiet: bool) -> None:
    """Print an estimate on stdout; `quiet` leaves one line of it."""
    if as_json:
        click.echo(encode_text({"event": "estimate", **estimate_fields(estimate)}))
        return
    show([_one_line(estimate)] if quiet else estimate_lines(estimate))


# -- for people


def estimate_lines(estimate: Estimate) -> list[str]:
    """Return the lines of an estimate's table; of nothing to send there is nothing to say."""
    if not estimate.rows.to_send:
        return [*_rows_lines(estimate), "Nothing to send."]
    return [
        *_rows_lines(estimate),
        *_token_lines(estimate),
        *_model_lines(estimate.models),
        *_cost_lines(estimate),
        *_time_lines(estimate),
        *_cap_lines(estimate.caps),
    ]


def _one_line(estimate: Estimate) -> str:
    given, taken = estimate.input.span.expected, estimate.completion.span.expected
    mode = estimate.own
    cost = " and ".join(f"{money(item.expected, item.currency)}" for item in mode.costs) or "0"
    return (
        f"{estimate.rows.to_send:,} rows, {given:,} tokens in, {taken:,} out; {mode.mode}: "
        f"{cost if mode.is_known else 'cost unknown'}, {hours(mode.schedule.seconds[1])}"
    )


def _rows_lines(estimate: Estimate) -> Iterator[str]:
    rows = estimate.rows
    others = {
        "invalid": rows.invalid,
        "answered before": rows.answered,
        "equal to another": rows.duplicates,
        "beyond --max-rows": rows.held_back,
    }
    told = [f"{count:,} {name}" for name, count in others.items() if count]
    yield f"Rows      {rows.to_send:,} of {rows.total:,} to send{''.join(f', {text}' for text in told)}"
    if rows.invalid:
        yield "          chatbatch check says what is wrong with the invalid ones"
    for asked, what in ((estimate.exact, "counted by the tokenizer"), (estimate.pilot, "sent as a pilot")):
        if asked is not None:
            failed = f", {asked.failed:,} without an answer" if asked.failed else ""
            yield f"          {asked.rows:,} rows were {what}{failed}, in {asked.seconds:,.1f} s"
    if estimate.emulated:
        yield "          EMULATED: this rests on answers that were made up, and came at once"


def _token_lines(estimate: Estimate) -> Iterator[str]:
    yield f"{'Tokens':<10}{'low':>18}{'expected':>18}{'high':>18}"
    for name, tokens in (("input", estimate.input), ("answers", estimate.completion)):
        yield f"  {name:<8}{_numbers(tokens.span)}"
    for name, tokens in (("input", estimate.input), ("answers", estimate.completion)):
        yield f"  {name}: {_based(tokens)}"


def _based(tokens: Tokens) -> str:
    return tokens.basis if tokens.basis.startswith(tokens.grade) else f"{tokens.grade}: {tokens.basis}"


def _numbers(span: Span) -> str:
    return f"{span.low:>18,}{span.expected:>18,}{span.high:>18,}"


def _model_lines(models: Sequence[ModelTokens]) -> Iterator[str]:
    if len(models) < 2:
        return
    yield f"{'Models':<10}{'rows':>18}{'input':>18}{'answers':>18}"
    for item in models:
        name, rows = f"  {short_name(item.model)}", f"{item.rows:,}"
        if len(name) + len(rows) >= _ROWS_END:
            yield name
            name = ""
        yield f"{name}{rows:>{_ROWS_END - len(name)}}{item.input.expected:>18,}{item.completion.expected:>18,}"


def _cost_lines(estimate: Estimate) -> Iterator[str]:
    modes = estimate.modes
    yield f"{'Cost':<10}{'low':>18}{'expected':>18}{'high':>18}{'at most':>18}"
    for mode in modes:
        if not mode.is_known:
            names = ", ".join(short_name(model) for model in mode.unpriced)
            yield f"  {mode.mode:<8}{'unknown':>18}  no price of {names} in this mode; {_SET_PRICE}"
        for cost in mode.costs if mode.is_known else ():
            amounts = (cost.low, cost.expected, cost.high, cost.most)
            yield f"  {mode.mode:<8}" + "".join(f"{money(amount, cost.currency):>18}" for amount in amounts)
        if mode.is_known and not mode.costs:
            yield f"  {mode.mode:<8}nothing to pay for"
    if estimate.mode != estimate.own.mode:
        yield f"  {estimate.mode:<8}{_NO_DEADLINE}"
    if dates := [mode.dated for mode in modes if mode.dated]:
        yield f"  prices as of {min(dates)}; chatbatch prices shows them"


def _time_lines(estimate: Estimate) -> Iterator[str]:
    yield "Time"
    for mode in estimate.modes:
        schedule = mode.schedule
        low, expected, high = (hours(seconds) for seconds in schedule.seconds)
        span = expected if low == high else f"{expected} ({low} to {high})"
        yield f"  {mode.mode:<8}{span}, bound by {schedule.binding}"
        if len(mode.rows) > 1:
            parts = [f"{count:,} rows {name}" for name, count in mode.rows.items() if count]
            parts += [f"{schedule.left:,} left, whose cost is not counted"] if schedule.left else []
            yield f"          {', '.join(parts)}"
        for limit, count in schedule.used:
            yield f"          earlier runs have used {count:,} of {limit}"
        yield from (f"          {line}" for line in _verdict(schedule))
    yield f"  an answer takes {estimate.latency_basis}"


def _verdict(schedule: Schedule) -> Iterator[str]:
    by = f"in time for {clock_time(schedule.deadline.at)} ({schedule.deadline.name})"
    if schedule.in_time:
        yield f"begun now, done at about {clock_time(schedule.done_at)}"
        yield f"{by}: yes"
        return
    if schedule.mode != BOTH:  # those that are left would never be sent
        yield f"begun now, done at about {clock_time(schedule.done_at)}"
    yield f"{by}: no, {schedule.left:,} rows would be left"
    yield f"to be in time it needs {schedule.needed}"


def _cap_lines(caps: Sequence[CapOutlook]) -> Iterator[str]:
    if caps:
        yield "Budget"
    for cap in caps:
        head = f"  {cap.cap} ({cap.left} left)"
        if cap.suffices:
            yield f"{head}: suffices for all {cap.to_send:,} rows" + _at_worst(cap)
        else:
            share = 100 * cap.rows.expected / cap.to_send
            yield f"{head}: enough for {cap.rows.expected:,} of {cap.to_send:,} rows ({share:.0f} %)" + _at_worst(
                cap
            )


def _at_worst(cap: CapOutlook) -> str:
    if cap.rows.low == cap.rows.high:
        return ""
    return f"; {cap.rows.low:,} with high need, {cap.rows.high:,} with low"


def hours(seconds: float) -> str:
    """Return a duration for people: `40 s`, `12 min`, `7 h 5 min`, `3 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440:,} d {minutes % 1440 // 60} h"


def clock_time(at: float) -> str:
    """Return a moment in the machine's time zone: `Tue 24 Nov 03:40`."""
    return datetime.fromtimestamp(at).astimezone().strftime("%a %d %b %H:%M")


# -- for programs


def estimate_fields(estimate: Estimate) -> JsonObject:
    """Return an estimate as JSON; money as decimal text, seconds as numbers, moments in ISO 8601 (UTC)."""
    rows = estimate.rows
    return {
        "files": list(estimate.files),
        "mode": estimate.mode,
        "emulated": estimate.emulated,
        "rows": {
            "total": rows.total,
            "valid": rows.valid,
            "invalid": rows.invalid,
            "answered": rows.answered,
            "duplicates": rows.duplicates,
            "held_back": rows.held_back,
            "to_send": rows.to_send,
        },
        "input_tokens": _tokens(estimate.input),
        "completion_tokens": _tokens(estimate.completion),
        "models": [_model(item) for item in estimate.models],
        "modes": {mode.mode: _mode(mode) for mode in estimate.modes},
        "latency_basis": estimate.latency_basis,
        "caps": [_cap(cap) for cap in estimate.caps],
        "exact": _asked(estimate.exact),
        "pilot": _asked(estimate.pilot),
    }


def _span(span: Span) -> JsonObject:
    return {"low": span.low, "expected": span.expected, "high": span.high}


def _tokens(tokens: Tokens) -> JsonObject:
    return {**_span(tokens.span), "grade": tokens.grade, "basis": tokens.basis}


def _model(item: ModelTokens) -> JsonObject:
    return {
        "model": item.model,
        "rows": item.rows,
        "input_tokens": _span(item.input),
        "completion_tokens": _span(item.completion),
        "most_input_tokens": item.most_input,
        "most_completion_tokens": item.most_completion,
    }


def _mode(mode: Mode) -> JsonObject:
    schedule = mode.schedule
    costs: list[Json] = [_cost(cost) for cost in mode.costs]
    return {
        "cost": costs if mode.is_known else None,
        "unpriced": list(mode.unpriced),
        "rows": dict(mode.rows),
        "prices_dated": mode.dated or None,
        "seconds": dict(zip(("low", "expected", "high"), schedule.seconds, strict=True)),
        "latency_s": schedule.latency_s,
        "binding_limit": schedule.binding,
        "done_at": _moment(schedule.done_at),
        "deadline": _moment(schedule.deadline.at),
        "deadline_from": schedule.deadline.name,
        "in_time": schedule.in_time,
        "rows_left": schedule.left,
        "needed": schedule.needed or None,
        "used": [{"limit": limit, "requests": count} for limit, count in schedule.used],
    }


def _cost(cost: Cost) -> JsonObject:
    amounts = {"low": cost.low, "expected": cost.expected, "high": cost.high, "at_most": cost.most}
    return {"currency": cost.currency, **{name: f"{amount:f}" for name, amount in amounts.items()}}


def _cap(cap: CapOutlook) -> JsonObject:
    return {"cap": cap.cap, "left": cap.left, "rows": _span(cap.rows), "suffices": cap.suffices}


def _asked(asked: Asked | None) -> Json:
    return {"rows": asked.rows, "failed": asked.failed, "seconds": asked.seconds} if asked else None


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
