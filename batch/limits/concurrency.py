"""How many requests may run at once, found out: a controller that is told what happens and says a number.

Pure: no clock, no waiting. Slow start, then additive growth, and one cut per episode of refusals (AIMD, Chiu
and Jain 1989); and a memory of where the ceiling was, so that the limit rests just below it and seldom asks
whether it has moved (the plateau of CUBIC, RFC 9438, in its simplest form).
"""

from __future__ import annotations

from dataclasses import dataclass

# The share of the limit that has to be in use before it grows: an idle limit proves nothing.
USED_SHARE = 0.8
CUT = 0.8
# How long the limit rests below a known ceiling before it asks again; doubled as long as the answer is no.
FIRST_REST_S = 60.0
LONGEST_REST_S = 1800.0


@dataclass(frozen=True, slots=True)
class Known:
    """What was found out of a quota's concurrency, for others who use it; times are of the clock's `monotonic`.

    `refused_at` is when the last episode of refusals began, `resume_at` when its pause ends; None for never.
    """

    limit: int
    ceiling: int | None
    rest_s: float
    rest_until: float
    refused_at: float | None = None
    resume_at: float | None = None


@dataclass(slots=True)
class Concurrency:
    """The limit of requests at once, between `low` and `high`; equal ones make it fixed.

    It starts at `low` and doubles about every round trip until `granted`, the number that the service grants
    everybody; from there, and after a refusal, it grows by one per round trip.
    """

    low: int
    high: int
    granted: int
    limit: int = 0
    _ceiling: int | None = None
    _rest_s: float = FIRST_REST_S
    _rest_until: float = 0.0
    _credit: int = 0

    def __post_init__(self) -> None:
        self.limit = self.low

    def succeeded(self, now: float, running: int) -> bool:
        """Note an answer that came while `running` requests ran, itself included; returns whether it grew."""
        if self.limit >= self.high or running < USED_SHARE * self.limit:
            return False
        plateau = self._plateau(now)
        if plateau is not None and self.limit >= plateau:
            return False
        self._credit += 1
        quick = self.limit < (self.granted if plateau is None else plateau)
        if self._credit < (1 if quick else self.limit):
            return False
        self._credit = 0
        self.limit += 1
        return True

    def refused(self, now: float, running: int, allowed: int | None) -> None:
        """Note the first refusal of an episode: cut, and remember the ceiling.

        `running` requests ran at once when it came, the refused one included; `allowed` is the number that
        the service stated. Where that many did not even run, somebody else uses the quota too.
        """
        self._credit = 0
        stated = allowed is not None and 0 < allowed < running
        ceiling = allowed + 1 if allowed is not None and stated else running
        if self._ceiling is not None and ceiling > self._ceiling + 1:
            self._rest_s = FIRST_REST_S  # the ceiling has moved up, and may go on doing so
        self._ceiling = max(self.low + 1, ceiling)
        self._rest_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        cut = ceiling - 1 if stated else int(self.limit * CUT)
        self.limit = max(self.low, min(cut, self.high))

    def stumbled(self) -> None:
        """Note a failure of the service: what was on the way to growth is forgotten."""
        self._credit = 0

    def known(self) -> tuple[int, int | None, float, float]:
        """Return the limit, the ceiling, and how long and until when it rests below that."""
        return self.limit, self._ceiling, self._rest_s, self._rest_until

    def adopt(self, known: Known, grown: int) -> None:
        """Go on from what all have found out together; `grown` is how much we have grown since."""
        self._ceiling, self._rest_s, self._rest_until = known.ceiling, known.rest_s, known.rest_until
        most = max(known.limit, self.high if known.ceiling is None else known.ceiling - 1)
        if known.ceiling is None and known.limit < self.granted:
            most = self.granted  # slow start: all together do not rush past its end
        self.limit = max(self.low, min(known.limit + grown, most, self.high))

    def _plateau(self, now: float) -> int | None:
        """Return the highest number that is known to be good, until it is time to ask for more."""
        if self._ceiling is None or (self.limit >= self._ceiling - 1 and now >= self._rest_until):
            return None
        return self._ceiling - 1
