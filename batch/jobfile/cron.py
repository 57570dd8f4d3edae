"""When a job is due: a time of day with days, or a line of cron's five fields; local time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from batch import parsing

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_ITEM = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d{1,2}))?")
# The rarest day of cron, 29 February on a given weekday, comes back within 40 years.
_LONGEST_DAYS = 40 * 366
_ANY_DAY = datetime(2000, 1, 1)  # only whether a day ever comes is asked


@dataclass(frozen=True, slots=True)
class Cron:
    """The values that each of cron's fields allows; weekdays from 0 for Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    """Whether a day that fits one of day and weekday is enough: so it is where both are stated."""

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Parse `30 2 * * 1-5`; raises `ValueError` with half a sentence."""
        words = text.split()
        if len(words) != len(_FIELDS):
            raise ValueError(f"{text!r} is not five fields such as 30 2 * * * (minute hour day month weekday)")
        minutes, hours, days, months, weekdays = (
            _field(word, *field) for word, field in zip(words, _FIELDS, strict=True)
        )
        either = not words[2].startswith("*") and not words[4].startswith("*")
        return cls(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)

    def fits(self, day: date) -> bool:
        """Return whether a day is one of those meant."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either else by_day and by_weekday

    def next(self, after: datetime) -> datetime | None:
        """Return the first moment after this one, to the minute; None where there never is one."""
        first = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for number in range(_LONGEST_DAYS):
            day = first.date() + timedelta(days=number)
            if not self.fits(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    moment = datetime.combine(day, time(hour, minute), first.tzinfo)
                    if moment >= first:
                        return moment
        return None


def _field(word: str, name: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _ITEM.fullmatch(part.lower())
        step = int(match[4] or 1) if match else 0
        if match is None or not step:
            raise ValueError(f"{word!r} is no {name} of cron")
        if match[1]:
            first, last = low, high
        elif match[4] and not match[3]:  # what crons make of it differs
            raise ValueError(f"{part!r}: a step of cron goes with a range or a star, such as */{step}")
        else:
            first = _number(match[2], name, low, high)
            last = _number(match[3], name, low, high) if match[3] else first
        if first > last:
            raise ValueError(f"{part!r}: a range of cron goes upwards")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(word: str, name: str, low: int, high: int) -> int:
    names: Sequence[str] = _DAYS if name == "weekday" else _MONTHS if name == "month" else ()
    number = names.index(word) + (name == "month") if word in names else int(word) if word.isdecimal() else -1
    if not low <= number <= high:
        raise ValueError(f"{word!r} is no {name} of cron, which goes from {low} to {high}")
    return number


def weekdays(texts: Sequence[str]) -> tuple[int, ...]:
    """Parse days of the week by their English names, such as `mon`, `Friday`, `mon-fri`, into 0 (Sunday) to 6."""
    found: list[int] = []
    for text in texts:
        ends = [word[:3] for word in text.strip().lower().split("-")]
        if not 1 <= len(ends) <= 2 or any(end not in _DAYS for end in ends):
            raise ValueError(f"{text!r} is no day such as mon, or days such as mon-fri")
        first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
        found += [day % 7 for day in range(first, last + 1 if last >= first else last + 8)]
    return tuple(sorted(set(found)))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is due, as its file says.

    `cron` is the line of five fields in either case; `at` and `days` (0 for Sunday) as they were stated.
    `timezone` is a note for people and for systemd's timer; cron knows the machine's alone. `jitter_s` spreads
    the start over so many seconds.
    """

    cron: str = ""
    at: tuple[int, int] | None = None
    days: tuple[int, ...] = ()
    timezone: str = ""
    jitter_s: float = 0.0

    @classmethod
    def of(cls, at: str, cron: str, days: Sequence[str], timezone: str = "") -> Schedule:
        """Return the schedule that these texts mean; raises `ValueError` with half a sentence."""
        if at and cron:
            raise ValueError("at and cron exclude each other")
        if days and not at:
            raise ValueError("days go with at; a line of cron names its own")
        moment, on = parsing.time_of_day(at) if at else None, weekdays(days)
        if moment is not None:
            every = ",".join(map(str, on)) if on and len(on) < len(_DAYS) else "*"
            cron = f"{moment[1]} {moment[0]} * * {every}"
        if cron and Cron.parse(cron).next(_ANY_DAY) is None:
            raise ValueError(f"the line of cron {cron!r} names a day that never comes")
        return cls(" ".join(cron.split()), moment, on, timezone)

    def next(self, after: datetime) -> datetime | None:
        """Return when the job is due next, or None where its file says nothing; in the machine's time zone.

        The clock on the wall is what counts, that of the job's time zone if it has one that is known here.
        """
        if not self.cron:
            return None
        zone = self.zone()
        due = Cron.parse(self.cron).next(after.astimezone(zone).replace(tzinfo=None))
        if due is None or zone is not None:
            return None if due is None else due.replace(tzinfo=zone).astimezone()
        moment = due.astimezone()
        left_out = due - moment.replace(tzinfo=None)  # where clocks go forward over it: then it is due after that
        return (moment + left_out).astimezone()

    def zone(self) -> ZoneInfo | None:
        """Return the job's own time zone; None where it has none, or one that is not known here."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (OSError, ValueError, KeyError):  # what it raises for a name that is none, too
            return None
