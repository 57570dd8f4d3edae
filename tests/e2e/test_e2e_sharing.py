"""Several real runs on one quota, in a small size of `campaigns/sharing.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns import sharing

pytestmark = [pytest.mark.campaign, pytest.mark.measured]
# A machine that does other things at the same time takes its share; the figures to quote are the campaign's.
TOGETHER, EACH, REFUSED, BACK_S = 0.85, 0.3, 0.04, 3.0
FIXED = ("--concurrency", str(sharing.AT_ONCE))


def test_two_use_a_quota_as_one_would(tmp_path: Path) -> None:
    """Two runs of ten do together what one does with the whole quota of ten, both get on, and hardly any 429s."""
    one = sharing.together(tmp_path / "one", sharing.SMALL, 1, *FIXED)
    two = sharing.together(tmp_path / "two", sharing.SMALL, 2, *FIXED)
    assert two.per_second >= TOGETHER * one.per_second, f"{two}; alone {one}"
    assert min(two.parts) >= EACH, str(two)
    assert two.refused <= REFUSED, str(two)


def test_a_killed_run_gives_its_share_back(tmp_path: Path) -> None:
    """After a SIGKILL the other run soon has the whole quota."""
    waited, found = sharing.killed(tmp_path, sharing.SMALL)
    assert waited <= BACK_S
    assert found.refused <= REFUSED, str(found)
