"""Which key of which table of a job file each setting is; a test holds this against the declared settings.

Every setting has exactly one key, also those that concern one call more than a job (`dry_run`, `verbose`): a
job that is being tried out may say so in its file, and no list of exceptions has to be learned.
"""

from __future__ import annotations

from collections.abc import Mapping

from batch.settings import Declared, declared

# Keys by table, in the order in which the documentation shows them. The key is the setting's name, except where
# the table says half of it already (`RENAMED`).
_BY_TABLE: Mapping[str, str] = {
    "input": "system prompt_column template id_column dedupe keep",
    "output": "output journal only_new",
    "model": "model mode temperature max_tokens",
    "request": "timeout data_logging unknown",
    "service": "provider folder base_url operations_url iam_url service_account_key emulate",
    "limits": "concurrency limit async_limit poll_limit share_quota quota_share max_duration stop_at max_rows "
    "grace detach_after_submit",
    "retry": "retries retry_timeout retry_maybe_billed retry_expired max_outage",
    "budget": "max_cost max_total_tokens max_failures max_failed prices price_input price_output currency",
    "log": "stats log_file log_size log_keep metrics_file quiet json verbose dry_run",
    "notify": "ping_url webhook error_on_empty",
}
_RENAMED: Mapping[str, str] = {
    "output": "path", "model": "name", "limit": "rate", "async_limit": "async_rate", "poll_limit": "poll_rate",
    "retries": "attempts", "retry_timeout": "timeout", "retry_maybe_billed": "maybe_billed",
    "retry_expired": "expired", "log_file": "file", "log_size": "size", "log_keep": "keep",
}  # fmt: skip
KEYS: Mapping[str, tuple[str, str]] = {
    name: (table, _RENAMED.get(name, name)) for table, line in _BY_TABLE.items() for name in line.split()
}
"""Table and key by setting's name."""

# Keys that no setting of the command line has.
OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "input": ("files",),
    "schedule": ("at", "cron", "days", "timezone", "jitter"),
    "history": ("keep", "folder"),
}
TABLES: Mapping[str, tuple[str, ...]] = {
    table: OWN_KEYS.get(table, ()) + tuple(key for of, key in KEYS.values() if of == table)
    for table in dict.fromkeys([*_BY_TABLE, *OWN_KEYS])
}
"""Every table with its keys."""

# Settings whose text is a path, relative to the job's base folder; their placeholders are expanded.
PATHS = frozenset({"output", "journal", "service_account_key", "prices", "log_file", "metrics_file"})
# Settings whose text may be `@FILE`, relative to the base folder; braces in them belong to the rows.
PROMPTS = frozenset({"system", "template"})
# Further settings whose placeholders are expanded: addresses, the model, the folder that pays.
ADDRESSES = frozenset({"base_url", "operations_url", "iam_url", "ping_url", "webhook"})
EXPANDED = PATHS | ADDRESSES | frozenset({"model", "folder"})


def by_key() -> Mapping[tuple[str, str], Declared]:
    """Return the declared setting of each table and key; one that has none is left out."""
    return {KEYS[item.name]: item for item in declared() if item.name in KEYS}
