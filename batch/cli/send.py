"""`chatbatch send`: one request body, one answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from batch.cli.options import settings_from, settings_options
from batch.errors import ExitCode, InputError

_SETTINGS = (
    "folder", "base_url", "iam_url", "service_account_key", "emulate", "data_logging", "timeout", "verbose",
)  # fmt: skip


@click.command(params=settings_options(*_SETTINGS))
@click.argument("body", metavar="BODY.json")
def command(body: str, **flags: object) -> int:
    """Post BODY.json and print the service's answer as it came.

    The body (- for stdin) is the service's own, as in its guide. Anything but 200 is an error with
    the code and the message.

    \b
    Examples:
      chatbatch send sample_data/body.json
      chatbatch send sample_data/body.json --emulate | python -m json.tool
    """
    from batch.plan.sending import send

    settings = settings_from(flags).settings
    try:
        content = sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()
    except OSError as error:
        raise InputError(f"{body} cannot be read: {error.strerror}.") from error
    answer = send(settings, content, os.environ)
    click.echo(answer.removesuffix(b"\n"))
    return ExitCode.OK
