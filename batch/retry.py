"""When to ask again, and after how long; the home of tenacity.

tenacity's stop and wait conditions are consulted after a failure only, so that a row that succeeds pays
nothing for them. Nothing here waits or sends.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, stop_after_attempt, stop_after_delay, stop_never
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from batch.errors import AttemptFailed

# Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): uniform between 0 and 1, 2, 4 … 60 s.
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
_OWNER = Retrying()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds and delays of asking again: so many attempts in all, within so many seconds (None: no bound)."""

    attempts: int
    seconds: float | None
    first_wait_s: float = FIRST_WAIT_S
    longest_wait_s: float = LONGEST_WAIT_S

    def delay(self, error: AttemptFailed, number: int, elapsed: float) -> float | None:
        """Return the seconds to wait after attempt `number` (from 1) failed, or None to give up.

        `elapsed` counts from the row's first attempt. A Retry-After is a floor of the delay, and a row that
        could not be asked again within its time is given up at once.
        """
        if not error.retryable:
            return None
        state = RetryCallState(_OWNER, None, (), {})
        state.attempt_number = number
        state.start_time, state.outcome_timestamp = 0.0, elapsed
        if self._stop()(state):
            return None
        delay = max(self._wait()(state), error.retry_after or 0.0)
        if self.seconds is not None and elapsed + delay > self.seconds:
            return None
        return delay

    def pause(self, number: int) -> float:
        """Return the seconds to wait after a failure that does not count against the row."""
        state = RetryCallState(_OWNER, None, (), {})
        state.attempt_number = number
        return self._wait()(state)

    def jitter(self, number: int) -> float:
        """Return a short wait of a row whose real wait is a pause that all rows share."""
        return min(self.pause(min(number, 3)), self.first_wait_s) / 2

    def _stop(self) -> stop_base:
        bounded: stop_base = stop_after_attempt(self.attempts)
        return bounded | (stop_never if self.seconds is None else stop_after_delay(self.seconds))

    def _wait(self) -> wait_base:
        return wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)
