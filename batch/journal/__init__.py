"""The journal: what was sent, what came back, and what was made of it; the truth from which outputs are made.

A SQLite file beside the output, and a tape that holds the same; each can be made again from the other. The
rest of the house uses the names that are re-exported here.
"""

from __future__ import annotations

from batch.journal.commits import Commits
from batch.journal.entries import (
    ASYNC,
    NOT_SENT,
    SYNC,
    Intent,
    LimitSet,
    OpenOperation,
    Outcome,
    Receipt,
    Result,
    RowState,
    Stored,
    Submitted,
    Unjudged,
    Write,
)
from batch.journal.inspection import Inspection, OpenSum
from batch.journal.keys import KeyCounter
from batch.journal.owner import BEAT_S, Owner, alive_elsewhere, is_held, last_seen, read_owner
from batch.journal.queries import Records, RunRecord, Spent, Sums
from batch.journal.recovery import ASKED, IDENTITY, TAPE_END, tape_path
from batch.journal.store import Journal, check_asked
from batch.journal.tapecheck import TapeFacts, examine

__all__ = [
    "ASKED",
    "ASYNC",
    "BEAT_S",
    "IDENTITY",
    "NOT_SENT",
    "SYNC",
    "TAPE_END",
    "Commits",
    "Inspection",
    "Intent",
    "Journal",
    "KeyCounter",
    "LimitSet",
    "OpenOperation",
    "OpenSum",
    "Outcome",
    "Owner",
    "Receipt",
    "Records",
    "Result",
    "RowState",
    "RunRecord",
    "Spent",
    "Stored",
    "Submitted",
    "Sums",
    "TapeFacts",
    "Unjudged",
    "Write",
    "alive_elsewhere",
    "check_asked",
    "examine",
    "is_held",
    "last_seen",
    "read_owner",
    "tape_path",
]
