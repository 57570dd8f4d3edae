"""Job files: what a scheduled job is, read from `jobs/NAME.toml`, with errors that name file, table and key.

The rest of the house uses the names that are re-exported here.
"""

from __future__ import annotations

from batch.jobfile.cron import Cron, Schedule
from batch.jobfile.keys import KEYS, TABLES
from batch.jobfile.placeholders import expand
from batch.jobfile.reading import HistoryRules, JobFile, Ready, find, load, names
from batch.jobfile.salvage import salvaged

__all__ = [
    "KEYS",
    "TABLES",
    "Cron",
    "HistoryRules",
    "JobFile",
    "Ready",
    "Schedule",
    "expand",
    "find",
    "load",
    "names",
    "salvaged",
]
