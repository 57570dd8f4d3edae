"""One token for all workers: renewed in good time, once for everybody, and on a refusal.

There is no task in the background. Whoever finds that the token is due renews it, while the others go on with
the old one; only where that is dead do all wait, and all for the same renewal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

import anyio

from batch.clock import Clock
from batch.errors import AttemptFailed, CredentialsError, ExitCode, ServiceUnavailable

# The service's documentation advises to renew about every hour, though a token lives for up to twelve.
RENEW_AFTER_S = 3600.0
# A tenth of its life before a token expires, and not less than this, it is due: a renewal may fail for a while.
MARGIN_S = 300.0
MARGIN_OF_LIFE = 0.1
# What the metadata service hands out may be near its end already; it is not asked for another one at once.
LEAST_USE_S = 5.0
# How long a renewal that failed is not tried again: while the old token lives, and when requests need one.
PAUSE_S, LONGEST_PAUSE_S = 5.0, 60.0
PAUSE_WITHOUT_TOKEN_S = 1.0
# So many tokens stay known, to be removed from texts: of more than a day, though none lives for over 12 hours.
REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Token:
    """An IAM token and when it expires (seconds since 1970; None where its issuer does not say)."""

    value: str = field(repr=False)
    expires_at: float | None


Obtain = Callable[[], Awaitable[Token]]


class Keeper:
    """Holds the token of a source and renews it; `renewals` and `failures` count what was tried.

    `obtain` raises `CredentialsError` where the issuer refuses, `ServiceUnavailable` where asking again may
    help. `first` is a token that is there already, `material` says what else may never be shown; `notes` are
    sentences that `obtain` leaves for the user. Serves one event loop at a time. `warn` is called with these,
    with a sentence at the first renewal that fails while the old token lives, and with another when one has
    succeeded again.
    """

    def __init__(
        self,
        obtain: Obtain,
        clock: Clock,
        first: Token | None = None,
        *,
        material: Callable[[], Iterable[str]] = tuple,
        notes: deque[str] | None = None,
    ) -> None:
        self._obtain = obtain
        self._clock = clock
        self._material = material
        self._notes = deque[str]() if notes is None else notes
        self._known: deque[str] = deque(maxlen=REMEMBERED)
        self._token: Token | None = None
        self._renew_at = self._dies_at = float("-inf")
        self._flight: anyio.Event | None = None
        self._failure: CredentialsError | ServiceUnavailable | None = None
        self._failed_at = float("-inf")
        self._in_a_row = 0
        self.renewals = self.failures = 0
        self.warn: Callable[[str], None] = _nobody
        self._warned = False
        if first is not None:
            self._take(first)

    def secrets(self) -> Iterator[str]:
        """Return whatever has to be removed from texts: the tokens of late, and the key that they come from."""
        yield from self._known
        yield from self._material()

    def fresh(self) -> Token | None:
        """Return the token unless it is due; without waiting, since this is asked for every request."""
        return self._token if self._clock.monotonic() < self._renew_at else None

    async def token(self) -> Token:
        """Return a token that lives, a new one where it is due.

        Raises `AttemptFailed` where there is none to be had.
        """
        while True:
            now, token = self._clock.monotonic(), self._token
            if token is not None and now < self._renew_at:
                return token
            if token is not None and now < self._dies_at:
                if self._flight is not None or now < self._failed_at + self._pause():
                    return token
                await self._renew()
            else:
                await self._together()
                if self._token is not None and self._token is not token:
                    return self._token  # the newest there is, however shortly it lives

    async def instead_of(self, refused: Token) -> Token:
        """Return the token that follows one that the service refused, renewed where none has yet.

        Raises `AttemptFailed` where there is none to be had.
        """
        while self._token is refused:
            await self._together()
        return await self.token()

    async def obtain(self) -> Token:
        """Return the token unless it is due, else a new one; raises what the source raises."""
        if self.fresh() is None:
            await self._renew()
            if self._failure is not None:
                raise self._failure
        return await self.token()

    async def _together(self) -> None:
        """Wait for a renewal, or make it; raises `AttemptFailed` where one has just failed."""
        if self._flight is not None:
            await self._flight.wait()
        elif self._failure is not None and self._clock.monotonic() < self._failed_at + PAUSE_WITHOUT_TOKEN_S:
            raise _lost(self._failure)
        else:
            await self._renew()

    async def _renew(self) -> None:
        self._flight = flight = anyio.Event()
        try:
            self._take(await self._obtain())
            self.renewals += 1
        except (CredentialsError, ServiceUnavailable) as error:
            self.failures += 1
            self._in_a_row += 1
            self._failure, self._failed_at = error, self._clock.monotonic()
            self._tell(error)
        finally:
            self._flight = None
            flight.set()
            while self._notes:
                self.warn(self._notes.popleft())

    def _tell(self, error: CredentialsError | ServiceUnavailable) -> None:
        left_s = self._dies_at - self._clock.monotonic()
        if self._warned or self._token is None or left_s <= 0:  # without a token every request fails, and says so
            return
        self._warned = True
        until = "" if left_s == float("inf") else f", which lives for {left_s / 60:.0f} min more"
        self.warn(f"The IAM token could not be renewed; the old one is used{until}: {error}")

    def _take(self, token: Token) -> None:
        if self._warned:
            self._warned = False
            self.warn("The IAM token is renewed again.")
        now = self._clock.monotonic()  # a wall clock that is set back would keep a token for as much longer
        self._failure, self._in_a_row, self._failed_at = None, 0, float("-inf")
        self._token = token
        if token.value not in self._known:
            self._known.append(token.value)
        life = float("inf") if token.expires_at is None else token.expires_at - self._clock.time()
        if life <= 0:  # the clocks disagree; a refusal will tell when it is over
            life = float("inf")
        margin = min(max(life * MARGIN_OF_LIFE, MARGIN_S), life / 2) if life < float("inf") else 0.0
        self._dies_at = now + life
        self._renew_at = now + min(RENEW_AFTER_S, max(life - margin, min(LEAST_USE_S, life)))

    def _pause(self) -> float:
        return min(PAUSE_S * 2.0 ** max(0, min(self._in_a_row - 1, 10)), LONGEST_PAUSE_S)


def _nobody(_sentence: str) -> None:
    """Tell nobody."""


def _lost(error: CredentialsError | ServiceUnavailable) -> AttemptFailed:
    """Return what it means for a request that there is no token: nothing was sent, so nothing was billed."""
    if isinstance(error, CredentialsError):
        return AttemptFailed(str(error), code="TOKEN_REFUSED", retryable=True, stops_run=ExitCode.CREDENTIALS)
    return AttemptFailed(str(error), code="TOKEN_UNAVAILABLE", retryable=True)
