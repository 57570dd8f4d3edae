"""Numbers, money, durations and times as people read them; groups of digits are parted by a thin space."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from decimal import Decimal

THIN = "\N{NARROW NO-BREAK SPACE}"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def number(value: int) -> str:
    """Return a whole number, such as `12 345`."""
    return f"{value:,}".replace(",", THIN)


def decimal(value: float, digits: int | None = None) -> str:
    """Return a number with as many digits as it deserves: three that mean something, or so many decimals."""
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", THIN)


def short(value: float) -> str:
    """Return a number for an axis: `0`, `250`, `1.5k`, `2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def amount(value: Decimal) -> str:
    """Return an amount of money: hundredths, or more digits where it is less than one."""
    digits = 2 if value >= 1 or value == 0 else max(2, 1 - value.adjusted())
    return f"{value:,.{min(digits, 6)}f}".replace(",", THIN)


def money(value: Decimal, currency: str) -> str:
    """Return an amount and its currency."""
    return f"{amount(value)}{THIN}{currency}"


def share(part: float, whole: float) -> str:
    """Return a part of a whole in percent; a part that is there is never `0 %`, nor a lack `100 %`."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1" + THIN + "%"
    if 99.9 < percent < 100:
        return ">99.9" + THIN + "%"
    return f"{percent:.1f}".removesuffix(".0") + THIN + "%"


def seconds(value: float) -> str:
    """Return seconds as `340 ms`, `2.41 s` or `12.3 s`."""
    if value < 0.9995:
        return f"{value * 1000:.0f}{THIN}ms"
    return f"{decimal(value)}{THIN}s"


def duration(value: float) -> str:
    """Return a length of time in its two largest units, such as `7 h 58 min`."""
    if value < _MINUTE:
        return seconds(value) if value else f"0{THIN}s"
    whole = round(value)
    if whole < _HOUR:
        return _two(whole // _MINUTE, "min", whole % _MINUTE, "s")
    whole = round(value / _MINUTE)
    if whole < _DAY // _MINUTE:
        return _two(whole // 60, "h", whole % 60, "min")
    whole = round(value / _HOUR)
    return _two(whole // 24, "d", whole % 24, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    first = f"{number(large)}{THIN}{large_unit}"
    return f"{first} {small}{THIN}{small_unit}" if small else first


def local(at: float, zone: tzinfo | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a time in a zone, or in the machine's own where it is None."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).strftime(form)


def utc(at: float) -> str:
    """Return a time in UTC, as it stands in titles."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def zone_name(at: float, zone: tzinfo | None) -> str:
    """Return a zone's name and offset, such as `MSK (UTC+03:00)`."""
    here = datetime.fromtimestamp(at, UTC).astimezone(zone)
    offset = here.strftime("%z")
    known = here.tzname() or ""
    if known == "UTC":
        return "UTC"
    return f"{known} (UTC{offset[:3]}:{offset[3:5]})"
