"""The journal's tables, and how an entry becomes a row of them."""

from __future__ import annotations

from batch.journal.entries import Intent, Outcome, Receipt, Result, RunBegan, RunEnded, Write

APPLICATION_ID = 0x63686274  # "chbt", in the file's header: tells ours from any other SQLite file
SCHEMA_VERSION = 1
TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, started_at REAL NOT NULL, version TEXT NOT NULL, settings TEXT NOT NULL,
    ended_at REAL, exit_code INTEGER
);
CREATE TABLE attempts (
    attempt INTEGER PRIMARY KEY, row_key TEXT NOT NULL, number INTEGER NOT NULL, sent_at REAL NOT NULL,
    run INTEGER NOT NULL, model TEXT NOT NULL, content TEXT, outcome TEXT, error_code TEXT
);
CREATE INDEX attempts_of_row ON attempts (row_key);
CREATE TABLE receipts (
    attempt INTEGER PRIMARY KEY, received_at REAL NOT NULL, latency_s REAL NOT NULL,
    http_status INTEGER NOT NULL, server_request_id TEXT, body BLOB NOT NULL
);
CREATE TABLE results (
    row_key TEXT PRIMARY KEY, attempt INTEGER NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    input_tokens INTEGER, completion_tokens INTEGER, reasoning_tokens INTEGER, total_tokens INTEGER,
    error_code TEXT, error_message TEXT, latency_s REAL, finished_at REAL NOT NULL
);
"""
SET_FACT = "INSERT OR REPLACE INTO facts VALUES (?, ?)"


def statement(write: Write) -> tuple[str, tuple[object, ...]]:
    """Return the SQL that applies an entry, and its parameters."""
    match write:
        case RunBegan(run, started_at, version, settings):
            return _BEGIN_RUN, (run, started_at, version, settings)
        case RunEnded(run, ended_at, exit_code):
            return "UPDATE runs SET ended_at = ?, exit_code = ? WHERE run = ?", (ended_at, exit_code, run)
        case Intent(attempt, row_key, number, sent_at, run, model, content):
            return _INSERT_INTENT, (attempt, row_key, number, sent_at, run, model, content)
        case Receipt(attempt, reply, received_at, latency_s):
            known = (reply.http_status, reply.server_request_id, reply.body)
            return "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)", (attempt, received_at, latency_s, *known)
        case Outcome(attempt, outcome, error_code):
            return _SET_OUTCOME, (outcome, error_code, attempt)
        case Result():
            return _INSERT_RESULT, _result(write)


_BEGIN_RUN = "INSERT INTO runs (run, started_at, version, settings) VALUES (?, ?, ?, ?)"
_INSERT_INTENT = (
    "INSERT INTO attempts (attempt, row_key, number, sent_at, run, model, content) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SET_OUTCOME = "UPDATE attempts SET outcome = ?, error_code = ? WHERE attempt = ?"
_INSERT_RESULT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


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
    )
