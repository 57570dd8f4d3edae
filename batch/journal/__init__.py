"""The journal: what was sent, what came back, and what was made of it; the truth from which outputs are made.

SQLite beside the output. The rest of the house uses the names that are re-exported here.
"""

from __future__ import annotations

from batch.journal.commits import Commits
from batch.journal.entries import Intent, Outcome, Receipt, Result, Stored, Unjudged, Write
from batch.journal.keys import KeyCounter
from batch.journal.owner import Owner
from batch.journal.store import Journal, RowState

__all__ = [
    "Commits",
    "Intent",
    "Journal",
    "KeyCounter",
    "Outcome",
    "Owner",
    "Receipt",
    "Result",
    "RowState",
    "Stored",
    "Unjudged",
    "Write",
]
