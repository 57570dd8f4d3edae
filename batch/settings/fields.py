"""Every setting of a run, declared once.

A field of `Settings` is a flag, an environment variable (`CHATBATCH_…`), a key of a job file and a line of the
documentation; the command line derives all of them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from batch import parsing
from batch.parsing import Bounds, FailureLimit, KeptField, Money, RateLimit
from batch.settings.declaring import setting as _setting

_ROWS, _MODEL, _SERVICE = "Rows", "Model", "Service"
_PACE, _STOP, _SHOW = "Pace and retries", "When to stop", "Output and progress"
_MONEY = "Money"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one run, parsed; seconds for durations, None where nothing was set."""

    output: Path | None = _setting(
        None,
        "Where the answers go: .parquet, or .jsonl for JSON Lines.",
        section=_SHOW,
        parse=parsing.path,
        short="-o",
        metavar="OUT",
    )
    journal: Path | None = _setting(
        None, "The journal's file. [default: OUT.journal]", section=_SHOW, parse=parsing.path, metavar="FILE"
    )
    only_new: bool = _setting(
        False,
        "Write only the rows that no earlier output of the same --journal holds.",
        section=_SHOW,
        switch=True,
    )
    model: str = _setting(
        "yandexgpt-lite",
        "A model's name, name/version, or a full gpt:// URI.",
        section=_MODEL,
        short="-m",
        metavar="MODEL",
    )
    folder: str | None = _setting(
        None,
        "The cloud folder that pays. [default: YC_FOLDER_ID or FOLDER_ID]",
        section=_SERVICE,
        metavar="ID",
    )
    provider: str = _setting("yandex", "The service to ask: yandex.", section=_SERVICE, metavar="NAME")
    base_url: str | None = _setting(
        None,
        "Replaces the service's host for every method.",
        section=_SERVICE,
        parse=parsing.base_url,
        metavar="URL",
    )
    emulate: bool = _setting(
        False,
        "Ask a local emulator instead of the service: nothing leaves this machine, nothing is paid.",
        section=_SERVICE,
        switch=True,
    )
    operations_url: str | None = _setting(
        None,
        "Replaces the address of operations. [default: that of --base-url, or the service's]",
        section=_SERVICE,
        parse=parsing.base_url,
        metavar="URL",
    )
    iam_url: str | None = _setting(
        None,
        "Replaces the address that gives IAM tokens. [default: that of --base-url, or the service's]",
        section=_SERVICE,
        parse=parsing.base_url,
        metavar="URL",
    )
    service_account_key: Path | None = _setting(
        None,
        "The key file of a service account (yc iam key create), from which tokens are obtained and renewed.",
        section=_SERVICE,
        parse=parsing.path,
        metavar="FILE",
    )
    mode: str = _setting(
        "sync",
        "How rows are asked: sync waits for each answer; async hands rows in for half the price and collects "
        "the answers later; both meets --stop-at or --max-duration with as little of sync as it takes.",
        section=_SERVICE,
        parse=parsing.mode,
        metavar="sync|async|both",
    )
    data_logging: bool = _setting(
        True,
        "Whether the service may keep the requests in its logs.",
        section=_SERVICE,
        switch=True,
        negative=True,
    )
    system: str | None = _setting(
        None,
        "System prompt for rows that have none of their own; @FILE reads it from a file.",
        section=_ROWS,
        parse=parsing.text_or_file,
        short="-s",
    )
    prompt_column: str | None = _setting(
        None, "The field or column that holds the user's text.", section=_ROWS, metavar="NAME"
    )
    template: str | None = _setting(
        None,
        'The user\'s text made from fields: "Summarise: {text}"; @FILE reads it from a file.',
        section=_ROWS,
        parse=parsing.text_or_file,
    )
    id_column: str | None = _setting(
        None,
        "The field or column that names a row; its value is the row's key.",
        section=_ROWS,
        metavar="NAME",
    )
    dedupe: bool = _setting(
        False, "Buy equal rows once, and give each of them the answer.", section=_ROWS, switch=True
    )
    keep: tuple[KeptField, ...] = _setting(
        (),
        "Lift a field of JSON Lines rows into a column of its own; types: string, int, float, bool, json.",
        section=_ROWS,
        parse=parsing.kept_field,
        metavar="NAME[:TYPE]",
        many=True,
    )
    temperature: float | None = _setting(
        None, "0 to 1. [default: the service's, 0.3]", section=_MODEL, parse=parsing.temperature, metavar="X"
    )
    max_tokens: int | None = _setting(
        None,
        "The longest answer, in tokens. [default: the service's]",
        section=_MODEL,
        parse=parsing.positive,
        metavar="N",
    )
    concurrency: Bounds = _setting(
        parsing.AUTO,
        "Requests at once: auto finds out what the quota allows, MIN-MAX does within bounds, N is fixed.",
        section=_PACE,
        parse=parsing.bounds,
        metavar="N|MIN-MAX",
    )
    limit: tuple[RateLimit, ...] = _setting(
        (),
        "At most N requests per s, min, h or d, such as 10/s or 5000/h; repeatable; off for none.",
        section=_PACE,
        parse=parsing.rate_limit,
        metavar="N/UNIT",
        many=True,
    )
    async_limit: tuple[RateLimit, ...] | None = _setting(
        None,
        "At most so many operations are submitted; repeatable; off for none. [default: 10/s and 5000/h]",
        section=_PACE,
        parse=parsing.rate_limit,
        metavar="N/UNIT",
        many=True,
    )
    poll_limit: tuple[RateLimit, ...] | None = _setting(
        None,
        "At most so many operations are looked at; repeatable; off for none. [default: 50/s]",
        section=_PACE,
        parse=parsing.rate_limit,
        metavar="N/UNIT",
        many=True,
    )
    share_quota: bool = _setting(
        True,
        "Divide the account's limits with other runs on this machine that use the same account, by need.",
        section=_PACE,
        switch=True,
        negative=True,
    )
    quota_share: float | None = _setting(
        None,
        "The most that this run takes of limits that it shares, such as 30%.",
        section=_PACE,
        parse=parsing.share,
        metavar="P%",
    )
    retries: int = _setting(
        8,
        "How often a row is asked again after a failure that may pass; 0 for never.",
        section=_PACE,
        parse=parsing.count,
        metavar="N",
    )
    retry_timeout: float | None = _setting(
        1800.0,
        "How long a row may go on being asked again; off for no bound.",
        section=_PACE,
        parse=parsing.duration_or_off,
        metavar="DURATION",
    )
    timeout: float = _setting(
        180.0, "How long to wait for one answer.", section=_PACE, parse=parsing.duration, metavar="DURATION"
    )
    retry_maybe_billed: bool = _setting(
        True,
        "Ask again after a failure that may have been billed (a lost answer, a time-out, 500, 502, 504).",
        section=_PACE,
        switch=True,
        negative=True,
    )
    unknown: str = _setting(
        "retry",
        "Rows that were in flight when a run died, and may have been billed: retry asks again, skip leaves them.",
        section=_PACE,
        parse=parsing.unknown_choice,
        metavar="retry|skip",
    )
    prices: Path | None = _setting(
        None,
        "A price list (TOML) whose entries go before the built-in ones; chatbatch prices --help shows the form.",
        section=_MONEY,
        parse=parsing.path,
        metavar="FILE",
    )
    price_input: Decimal | None = _setting(
        None,
        "What 1,000 input tokens cost, whatever the price list says; together with --price-output.",
        section=_MONEY,
        parse=parsing.price,
        metavar="PRICE",
    )
    price_output: Decimal | None = _setting(
        None,
        "What 1,000 tokens of answers cost, whatever the price list says.",
        section=_MONEY,
        parse=parsing.price,
        metavar="PRICE",
    )
    currency: str = _setting(
        "RUB",
        "The currency of --price-input and --price-output.",
        section=_MONEY,
        parse=parsing.currency,
        metavar="CODE",
    )
    max_cost: Money | None = _setting(
        None,
        'The most that this job may cost, all its runs together, such as "1500 RUB": a hard cap.',
        section=_MONEY,
        parse=parsing.money_or_off,
        metavar="MONEY",
    )
    max_total_tokens: int | None = _setting(
        None,
        "The most tokens, in and out, that this job may be billed for, all its runs together: a hard cap.",
        section=_MONEY,
        parse=parsing.count_or_off,
        metavar="N",
    )
    max_failures: FailureLimit | None = _setting(
        None,
        "Stop once more rows than this have failed in this run: a number, or a share of all rows.",
        section=_STOP,
        parse=parsing.failures_or_off,
        metavar="N|P%",
    )
    retry_expired: bool = _setting(
        False,
        "Buy rows again whose operation the service does not know any more; they may have been billed.",
        section=_PACE,
        switch=True,
    )
    detach_after_submit: bool = _setting(
        False,
        "End once every row is submitted as an operation; the same command later collects the answers.",
        section=_STOP,
        switch=True,
    )
    max_outage: float | None = _setting(
        6 * 3600.0,
        "How long to probe a service that is down before giving up; off for ever.",
        section=_STOP,
        parse=parsing.duration_or_off,
        metavar="DURATION",
    )
    max_duration: float | None = _setting(
        None,
        "Begin no more rows after so long.",
        section=_STOP,
        parse=parsing.duration_or_off,
        metavar="DURATION",
    )
    stop_at: tuple[int, int] | None = _setting(
        None,
        "Begin no more rows after this time of day (local).",
        section=_STOP,
        parse=parsing.time_of_day,
        metavar="HH:MM",
    )
    max_rows: int | None = _setting(
        None,
        "Send at most so many rows in this run; the rest stays pending.",
        section=_STOP,
        parse=parsing.count_or_off,
        metavar="N",
    )
    max_failed: FailureLimit = _setting(
        FailureLimit(0, None),
        "How many rows may fail before the exit code says so: a number or a share.",
        section=_STOP,
        parse=parsing.failure_limit,
        metavar="N|P%",
    )
    grace: float = _setting(
        30.0,
        "How long rows in flight may finish after the first Ctrl-C or SIGTERM; 0 for not at all.",
        section=_STOP,
        parse=parsing.duration_or_none_at_all,
        metavar="DURATION",
    )
    error_on_empty: bool = _setting(
        False, "Exit with code 9 when there is nothing to do.", section=_STOP, switch=True
    )
    dry_run: bool = _setting(
        False,
        "Read the input and say what would be sent and where each setting came from; send nothing.",
        section=_STOP,
        switch=True,
        short="-n",
    )
    stats: float | None = _setting(
        60.0,
        "How often to print a line of progress where there is no terminal; off for never.",
        section=_SHOW,
        parse=parsing.duration_or_off,
        metavar="DURATION",
    )
    log_file: Path | None = _setting(
        None,
        "Write what the run tells into this file too, with times; it is rotated.",
        section=_SHOW,
        parse=parsing.path,
        metavar="FILE",
    )
    log_size: int = _setting(
        10_000_000,
        "How large a log file grows before it is rotated, such as 500k or 10M.",
        section=_SHOW,
        parse=parsing.size,
        metavar="SIZE",
    )
    log_keep: int = _setting(
        5, "How many rotated log files are kept.", section=_SHOW, parse=parsing.count, metavar="N"
    )
    metrics_file: Path | None = _setting(
        None,
        "Write the run's figures for Prometheus's node exporter (its textfile collector) to this .prom file.",
        section=_SHOW,
        parse=parsing.path,
        metavar="FILE",
    )
    ping_url: str | None = _setting(
        None,
        "A health check's address: pinged at the start (/start), the end, and on failure (/fail); off for none.",
        section=_SHOW,
        parse=parsing.url_or_off,
        metavar="URL",
    )
    webhook: str | None = _setting(
        None,
        "An address to which the summary is posted as JSON; off for none.",
        section=_SHOW,
        parse=parsing.url_or_off,
        metavar="URL",
    )
    quiet: bool = _setting(False, "Say nothing unless something is wrong.", section=_SHOW, switch=True, short="-q")
    json: bool = _setting(
        False, "Write events and the summary as JSON lines to stdout.", section=_SHOW, switch=True
    )
    verbose: int = _setting(
        0,
        "Say more: -v names every retry and failure, -vv shows tracebacks.",
        section=_SHOW,
        parse=parsing.count,
        short="-v",
        metavar="N",
    )
