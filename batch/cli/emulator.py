"""`chatbatch emulator`: serve the API on this machine, for trials and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from batch.emulator import Config


_COUNT = click.IntRange(0)
_SECONDS = click.FloatRange(0, min_open=True)


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="A loopback address; no other is served.")
@click.option("--port", default=8080, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--concurrent", default=10, type=_COUNT, help="Requests at once; 0 for no quota.")
@click.option("--per-second", default=0, type=_COUNT, help="Requests per second; 0 for no quota.")
@click.option("--per-hour", default=0, type=_COUNT, help="Requests per hour; 0 for no quota.")
@click.option("--async-per-second", default=10, type=_COUNT, help="Operations submitted per second; 0: no quota.")
@click.option("--async-per-hour", default=5_000, type=_COUNT, help="Operations submitted per hour; 0: no quota.")
@click.option("--polls-per-second", default=50, type=_COUNT, help="Operations read per second; 0: no quota.")
@click.option("--tokenizer-per-second", default=50, type=_COUNT, help="Tokenizer calls per second; 0: no quota.")
@click.option("--latency", default="0", metavar="LATENCY", help="fixed:0.3, uniform:0.2-1.5, lognormal:0.8,0.5.")
@click.option("--operation-latency", default="uniform:2-5", metavar="LATENCY", help="Until an operation is done.")
@click.option("--keep-operations", default=259_200.0, type=_SECONDS, help="Seconds for which results are kept.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND=P[@ROUTE]",
    help="Such as 429=0.1, drop-after=0.02@completionAsync or 503=0.1@operations.",
)
@click.option("--seed", default=0, help="Of the random draws.")
@click.option("--speed", default=1.0, type=click.FloatRange(0.01), help="How much faster its clock runs.")
@click.option("--api-key", default=None, metavar="KEY", help="The only key accepted; any by default.")
@click.option(
    "--strict-credentials", is_flag=True, help="Accept no tokens but those issued here, until they expire."
)
@click.option(
    "--service-account-key",
    "keys",
    multiple=True,
    metavar="FILE",
    help="A key file whose signed assertions are exchanged for tokens; makes credentials strict.",
)
@click.option("--iam-token-lifetime", default=43_200.0, type=_SECONDS, help="Seconds for which a token is valid.")
@click.option("--metadata/--no-metadata", default=True, help="Serve the metadata of a virtual machine, or 404.")
@click.option("--ledger", default=None, metavar="FILE", help="Append what was billed, as JSON Lines.")
def command(host: str, port: int, **options: object) -> int:
    """Serve an emulator of the completion API on this machine until Ctrl-C.

    It checks requests as the service does, in both modes, keeps the quotas, makes up answers, and keeps a
    ledger of what it would have billed: GET /emulator/totals and /emulator/ledger.

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

    def texts(name: str) -> tuple[str, ...]:
        given = options[name]
        return tuple(map(str, given)) if isinstance(given, tuple) else ()

    ledger, key = options["ledger"], options["api_key"]
    return Config(
        quotas=Quotas(
            concurrent=number("concurrent"),
            per_second=number("per_second"),
            per_hour=number("per_hour"),
            tokenizer_per_second=number("tokenizer_per_second"),
            async_per_second=number("async_per_second"),
            async_per_hour=number("async_per_hour"),
            operations_per_second=number("polls_per_second"),
        ),
        latency=Latency.parse(str(options["latency"])),
        operation_latency=Latency.parse(str(options["operation_latency"])),
        keep_operations_s=float(str(options["keep_operations"])),
        faults=tuple(map(Fault.parse, texts("faults"))),
        strict_credentials=bool(options["strict_credentials"]),
        service_account_keys=dict(map(_key, texts("keys"))),
        iam_token_lifetime_s=float(str(options["iam_token_lifetime"])),
        metadata=bool(options["metadata"]),
        seed=int(str(options["seed"])),
        speed=float(str(options["speed"])),
        api_key=str(key) if key else None,
        ledger_file=Path(str(ledger)) if ledger else None,
        keep_entries=False,
    )


def _key(file: str) -> tuple[str, tuple[str, str]]:
    """Read what a service account's key file says in public: key id, account id, public key."""
    from batch.jsontext import parse

    try:
        found = parse(Path(file).read_bytes())
    except OSError as error:
        raise UsageError(f"The key file {file} cannot be read: {error.strerror}.") from None
    except ValueError:
        found = None
    names = ("id", "service_account_id", "public_key")
    values = [found.get(name) for name in names] if isinstance(found, dict) else []
    if not values or not all(isinstance(value, str) and value for value in values):
        raise UsageError(
            f"{file} is not a service account's key file: {', '.join(names)} are expected in it.",
            hint="Make one with: yc iam key create --service-account-name NAME -o key.json",
        )
    return str(values[0]), (str(values[1]), str(values[2]))
