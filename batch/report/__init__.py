"""What a job came to: as lines for a terminal, as one JSON object, or as one page of HTML.

Gets frozen facts and renders them; knows neither journal nor files.
"""

from __future__ import annotations

from batch.report.drawing import require_library
from batch.report.facts import ENDED, KILLED, RUNNING, Entry, Facts, RunSpan, Series, Spread
from batch.report.page import render
from batch.report.scale import Scale
from batch.report.summary import lines, record

__all__ = [
    "ENDED",
    "KILLED",
    "RUNNING",
    "Entry",
    "Facts",
    "RunSpan",
    "Scale",
    "Series",
    "Spread",
    "lines",
    "record",
    "render",
    "require_library",
]
