"""What a person or a log collector sees of a run, or of operations that are cancelled.

`lines` says how far it is, `printers` when and where that is shown. The home of rich, with `cli`.
"""

from __future__ import annotations

from batch.progress.lines import Line, OperationsLine, RowsLine
from batch.progress.printers import (
    JsonProgress,
    JsonPulse,
    LineProgress,
    LiveProgress,
    Printer,
    QuietProgress,
    Reserved,
    Sink,
    Steadfast,
    as_json,
)

__all__ = [
    "JsonProgress",
    "JsonPulse",
    "Line",
    "LineProgress",
    "LiveProgress",
    "OperationsLine",
    "Printer",
    "QuietProgress",
    "Reserved",
    "RowsLine",
    "Sink",
    "Steadfast",
    "as_json",
]
