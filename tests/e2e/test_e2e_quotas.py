"""What of a quota is used, over real sockets, in a small size of `campaigns/quotas.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns import quotas

from batch.errors import ExitCode
from batch.parsing import Bounds

pytestmark = [pytest.mark.campaign, pytest.mark.measured]
# A machine that does other things at the same time takes its share; the figures to quote are the campaign's.
USED, REFUSED, MAKESPAN = quotas.USED - 0.04, quotas.REFUSED + 0.01, quotas.MAKESPAN + 0.04
STRAY = 3


@pytest.mark.parametrize(
    "campaign",
    [quotas.unknown_concurrency, quotas.unknown_per_second, quotas.unknown_per_hour],
    ids=["at-once", "per-second", "per-hour"],
)
def test_an_unknown_quota_is_found_and_used(campaign: quotas.Unknown, tmp_path: Path) -> None:
    """A quota that the client is not told is used nearly whole once it has settled, with hardly a refusal."""
    found = campaign(tmp_path, quotas.SMALL)
    assert found.seen.code is ExitCode.OK
    assert found.seen.refusals(), "the quota was never met"
    assert found.used >= USED, str(found)
    assert found.refused <= REFUSED, str(found)
    assert found.storm <= quotas.STORM, str(found)


@pytest.mark.parametrize("burst", [100, 10])
def test_a_known_rate_is_kept_and_used(burst: int, tmp_path: Path) -> None:
    """A hundred per second that the user stated are used, without refusals but for a stray one under load."""
    makespan, refused = quotas.known_per_second(tmp_path, quotas.SMALL, burst, Bounds(64, 64))
    assert refused <= STRAY
    assert makespan <= MAKESPAN


def test_windows_hold_together_and_across_a_restart(tmp_path: Path) -> None:
    """A second's and an hour's quota hold together, and a restart knows what the hour has used: exit 7."""
    found = quotas.windows_together(tmp_path)
    assert found.codes == [ExitCode.BUDGET, ExitCode.QUOTA, ExitCode.OK]
    assert found.answered == [20, 20, 20]
    assert found.refused <= STRAY
