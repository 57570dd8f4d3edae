"""When a failure is worth another attempt, and how long to wait before it."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import AttemptFailed
from batch.retry import FIRST_WAIT_S, LONGEST_WAIT_S, RetryPolicy

PASSING = AttemptFailed("busy", code="HTTP_503", retryable=True)
PATIENT = RetryPolicy(attempts=10**6, seconds=None)


def _busy(retry_after: float | None) -> AttemptFailed:
    return AttemptFailed("busy", code="HTTP_429", retryable=True, retry_after=retry_after)


def test_what_cannot_pass_is_not_asked_again() -> None:
    """A failure that is not retryable is final, however much time and however many attempts are left."""
    assert PATIENT.delay(AttemptFailed("no", code="HTTP_400", retry_after=1.0), 1, 0.0) is None


@given(attempts=st.integers(1, 50), number=st.integers(1, 60))
def test_attempts_are_bounded(attempts: int, number: int) -> None:
    """So many attempts are made in all, and not one more."""
    delay = RetryPolicy(attempts, None).delay(PASSING, number, 0.0)
    assert (delay is None) == (number >= attempts)


@given(seconds=st.floats(0.001, 1e5), elapsed=st.floats(0, 2e5), number=st.integers(1, 20))
def test_time_is_bounded(seconds: float, elapsed: float, number: int) -> None:
    """No attempt begins after the row's time: one that would is not waited for."""
    delay = RetryPolicy(1000, seconds).delay(PASSING, number, elapsed)
    if elapsed >= seconds:
        assert delay is None
    if delay is not None:
        assert elapsed + delay <= seconds


@given(number=st.integers(1, 5000), elapsed=st.floats(0, 1e9))
def test_delays_are_within_the_cap(number: int, elapsed: float) -> None:
    """The delay after the n-th failure is between 0 and 1, 2, 4 … seconds, and never above the longest."""
    delay = PATIENT.delay(PASSING, number, elapsed)
    assert delay is not None
    assert 0 <= delay <= min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(number - 1, 10))


@pytest.mark.parametrize(("number", "cap"), [(1, 1.0), (4, 8.0), (20, 60.0)])
def test_jitter_is_full(number: int, cap: float) -> None:
    """Delays are spread evenly from 0 to their cap, so that rows that failed together part."""
    delays = [PATIENT.delay(PASSING, number, 0.0) or 0.0 for _ in range(4000)]
    assert min(delays) < 0.02 * cap
    assert max(delays) > 0.98 * cap
    assert abs(statistics.fmean(delays) - cap / 2) < 0.05 * cap  # eleven standard deviations of the mean


def test_waits_can_be_set() -> None:
    """The first and the longest wait are the policy's own."""
    policy = RetryPolicy(100, None, first_wait_s=0.01, longest_wait_s=0.02)
    delays = [policy.delay(PASSING, number, 0.0) or 0.0 for number in (1, 2, 9) for _ in range(50)]
    assert max(delays[:50]) <= 0.01
    assert max(delays) <= 0.02


@given(retry_after=st.floats(0, 1e6), number=st.integers(1, 20))
def test_retry_after_is_a_floor(retry_after: float, number: int) -> None:
    """We never come back sooner than the service asked, and no later than it or our own cap says."""
    delay = PATIENT.delay(_busy(retry_after), number, 0.0)
    assert delay is not None
    assert retry_after <= delay <= max(retry_after, LONGEST_WAIT_S)


def test_a_retry_after_beyond_the_rows_time_is_not_waited_for() -> None:
    """A row that could not be asked again within its time is given up at once."""
    policy = RetryPolicy(10, 100.0)
    assert policy.delay(_busy(101.0), 1, 0.0) is None
    assert policy.delay(_busy(95.0), 1, 10.0) is None
    assert policy.delay(_busy(95.0), 1, 1.0) == 95.0
