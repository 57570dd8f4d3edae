"""What `status`, `export`, `cancel` and `doctor` print: as lines for people, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.events import ModeShare, Spending
from batch.jsontext import Json, JsonObject, encode_text
from batch.plaintext import printable
from batch.plan.doctor import Finding
from batch.plan.status import RUNNING, Standing
from batch.wording import duration
from batch.writer import Totals

if TYPE_CHECKING:
    from batch.plan.cancelling import Cancelled

# What an attempt's outcome may have cost, in the journal's words and in ours.
_OUTCOMES = {
    "answered": "answered", "not_billed": "surely not billed", "maybe_billed": "maybe billed",
    "billed": "billed, without a usable answer", "expired": "expired", "unknown": "unknown",
    None: "open, in flight or not judged",
}  # fmt: skip


def show_standing(standing: Standing, output: str, *, as_json: bool, list_unknown: bool) -> None:
    """Print how an output stands."""
    if as_json:
        click.echo(encode_text(_standing(standing, output, list_unknown=list_unknown)))
        return
    for line in _lines(standing, output):
        click.echo(printable(line))
    if list_unknown:
        for row in standing.unknown:
            became = {"ok": "answered since", "failed": "failed since", None: "not answered"}[row.status]
            click.echo(printable(f"    {row.row_key}  sent {_time(row.sent_at)}  {became}"))


def _lines(standing: Standing, output: str) -> list[str]:
    run, owner, rows, sums = standing.run, standing.owner, standing.rows, standing.sums
    head = f"{output}: {standing.state}"
    if standing.state == RUNNING:
        head += f" on {owner.get('host')}, process {owner.get('pid')}, since {owner.get('since')}"
        head += f", last heartbeat {owner.get('heartbeat')}"
    elif run is not None and run.ended_at is not None:
        head += f" {_time(run.ended_at)} with exit code {run.exit_code}"
    elif run is not None:
        head += f"; the run began {_time(run.started_at)}, and has no end"
    parts: dict[str, int | None] = {"ok": rows.ok, "failed": rows.failed, "submitted": rows.submitted}
    parts |= {"in flight": rows.in_flight, "pending": rows.pending}
    parts |= {"invalid": rows.invalid}
    lines = [head, "  rows      " + ", ".join(f"{name} {_count(number)}" for name, number in parts.items())]
    lines += [f"            ({rows.note})"] if rows.note else []
    over = "" if standing.over_run is None else f"; {standing.over_run:.2f}/s over the run"
    left = "" if standing.left_s is None else f"; about {standing.left_s / 60:,.0f} min left"
    lines.append(f"  rate      {standing.last_minute:,} in the last minute{over}{left}")
    lines.append(
        f"  tokens    {sums.input_tokens:,} in, {sums.completion_tokens:,} out, {sums.total_tokens:,} in all"
    )
    asked = ", ".join(f"{word} {sums.attempts.get(name, 0):,}" for name, word in _OUTCOMES.items())
    lines.append(f"  attempts  {asked}")
    lines.append(f"  unknown   {len(standing.unknown):,} requests may have been billed unseen")
    return lines + list(_operation_lines(standing)) + list(_money_lines(standing))


def _operation_lines(standing: Standing) -> Iterator[str]:
    if standing.open_operations:
        oldest = (
            "" if standing.oldest_s is None else f"; the oldest was submitted {duration(standing.oldest_s)} ago"
        )
        yield f"  open      {standing.open_operations:,} operations{oldest}"
    for share in standing.modes:
        cost = "" if share.cost is None or not share.cost.currency else f", {share.cost}"
        yield f"  {share.mode:9} {share.answered:,} answers of {share.requests:,} requests in all runs{cost}"


def _money_lines(standing: Standing) -> Iterator[str]:
    for spent in standing.spending:
        if not spent.currency:
            yield f"  cost      unknown for {spent.unpriced:,} requests"
            continue
        apart = (
            f"answers {spent.answers:f}, lost at most {spent.lost:f}, open or in doubt at most {spent.unknown:f}"
        )
        yield f"  cost      {spent.total:f} {spent.currency} in all runs: {apart}"


def _standing(standing: Standing, output: str, *, list_unknown: bool) -> JsonObject:
    run, rows, sums = standing.run, standing.rows, standing.sums
    record: JsonObject | None = None
    if run is not None:
        record = {
            "number": run.run, "started_at": run.started_at, "ended_at": run.ended_at,
            "exit_code": run.exit_code, "version": run.version,
        }  # fmt: skip
    unknown: list[Json] = [
        {"row_key": row.row_key, "sent_at": row.sent_at, "status": row.status} for row in standing.unknown
    ]
    attempts: JsonObject = {name or "open": sums.attempts.get(name, 0) for name in _OUTCOMES}
    found: JsonObject = {
        "event": "status", "time": standing.now, "output": output, "state": standing.state,
        "owner": standing.owner or None, "run": record,
        "rows": {
            "ok": rows.ok, "failed": rows.failed, "submitted": rows.submitted, "in_flight": rows.in_flight,
            "pending": rows.pending, "invalid": rows.invalid, "input": rows.input, "note": rows.note,
        },
        "last_minute": standing.last_minute, "rows_per_s": standing.over_run, "left_s": standing.left_s,
        "input_tokens": sums.input_tokens, "completion_tokens": sums.completion_tokens,
        "total_tokens": sums.total_tokens, "attempts": attempts, "unknown_billed": len(unknown),
        "open_operations": standing.open_operations, "oldest_operation_s": standing.oldest_s,
        "modes": [_mode(share) for share in standing.modes],
        "spending": [_spending(spent) for spent in standing.spending],
    }  # fmt: skip
    return {**found, "unknown": unknown} if list_unknown else found


def _mode(share: ModeShare) -> JsonObject:
    cost = share.cost
    return {
        "mode": share.mode, "requests": share.requests, "answered": share.answered,
        "input_tokens": share.input_tokens, "completion_tokens": share.completion_tokens,
        "cost": None if cost is None else f"{cost.amount:f}", "currency": cost.currency or None if cost else None,
    }  # fmt: skip


def _spending(spent: Spending) -> JsonObject:
    return {
        "currency": spent.currency or None, "answers": f"{spent.answers:f}", "lost": f"{spent.lost:f}",
        "unknown": f"{spent.unknown:f}", "total": f"{spent.total:f}", "unpriced": spent.unpriced,
    }  # fmt: skip


def show_export(target: Path, totals: Totals, *, as_json: bool, quiet: bool) -> None:
    """Print what was written where."""
    if as_json:
        rows: JsonObject = dict(totals.rows)
        click.echo(encode_text({"event": "export", "output": str(target), "rows": rows}))
    elif not quiet:
        told = ", ".join(f"{name} {count:,}" for name, count in totals.rows.items())
        click.echo(printable(f"Wrote {target}: {told}."))


def show_cancelled(found: Cancelled, output: str, *, as_json: bool, quiet: bool) -> None:
    """Print what became of the operations that were open; what is left open is said also with -q, on stderr."""
    if as_json:
        told: JsonObject = {"event": "cancel", "output": output, "open": found.open, "cancelled": found.cancelled}
        told |= {"answered": found.answered, "failed": found.failed, "expired": found.expired}
        told |= {"left": found.left, "reason": found.reason, "exit_code": int(found.exit_code)}
        click.echo(encode_text(told))
        return
    if not found.open:
        if not quiet:
            click.echo(printable(f"{output}: no operation is open; nothing was sent."))
        return
    if not quiet:
        ended = f"had ended: {found.answered:,} with an answer, {found.failed:,} without"
        click.echo(
            printable(
                f"{output}: {found.open:,} operations were open; cancelled {found.cancelled:,}, {ended}, "
                f"expired {found.expired:,}, left {found.left:,}."
            )
        )
    if found.left:
        click.echo(
            printable(f"{output}: {found.left:,} operations are still open: {found.reason.removesuffix('.')}."),
            err=True,
        )


def show_finding(finding: Finding, *, as_json: bool, quiet: bool) -> None:
    """Print one discrepancy or note; notes are left out where only faults were asked for."""
    if as_json:
        click.echo(encode_text({"event": "fault" if finding.fault else "note", "text": finding.text}))
    elif finding.fault or not quiet:
        click.echo(printable(finding.text if finding.fault else f"note: {finding.text}"))


def show_diagnosis(faults: int, notes: int, *, as_json: bool, quiet: bool) -> None:
    """Print how many faults and notes there were."""
    if as_json:
        click.echo(encode_text({"event": "doctor", "faults": faults, "notes": notes}))
    elif not quiet:
        click.echo(f"{faults:,} faults, {notes:,} notes." if faults else f"Nothing is wrong ({notes:,} notes).")


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
