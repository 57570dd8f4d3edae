"""What commands print on stdout when a report was asked for: as lines for people, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import click

from batch.cli.forecast import estimate_fields, estimate_lines
from batch.cli.tables import show
from batch.errors import ExitCode
from batch.jsontext import Json, JsonObject, encode_text
from batch.notify import host_of
from batch.plaintext import printable
from batch.plan.checking import Findings, Outlook
from batch.records import Row
from batch.settings import Resolved


def show_dry_run(outlook: Outlook, resolved: Resolved) -> int:
    """Print what a run would do, and where each setting came from."""
    if resolved.settings.json:
        plan: JsonObject = {
            item.name: _plain(getattr(outlook, item.name)) for item in fields(outlook) if item.name != "estimate"
        }
        plan["estimate"] = estimate_fields(outlook.estimate)
        click.echo(encode_text({"event": "dry_run", **plan, "settings": _origins(resolved)}))
        return ExitCode.OK
    click.echo(f"Would send {outlook.to_send:,} of {outlook.rows:,} rows to {outlook.output}; nothing was sent.")
    click.echo(f"  answered before {outlook.answered:,}, invalid {outlook.invalid:,}")
    click.echo(f"  credential      {outlook.credential}")
    click.echo(f"  journal         {outlook.journal}")
    show(f"  {line}" for line in estimate_lines(outlook.estimate))
    _show_origins(resolved)
    return ExitCode.OK


def show_idle_dry_run(inputs: Sequence[str], resolved: Resolved) -> int:
    """Print that a run would find nothing to read, and where each setting came from."""
    if resolved.settings.json:
        told: JsonObject = {"event": "dry_run", "files": [], "rows": 0, "to_send": 0}
        click.echo(encode_text({**told, "settings": _origins(resolved)}))
        return ExitCode.OK
    click.echo(printable(f"Would send nothing: there is nothing to read in {', '.join(inputs)} yet."))
    _show_origins(resolved)
    return ExitCode.OK


def _values(resolved: Resolved) -> Iterator[tuple[str, object]]:
    for item in fields(resolved.settings):
        yield item.name, _shown(item.name, getattr(resolved.settings, item.name))


def _origins(resolved: Resolved) -> JsonObject:
    return {name: {"value": _plain(value), "from": resolved.origins[name]} for name, value in _values(resolved)}


def _show_origins(resolved: Resolved) -> None:
    click.echo("  settings")
    for name, value in _values(resolved):
        if value is not None:
            text = printable(str(_plain(value)))
            click.echo(f"    {name:<15} {text if len(text) < 60 else text[:59] + '…'}  ({resolved.origins[name]})")


def _shown(name: str, value: object) -> object:
    """Return a setting's value as it may be shown: of addresses that may hold a secret, whose they are."""
    return f"{host_of(value)}/…" if name in ("ping_url", "webhook") and isinstance(value, str) else value


def show_invalid(row: Row, *, as_json: bool) -> None:
    """Print one row that cannot be sent: `file:line`, what is wrong, how to mend it."""
    reason, fix = (row.problem.reason, row.problem.fix) if row.problem else ("", "")
    if as_json:
        click.echo(
            encode_text(
                {
                    "event": "invalid",
                    "file": row.file,
                    "line": row.line,
                    "id": row.id,
                    "reason": reason,
                    "fix": fix,
                }
            )
        )
    else:
        click.echo(printable(f"{row.where}: {reason}; {fix}"))


def show_findings(findings: Findings, *, as_json: bool, quiet: bool) -> None:
    """Print the summary of a check by dialect."""
    if as_json:
        dialects: JsonObject = dict(findings.dialects)
        click.echo(
            encode_text(
                {"event": "check", "valid": findings.valid, "invalid": findings.invalid, "dialects": dialects}
            )
        )
    elif not quiet:
        click.echo(f"{findings.valid:,} rows can be sent, {findings.invalid:,} cannot.")
        for dialect, count in findings.dialects.most_common():
            click.echo(f"  {count:>9,}  {dialect}")


def _plain(value: object) -> Json:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
