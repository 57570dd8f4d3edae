"""What is said of a run, in words: numbers for people, what an event is worth, the summary, long and brief.

Texts only: whoever shows them strips what came from outside of control characters (`batch.plaintext`).
"""

from __future__ import annotations

from decimal import Decimal

from batch.events import (
    AttemptLost,
    Event,
    LimitChanged,
    ModeShare,
    Notice,
    OperationExpired,
    RowFinished,
    RunFinished,
    ServiceBack,
    ServiceDown,
    Spending,
    Stopping,
    UnknownBilled,
)
from batch.parsing import Money
from batch.records import Status


def duration(seconds: float) -> str:
    """Return a duration for people: `8s`, `3m 20s`, `2h 5m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{whole}s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}h {minute}m" if hours else f"{minute}m {second}s"


def amount(number: int) -> str:
    """Return a large number for people: `812`, `81.2k`, `8.1M`."""
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1000:.1f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


def money(number: Decimal, currency: str) -> str:
    """Return an amount for people: rounded to hundredths, or to what shows where it is less."""
    shown = number.quantize(Decimal("0.01")) if number >= 1 else number.quantize(Decimal("0.0001")).normalize()
    return f"{shown:,f} {currency}"


def headline(event: Event, verbose: int) -> str | None:
    """Return the line that an event is worth, or None."""
    match event:
        case Notice(message):
            return message
        case Stopping(reason, _):
            return f"Stopping: {reason}. Requests in flight finish; what is done is kept."
        case LimitChanged(limit, value, reason) if verbose or reason != "grown":
            return f"Limit: {value} {limit} ({reason})."
        case ServiceDown(code, message, wait):
            return f"The service is down ({code}: {message}); probing in {duration(wait)}."
        case ServiceBack(outage_s):
            return f"The service is back after {duration(outage_s)}."
        case UnknownBilled(row_keys, asked_again):
            then = "their rows are asked again" if asked_again else "their rows are left (--unknown skip)"
            shown = ", ".join(row_keys[:5]) + (", …" if len(row_keys) > 5 else "")
            was = f"{len(row_keys)} requests were in flight when the run before ended, and may have been billed"
            return f"{was}; {then}: {shown}"
        case OperationExpired(row_key, operation_id, reason):
            return f"{row_key}: operation {operation_id} is lost: {reason}; its row has failed"
        case AttemptLost() if verbose:
            after = f"again in {event.delay_s:.1f}s" if event.delay_s is not None else "given up"
            cost = "" if event.billed.value == "no" else ", may have been billed"
            what = f"attempt {event.number}: {event.error_code}{cost}, {after}"
            return f"{event.row_key}: {what}: {event.error_message}"
        case RowFinished(status=Status.FAILED) if verbose:
            return f"{event.row_key}: failed: {event.error_code}: {event.error_message}"
        case _:
            return None


def summary(event: RunFinished) -> str:
    """Return the summary of a run for people."""
    rows = ", ".join(f"{count:,} {status}" for status, count in event.rows.items() if count) or "none"
    requests = f"{event.requests:,}"
    if event.not_billed or event.maybe_billed:
        requests += (
            f"; brought no answer: {event.not_billed:,} surely not billed, {event.maybe_billed:,} maybe billed"
        )
    pace = f"{event.concurrency} at once"
    if event.limit_changes:
        pace += f" in the end, after {event.limit_changes:,} changes of limits"
    if event.paused_s >= 1:
        pace += f"; paused for {duration(event.paused_s)}"
    took = duration(event.duration_s)
    lines = [
        f"Ended after {took}: {event.reason.removesuffix('.')}." if event.reason else f"Done in {took}.",
        f"  rows      {rows}",
        f"  tokens    {event.input_tokens:,} in, {event.completion_tokens:,} out, {event.total_tokens:,} in all",
        f"  requests  {requests}",
        f"  pace      {pace}",
        f"  output    {event.output}",
    ]
    lines[3:3] = _money_lines(event)
    if event.unstated:
        lines[2] += f"; {event.unstated:,} answers without, which may cost their worst case"
    if event.unknown_billed:
        doubt = f"{event.unknown_billed:,} requests of the run before may have been billed"
        lines.insert(-3, f"  in doubt  {doubt}")
    if event.emulated:
        lines.append("  EMULATED  the answers are made up: nothing left this machine and nothing was paid")
    return "\n".join(lines)


def brief(event: RunFinished) -> str:
    """Return the summary in one line: for a mail from cron, a health check, a message to a webhook."""
    rows = ", ".join(f"{count:,} {status}" for status, count in event.rows.items() if count) or "no rows"
    parts = [rows, f"{amount(event.total_tokens)} tokens"]
    parts += [f"{money(spent.total, spent.currency)} in all runs" for spent in event.spending if spent.currency]
    if event.unknown_billed:
        parts.append(f"{event.unknown_billed:,} requests of the run before may have been billed")
    if event.open_operations:
        parts.append(f"{event.open_operations:,} operations open")
    if event.emulated:
        parts.append("emulated")
    how = f"Ended: {event.reason.removesuffix('.')}" if event.reason else "Done"
    parts += [f"in {duration(event.duration_s)}", event.output]
    return f"{how} (exit code {int(event.exit_code)}): {'; '.join(parts)}"


def _money(known: Money) -> str:
    return money(known.amount, known.currency)


def _money_lines(event: RunFinished) -> list[str]:
    """Return what was spent, how good the estimate was, and what the rows that are left need."""
    lines = [f"  cost      {_spending(spent)}" for spent in event.spending]
    if len(event.modes) > 1 or any(share.mode == "async" for share in event.modes):
        lines += [f"  {share.mode:9} {_share(share)}" for share in event.modes]
    if event.open_operations:
        lines.append(f"  open      {event.open_operations:,} operations; the same command collects their answers")
    if (estimate := event.estimated) is not None and estimate.stated:
        counts = f"{estimate.estimated:,} input tokens estimated, {estimate.stated:,} stated"
        told = f"{counts} ({estimate.off_percent:+.1f} %)"
        if estimate.cost is not None and estimate.charged is not None:
            told += f"; {_money(estimate.cost)} beforehand, {_money(estimate.charged)} in the end"
        lines.append(f"  estimate  {told}")
    if (needs := event.needs) is not None:
        tokens = f"{amount(needs.input_tokens)} tokens in"
        if needs.completion_tokens is not None:
            tokens += f", {amount(needs.completion_tokens)} out"
        cost = f", {money(needs.cost.amount, needs.cost.currency)}" if needs.cost else ""
        most = f" (at most {money(needs.at_most.amount, needs.at_most.currency)})" if needs.at_most else ""
        lines.append(f"  left      {needs.rows:,} rows, which need about {tokens}{cost}{most}")
    return lines


def _share(share: ModeShare) -> str:
    cost = f", {money(share.cost.amount, share.cost.currency)}" if share.cost and share.cost.currency else ""
    return f"{share.answered:,} answers of {share.requests:,} requests in all runs{cost}"


def _spending(spent: Spending) -> str:
    if not spent.currency:
        return f"unknown for {spent.unpriced:,} requests, whose model has no price (--prices, --price-input)"
    text = f"{money(spent.total, spent.currency)} in all runs"
    apart = []
    if spent.lost:
        apart.append(f"at most {money(spent.lost, spent.currency)} for lost answers")
    if spent.unknown:
        apart.append(f"at most {money(spent.unknown, spent.currency)} for requests in doubt")
    if apart:
        text += f": {money(spent.answers, spent.currency)} for the answers, {', '.join(apart)}"
    return text
