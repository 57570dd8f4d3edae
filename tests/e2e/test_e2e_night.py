"""A night with tokens of an hour, in a small size; `tests/campaigns/night.py` has the whole one."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns.night import through

pytestmark = [pytest.mark.campaign, pytest.mark.measured]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_tokens_are_renewed_in_good_time(tmp_path: Path, mode: str) -> None:
    """In three hours no row fails by a 401, and a token is obtained about every hour, not by every worker."""
    night = through(tmp_path, mode, hours=3, speed=2000)
    assert set(night.rows) == {"ok"}
    assert (night.refused, night.lost) == (0, 0)
    assert 3 <= night.tokens <= night.expected + 2
