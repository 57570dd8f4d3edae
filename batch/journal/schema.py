"""The journal's tables, and how an entry becomes a row of them."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from batch.journal.entries import (
    Intent,
    LimitSet,
    Outcome,
    Receipt,
    Result,
    RunBegan,
    RunEnded,
    Submitted,
    Write,
)
from batch.parsing import Money
from batch.records import Charge

APPLICATION_ID = 0x63686274  # "chbt", in the file's header: tells ours from any other SQLite file
SCHEMA_VERSION = 2
# Money stands in whole millionths of its currency, so that SQLite adds it up exactly.
MICROS = 1_000_000
TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, started_at REAL NOT NULL, version TEXT NOT NULL, settings TEXT NOT NULL,
    ended_at REAL, exit_code INTEGER
);
CREATE TABLE attempts (
    attempt INTEGER PRIMARY KEY, row_key TEXT NOT NULL, number INTEGER NOT NULL, sent_at REAL NOT NULL,
    run INTEGER NOT NULL, model TEXT NOT NULL, content TEXT, mode TEXT NOT NULL,
    charged_input INTEGER, charged_output INTEGER, charged_micros INTEGER, currency TEXT,
    operation_id TEXT, submitted_at REAL, outcome TEXT, error_code TEXT
);
CREATE INDEX attempts_of_row ON attempts (row_key);
CREATE TABLE receipts (
    attempt INTEGER PRIMARY KEY, received_at REAL NOT NULL, latency_s REAL NOT NULL,
    http_status INTEGER NOT NULL, server_request_id TEXT, body BLOB NOT NULL
);
CREATE TABLE results (
    row_key TEXT PRIMARY KEY, attempt INTEGER NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    input_tokens INTEGER, completion_tokens INTEGER, reasoning_tokens INTEGER, total_tokens INTEGER,
    error_code TEXT, error_message TEXT, latency_s REAL, finished_at REAL NOT NULL,
    cost_micros INTEGER, currency TEXT
);
CREATE TABLE limits (run INTEGER NOT NULL, at REAL NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL);
"""
SET_FACT = "INSERT OR REPLACE INTO facts VALUES (?, ?)"


def statement(write: Write) -> tuple[str, tuple[object, ...]]:
    """Return the SQL that applies an entry, and its parameters."""
    match write:
        case RunBegan(run, started_at, version, settings):
            return _BEGIN_RUN, (run, started_at, version, settings)
        case RunEnded(run, ended_at, exit_code):
            return "UPDATE runs SET ended_at = ?, exit_code = ? WHERE run = ?", (ended_at, exit_code, run)
        case Intent(attempt, row_key, number, sent_at, run, model, content, mode, charge):
            asked = (attempt, row_key, number, sent_at, run, model, content, mode)
            return _INSERT_INTENT, (*asked, *charge_columns(charge))
        case Submitted(attempt, operation_id, submitted_at):
            return _SET_OPERATION, (operation_id, submitted_at, attempt)
        case LimitSet(run, at, name, value):
            return "INSERT INTO limits VALUES (?, ?, ?, ?)", (run, at, name, value)
        case Receipt(attempt, reply, received_at, latency_s):
            known = (reply.http_status, reply.server_request_id, reply.body)
            return "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)", (attempt, received_at, latency_s, *known)
        case Outcome(attempt, outcome, error_code, None):
            return _SET_OUTCOME, (outcome, error_code, attempt)
        case Outcome(attempt, outcome, error_code, charge):
            return _SET_CHARGED_OUTCOME, (outcome, error_code, *charge_columns(charge), attempt)
        case Result():
            return _INSERT_RESULT, _result(write)


_BEGIN_RUN = "INSERT INTO runs (run, started_at, version, settings) VALUES (?, ?, ?, ?)"
_INSERT_INTENT = (
    "INSERT INTO attempts (attempt, row_key, number, sent_at, run, model, content, mode, charged_input, "
    "charged_output, charged_micros, currency) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SET_OPERATION = "UPDATE attempts SET operation_id = ?, submitted_at = ? WHERE attempt = ?"
_SET_OUTCOME = "UPDATE attempts SET outcome = ?, error_code = ? WHERE attempt = ?"
# The currency stays where nothing was charged: it is that of the price list then in force.
_SET_CHARGED_OUTCOME = (
    "UPDATE attempts SET outcome = ?, error_code = ?, charged_input = ?, charged_output = ?, charged_micros = ?, "
    "currency = coalesce(?, currency) WHERE attempt = ?"
)
_INSERT_RESULT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def charge_columns(charge: Charge | None) -> tuple[int | None, int | None, int | None, str | None]:
    """Return a charge as the columns that hold it: tokens in, tokens out, millionths, currency."""
    if charge is None:
        return None, None, None, None
    if charge.cost is None and not charge.tokens:
        return 0, 0, 0, None  # nothing was charged, whatever the price
    return charge.input_tokens, charge.output_tokens, *money_columns(charge.cost)


def money_columns(cost: Money | None) -> tuple[int | None, str | None]:
    """Return an amount in whole millionths, rounded up, and its currency."""
    if cost is None:
        return None, None
    return int((cost.amount * MICROS).to_integral_value(ROUND_CEILING)), cost.currency


def as_charge(
    input_tokens: int | None, output_tokens: int | None, micros: int | None, currency: str | None
) -> Charge | None:
    """Return the charge that the columns hold."""
    if input_tokens is None or output_tokens is None:
        return None
    return Charge(input_tokens, output_tokens, as_money(micros, currency))


def as_money(micros: int | None, currency: str | None) -> Money | None:
    """Return an amount that stands in millionths."""
    return None if micros is None or currency is None else Money(Decimal(micros) / MICROS, currency)


def _result(result: Result) -> tuple[object, ...]:
    usage = result.usage
    return (
        result.row_key,
        result.attempt,
        result.status.value,
        result.attempts,
        usage.input_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        usage.total_tokens,
        result.error_code,
        result.error_message,
        result.latency_s,
        result.finished_at,
        *money_columns(result.cost),
    )
