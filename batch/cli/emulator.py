"""`chatbatch emulator`: serve the API on this machine, for trials and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from batch.emulator import Config


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="A loopback address; no other is served.")
@click.option("--port", default=8080, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--concurrent", default=10, type=click.IntRange(0), help="Requests at once; 0 for no quota.")
@click.option("--per-second", default=0, type=click.IntRange(0), help="Requests per second; 0 for no quota.")
@click.option("--per-hour", default=0, type=click.IntRange(0), help="Requests per hour; 0 for no quota.")
@click.option("--latency", default="0", metavar="LATENCY", help="fixed:0.3, uniform:0.2-1.5, lognormal:0.8,0.5.")
@click.option("--fault", "faults", multiple=True, metavar="KIND=P", help="Such as 429=0.1 or drop-after=0.02.")
@click.option("--seed", default=0, help="Of the random draws.")
@click.option("--speed", default=1.0, type=click.FloatRange(0.01), help="How much faster its clock runs.")
@click.option("--api-key", default=None, metavar="KEY", help="The only key accepted; any by default.")
@click.option("--ledger", default=None, metavar="FILE", help="Append what was billed, as JSON Lines.")
def command(host: str, port: int, **options: object) -> int:
    """Serve an emulator of the completion API on this machine until Ctrl-C.

    It checks requests as the service does, keeps the quotas, makes up answers, and keeps a ledger of what it
    would have billed: GET /emulator/totals and /emulator/ledger.

    \b
    Examples:
      chatbatch emulator --port 8080 --latency lognormal:0.8,0.5 --fault 429=0.05
      API_KEY=any FOLDER_ID=any chatbatch run tickets.jsonl -o out.parquet --base-url http://127.0.0.1:8080
    """
    try:
        from batch.emulator import serve
    except ImportError:
        raise UsageError(
            "The emulator is not installed.", hint="Install it with: pip install 'chatbatch[emulator]'."
        ) from None
    try:
        serve(
            _config(**options),
            host,
            port,
            announce=lambda url: click.echo(f"Serving {url} until Ctrl-C", err=True),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        what = f"The ledger {error.filename}" if error.filename else f"{host}:{port}"
        raise UsageError(
            f"{what} cannot be {'written' if error.filename else 'served'}: {error.strerror}."
        ) from None
    return ExitCode.OK


def _config(**options: object) -> Config:
    from batch.emulator import Config, Fault, Latency, Quotas

    def number(name: str) -> int | None:
        return int(str(options[name])) or None

    faults = options["faults"]
    ledger, key = options["ledger"], options["api_key"]
    return Config(
        quotas=Quotas(number("concurrent"), number("per_second"), number("per_hour")),
        latency=Latency.parse(str(options["latency"])),
        faults=tuple(Fault.parse(str(text)) for text in faults) if isinstance(faults, tuple) else (),
        seed=int(str(options["seed"])),
        speed=float(str(options["speed"])),
        api_key=str(key) if key else None,
        ledger_file=Path(str(ledger)) if ledger else None,
        keep_entries=False,
    )
