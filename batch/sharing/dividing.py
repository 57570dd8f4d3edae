"""Who gets how much: max-min fairness in whole numbers, and leases that never add up to more than there is.

Pure functions of what is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What one holder says of one divisible thing: slots, or the requests of a rate window.

    `total` is how much there is by what it knows, `need` how much of it could be used now, `used` how much is in
    use and cannot be given back at once, `most` what it may take at most.
    """

    total: int
    need: int
    used: int
    most: int

    @property
    def wanted(self) -> int:
        """Return how much would be taken if there were enough for all."""
        return max(0, min(self.need, self.most))


@dataclass(frozen=True, slots=True)
class Part:
    """A claim, and what was granted for it."""

    claim: Claim
    granted: int


def divided(total: int, wants: Sequence[int], turn: int = 0) -> list[int]:
    """Return the fair parts of `total`: nobody gets more than it wants, and nobody could get more but at the
    cost of one who has no more.

    What cannot be divided goes to the first ones from `turn` on, so that where there is less than one each,
    all have their turn.
    """
    parts = [0] * len(wants)
    left = max(0, total)
    order = [(number + turn) % len(wants) for number in range(len(wants))]
    while left and (hungry := [number for number in order if parts[number] < wants[number]]):
        each = left // len(hungry)
        for number in hungry:
            more = min(max(each, 1), wants[number] - parts[number], left)
            parts[number] += more
            left -= more
    return parts


def shared_out(total: int, claims: Sequence[Claim], turn: int = 0) -> list[int]:
    """Return the parts of all: what they need, divided fairly where it is not enough, and what is left over.

    Nobody's need is known exactly, so nothing is kept back; whoever needs more is given of that first.
    """
    parts = divided(total, [claim.wanted for claim in claims], turn)
    room = [max(0, claim.most - part) for claim, part in zip(claims, parts, strict=True)]
    more = divided(total - sum(parts), room, turn)
    return [part + extra for part, extra in zip(parts, more, strict=True)]


def leased(total: int, target: int, claim: Claim, others: Sequence[Part]) -> int:
    """Return what is granted now: the target, as far as the others have let it go and we can.

    What is in use stays granted until it ends; what others still hold is not given a second time.
    """
    free = total - sum(part.granted for part in others)
    return max(claim.used, min(target, max(0, free)))
