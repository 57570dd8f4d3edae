"""The service goes away and comes back, over real sockets, in a small size of `campaigns/outage.py`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from campaigns import outage

from batch.errors import ExitCode
from batch.events import StatusAsked
from batch.progress import JsonProgress, LineProgress

pytestmark = [pytest.mark.campaign, pytest.mark.measured]
SPEED = 100.0


def test_outages_cost_time_and_no_row(tmp_path: Path) -> None:
    """Refused connections, 503 and a proxy's HTML for minutes each fail no row, and the service is probed."""
    story = outage.through(tmp_path, rows=160, lasting_s=300.0, speed=SPEED, ask=True)
    assert (story.seen.code, story.rows) == (ExitCode.OK, {"ok": 160})
    assert [found.kind for found in story.outages] == list(outage.KINDS)
    for found in story.outages:
        assert len(found.failed) >= 5
        # In flight when it began, then the probes; twice as many where a loaded machine told us late of its end.
        assert found.probes <= 2 * outage.PROBES_IN_FIVE_MINUTES, str(found)
        assert 20 <= found.longest_pause <= 75, str(found)
    assert sum(isinstance(event, StatusAsked) for _, event in story.seen.events) == len(outage.KINDS)


def test_an_outage_without_end_ends_the_run(tmp_path: Path) -> None:
    """A service that stays away longer than --max-outage ends the run with exit 5; no row has failed."""
    seen, code = outage.for_ever(tmp_path, max_outage_s=600.0, speed=SPEED)
    rows = seen.summary().rows
    assert (code, rows["failed"]) == (ExitCode.UNAVAILABLE, 0)
    assert rows["ok"] + rows["pending"] == 60
    assert len(seen.lost()) <= 2 * outage.SLOTS + 2 * outage.PROBES_IN_FIVE_MINUTES


def test_the_status_line_is_printed_when_asked() -> None:
    """A status that is asked for prints one line of progress, for people or as JSON, and nothing else."""
    lines, records = io.StringIO(), io.StringIO()
    LineProgress(lines, None, 0).note(StatusAsked())
    JsonProgress(records, None).note(StatusAsked())
    assert "0/0 rows" in lines.getvalue()
    assert lines.getvalue().count("\n") == 1
    assert json.loads(records.getvalue())["event"] == "progress"
