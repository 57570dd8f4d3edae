"""`chatbatch auth`: which credentials are found, and whether they work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ChatbatchError, ExitCode

if TYPE_CHECKING:
    from batch.auth import Look
    from batch.jsontext import JsonObject
    from batch.plan.credentials import Standing

_SETTINGS = ("folder", "base_url", "iam_url", "service_account_key", "json", "verbose")


@click.group()
def command() -> None:
    """Look at credentials: which are found, and whether they work."""


@command.command(params=settings_options(*_SETTINGS))
def check(**flags: object) -> int:
    """Find the credentials that a run would use, obtain a token, and say when it expires.

    Prints what was looked for, in order: --service-account-key; API keys and IAM tokens in the
    environment; YC_SERVICE_ACCOUNT_KEY_FILE; the virtual machine's metadata; the yc CLI. Never
    prints a key or a token. An API key or an IAM token of the environment is not tried out.
    Exits with 4 where there are none, or where they are refused.

    \b
    Examples:
      chatbatch auth check
      chatbatch auth check --service-account-key key.json --json
    """
    from batch.plan.credentials import examine

    settings = settings_from(flags).settings
    looks: list[Look] = []
    try:
        standing = examine(settings, os.environ, looks)
    except ChatbatchError as error:
        _show(None, looks, str(error), as_json=settings.json)
        raise
    _show(standing, looks, None, as_json=settings.json)
    return ExitCode.OK


def _show(standing: Standing | None, looks: list[Look], error: str | None, *, as_json: bool) -> None:
    from batch.jsontext import Json, encode_text
    from batch.plaintext import printable

    if as_json:
        sources: list[Json] = [{"source": look.source, "state": look.state, "why": look.why} for look in looks]
        told: JsonObject = _told(standing) if standing else {"kind": None}
        click.echo(encode_text({"event": "auth_check", **told, "error": error, "sources": sources}))
        return
    for line in _lines(standing) if standing else []:
        click.echo(printable(line))
    click.echo("Looked for, in this order:")
    for look in looks:
        why = f": {look.why}" if look.why else ""
        click.echo(printable(f"  {look.source:<31} {look.state}{why}"))


def _lines(standing: Standing) -> list[str]:
    lines = [
        f"Credential  {standing.kind} from {standing.origin}",
        f"Token       {_token(standing)}",
        f"Folder      {standing.folder or 'not known: set FOLDER_ID or --folder, or give models as full URIs'}",
    ]
    return lines + [f"Warning     {warning}" for warning in standing.warnings]


def _token(standing: Standing) -> str:
    if not standing.obtained:
        return "nothing was asked; the first request tells whether the service takes it"
    if standing.expires_at is None or standing.left_s is None:
        return "obtained; its issuer does not say when it expires (after 12 hours at most)"
    minutes = int(standing.left_s / 60)
    return f"obtained; expires {_time(standing.expires_at)}, in {minutes // 60} h {minutes % 60:02} min"


def _time(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _told(standing: Standing) -> JsonObject:
    return {
        "kind": standing.kind,
        "origin": standing.origin,
        "obtained": standing.obtained,
        "expires_at": None if standing.expires_at is None else _time(standing.expires_at),
        "left_s": standing.left_s,
        "folder": standing.folder,
        "warnings": list(standing.warnings),
    }
