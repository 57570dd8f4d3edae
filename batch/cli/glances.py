"""What `status`, `export` and `doctor` print: as lines for people, or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from batch.jsontext import Json, JsonObject, encode_text
from batch.plaintext import printable
from batch.plan.doctor import Finding
from batch.plan.status import RUNNING, Standing
from batch.writer import Totals

# What an attempt's outcome may have cost, in the journal's words and in ours.
_OUTCOMES = {
    "answered": "answered", "not_billed": "surely not billed", "maybe_billed": "maybe billed",
    "billed": "billed, without a usable answer", "unknown": "unknown", None: "in flight or not judged",
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
    parts = {"ok": rows.ok, "failed": rows.failed, "in flight": rows.in_flight, "pending": rows.pending}
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
    return lines


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
            "ok": rows.ok, "failed": rows.failed, "in_flight": rows.in_flight, "pending": rows.pending,
            "invalid": rows.invalid, "input": rows.input, "note": rows.note,
        },
        "last_minute": standing.last_minute, "rows_per_s": standing.over_run, "left_s": standing.left_s,
        "input_tokens": sums.input_tokens, "completion_tokens": sums.completion_tokens,
        "total_tokens": sums.total_tokens, "attempts": attempts, "unknown_billed": len(unknown),
    }  # fmt: skip
    return {**found, "unknown": unknown} if list_unknown else found


def show_export(target: Path, totals: Totals, *, as_json: bool, quiet: bool) -> None:
    """Print what was written where."""
    if as_json:
        rows: JsonObject = dict(totals.rows)
        click.echo(encode_text({"event": "export", "output": str(target), "rows": rows}))
    elif not quiet:
        told = ", ".join(f"{name} {count:,}" for name, count in totals.rows.items())
        click.echo(printable(f"Wrote {target}: {told}."))


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
