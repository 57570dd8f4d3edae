"""Telling an outage from a bad row: many rows failing alike, with no answer in between.

Pure: told of answers and failures, it says whether the service is to be probed, and after how long. A row
that fails while others are answered is its own fault; what fails during an outage is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# So many different rows have to fail one after the other before it is called an outage.
ROWS_THAT_OPEN = 5
FIRST_PROBE_S = 1.0
LONGEST_PROBE_S = 60.0


@dataclass(slots=True)
class Breaker:
    """Open while the service is down: then one row at a time probes it, after growing pauses.

    `failing_since` is when the first failure came that no answer followed yet.
    """

    opened_at: float | None = None
    failing_since: float | None = None
    _failed: set[str] = field(default_factory=set)
    _probe_s: float = FIRST_PROBE_S
    _last_sent: float = float("-inf")

    @property
    def is_open(self) -> bool:
        """Return whether the service is held to be down."""
        return self.opened_at is not None

    def answered(self, sent_at: float = float("inf")) -> bool:
        """Note any answer of the service; returns whether the outage ended with it.

        The answer to a request that left before the outage says nothing of it: that one was being worked on.
        """
        if self.opened_at is not None and sent_at < self.opened_at:
            return False
        ended = self.is_open
        self._failed.clear()
        self.opened_at = self.failing_since = None
        self._probe_s = FIRST_PROBE_S
        return ended

    def failed(self, row_key: str, sent_at: float, now: float) -> float | None:
        """Note a failure of the service for a request sent at `sent_at`.

        Returns the pause before the next probe where the breaker is open, None where it is closed. Requests
        that were in flight together count once: only one that left after the last pause began prolongs it.
        """
        if self.failing_since is None:
            self.failing_since = now
        if not self.is_open:
            self._failed.add(row_key)
            if len(self._failed) < ROWS_THAT_OPEN:
                return None
            self.opened_at = now
        elif sent_at < self._last_sent:
            return 0.0
        self._last_sent = now
        pause, self._probe_s = self._probe_s, min(2 * self._probe_s, LONGEST_PROBE_S)
        return pause
