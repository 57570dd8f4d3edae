"""What the holders of a quota tell each other, and how it is divided: a picture that is read, changed, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.jsontext import Json, JsonObject
from batch.sharing.dividing import Claim, Part, leased, shared_out
from batch.sharing.holders import Process, boot
from batch.sharing.usage import Usage

# A holder whose process cannot be judged, or hangs, has lost its share when it was not seen for so long.
UNSEEN_S = 5.0
# Where there is less than one for each, the turn passes on after so long.
TURN_S = 2.0
# The share of one that crashed comes back so long after it was last seen: what it had sent may still be running.
CRASHED_S = 1.0
SLOTS = "slots"


class Unreadable(ValueError):
    """The text is no state of ours."""


@dataclass(slots=True)
class Holder:
    """One run that uses the quota; `job` names what it works on, so that its next run knows its own usage."""

    name: str
    job: str
    process: Process
    seen: float
    parts: dict[str, Part] = field(default_factory=dict)
    sent: Usage = field(default_factory=Usage)
    bounds: tuple[int, int] = (1, 1)

    def gone(self, real_now: float) -> bool:
        """Return whether its share is free again."""
        unseen = real_now - self.seen
        return unseen > UNSEEN_S or (unseen > CRASHED_S and self.process.gone)


@dataclass(slots=True)
class State:
    """The holders by name, what they have learned of the limits, and what those that left have sent, by job.

    `learned` are numbers and `rates` requests by seconds, whose meaning is that of whoever shares.
    """

    holders: dict[str, Holder] = field(default_factory=dict)
    learned: tuple[float | None, ...] = ()
    rates: dict[int, int] = field(default_factory=dict)
    left: dict[str, Usage] = field(default_factory=dict)

    # -- who is there

    def bury(self, real_now: float, now: float) -> None:
        """Remove the holders that are gone; what they sent goes on counting."""
        for name, holder in list(self.holders.items()):
            if holder.gone(real_now):
                self.leave(name, now)
        for job, usage in list(self.left.items()):
            usage.compact(now)
            if not usage.slices:
                del self.left[job]

    def leave(self, name: str, now: float) -> None:
        """Remove a holder; with the last one, what was learned is forgotten: nobody would keep it up to date."""
        holder = self.holders.pop(name, None)
        if holder is not None and holder.sent.slices:
            self.left.setdefault(holder.job, Usage()).extend(holder.sent, now)
        if not self.holders:
            self.learned, self.rates = (), {}

    def others(self, name: str) -> list[Holder]:
        """Return all holders but one."""
        return [holder for other, holder in self.holders.items() if other != name]

    # -- dividing

    def divide(
        self, name: str, claims: Mapping[str, Claim], seconds: Mapping[str, int], now: float
    ) -> dict[str, int]:
        """Return what a holder may use of each thing, and note it; the holder has to be in `holders`.

        `seconds` says of the things that are rate windows how long these are: what those that left have sent in
        it is not there to be divided.
        """
        me = self.holders[name]
        ours, held = dict[str, int](), dict[str, Part]()
        for thing, claim in claims.items():
            present = {
                other: holder.parts[thing] for other, holder in self.holders.items() if thing in holder.parts
            }
            present[name] = Part(claim, 0)
            total = max(part.claim.total for part in present.values()) - self._spent(
                me.job, seconds.get(thing), now
            )
            order = sorted(present)
            turn = int(now // TURN_S) if total < len(order) else 0
            target = shared_out(total, [present[other].claim for other in order], turn)[order.index(name)]
            others = [part for other, part in present.items() if other != name]
            held[thing] = Part(claim, leased(total, target, claim, others))
            ours[thing] = min(target, held[thing].granted)  # what is in use beyond that is given back as it ends
        me.parts = held
        return ours

    def _spent(self, job: str, seconds: int | None, now: float) -> int:
        if seconds is None or seconds < 60:  # the slices are longer than a second's window
            return 0
        return sum(usage.within(now, seconds) for other, usage in self.left.items() if other != job)

    # -- as text

    def as_json(self) -> JsonObject:
        """Return what is written."""
        return {
            "format": 1,
            "boot": boot(),
            "holders": {name: _holder_json(holder) for name, holder in self.holders.items()},
            "learned": list(self.learned),
            "rates": {str(seconds): count for seconds, count in self.rates.items()},
            "left": {job: _usage_json(usage) for job, usage in self.left.items()},
        }

    @classmethod
    def of(cls, value: Json) -> State:
        """Return what was written; nothing where the machine was started anew since. Raises `Unreadable`."""
        facts = _dict(value)
        if facts.get("format") != 1:
            raise Unreadable
        if facts.get("boot") != boot():
            return cls()
        return cls(
            {name: _holder(name, found) for name, found in _dict(facts.get("holders")).items()},
            tuple(None if item is None else _number(item) for item in _list(facts.get("learned"))),
            {int(seconds): int(_number(count)) for seconds, count in _dict(facts.get("rates")).items()},
            {job: _usage(found) for job, found in _dict(facts.get("left")).items()},
        )


def _holder_json(holder: Holder) -> JsonObject:
    process = holder.process
    return {
        "job": holder.job,
        "process": [process.pid, process.start, process.namespace],
        "seen": holder.seen,
        "parts": {
            thing: [part.claim.total, part.claim.need, part.claim.used, part.claim.most, part.granted]
            for thing, part in holder.parts.items()
        },
        "sent": _usage_json(holder.sent),
        "bounds": list(holder.bounds),
    }


def _holder(name: str, value: Json) -> Holder:
    facts = _dict(value)
    pid, start, namespace = _list(facts.get("process"), 3)
    low, high = _list(facts.get("bounds"), 2)
    return Holder(
        name,
        str(facts.get("job")),
        Process(int(_number(pid)), int(_number(start)), str(namespace)),
        _number(facts.get("seen")),
        {thing: _part(found) for thing, found in _dict(facts.get("parts")).items()},
        _usage(facts.get("sent")),
        (int(_number(low)), int(_number(high))),
    )


def _part(value: Json) -> Part:
    total, need, used, most, granted = (int(_number(item)) for item in _list(value, 5))
    return Part(Claim(total, need, used, most), granted)


def _usage_json(usage: Usage) -> list[Json]:
    return [[end, count] for end, count in usage.slices]


def _usage(value: Json) -> Usage:
    pairs = [_list(item, 2) for item in _list(value)]
    return Usage([(_number(end), int(_number(count))) for end, count in pairs])


def _dict(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise Unreadable
    return value


def _list(value: Json, length: int | None = None) -> list[Json]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise Unreadable
    return value


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable
    return value
