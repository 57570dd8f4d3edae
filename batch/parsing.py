"""How the text of a setting becomes a value: durations, rates, shares, switches.

Every function takes the text and raises `ValueError` with half a sentence that says what is accepted.
`0` and `off` mean "none" wherever a limit is meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
# Labels of 1 to 63 letters, digits, hyphens or underscores (RFC 1035), or an IPv6 address.
_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|[0-9a-f:.]+")
# What the output column `cost` can hold: decimal128(18, 6).
MOST_MONEY = Decimal(10) ** 12
KEPT_TYPES = ("string", "int", "float", "bool", "json")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` requests in any `seconds`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        units = {1: "s", 60: "min", 3600: "h", 86400: "d"}
        return f"{self.count}/{units[self.seconds]}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between how many requests at once; equal ones are a fixed number."""

    low: int
    high: int

    def __str__(self) -> str:
        if self.low == self.high:
            return str(self.low)
        return "auto" if self == AUTO else f"{self.low}-{self.high}"


# Beyond this many requests at once the client, and not the quota, is what limits.
AUTO = Bounds(1, 256)


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many rows may fail: a `count`, or a `percent` of all rows where it is set."""

    count: int
    percent: float | None

    def __str__(self) -> str:
        return str(self.count) if self.percent is None else f"{self.percent:g}%"

    def exceeded(self, failed: int, rows: int) -> bool:
        """Return whether `failed` of `rows` are more than allowed."""
        if self.percent is None:
            return failed > self.count
        return failed * 100 > self.percent * rows


@dataclass(frozen=True, slots=True)
class KeptField:
    """A field of JSON Lines rows that becomes an output column of one of `KEPT_TYPES`."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency (its code of three letters, ISO 4217)."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"


def is_off(text: str) -> bool:
    """Return whether a text says "none"."""
    return text.strip().lower() in {"0", "off", "none", "no"}


def boolean(text: str) -> bool:
    """Parse yes or no."""
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def count(text: str) -> int:
    """Parse a whole number from 0; `off` is 0."""
    if is_off(text):
        return 0
    if not re.fullmatch(r"\d{1,15}", text.strip()):
        raise ValueError(f"{text!r} is not a whole number from 0")
    return int(text)


def count_or_off(text: str) -> int | None:
    """Parse a whole number above 0, or `off`."""
    return count(text) or None


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    if not re.fullmatch(r"\d{1,15}", text.strip()) or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number from 1")
    return int(text)


def temperature(text: str) -> float:
    """Parse a number from 0 to 1, the range that the service accepts."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number from 0 to 1") from None
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is outside 0 to 1")
    return value


def duration(text: str) -> float:
    """Parse a duration above 0 into seconds: `90`, `30s`, `5m`, `7h`, `1h30m`."""
    word = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", word):
        seconds = float(word)
    elif word and re.fullmatch(rf"(?:{_DURATION_PART.pattern})+", word):
        seconds = sum(
            float(number) * (0.001 if unit == "ms" else _SECONDS[unit])
            for number, unit in _DURATION_PART.findall(word)
        )
    else:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 7h or 1h30m")
    if seconds <= 0:
        raise ValueError(f"{text!r} is not longer than nothing")
    return seconds


def duration_or_off(text: str) -> float | None:
    """Parse a duration, or `off`."""
    return None if is_off(text) else duration(text)


def duration_or_none_at_all(text: str) -> float:
    """Parse a duration that may be nothing: `0` or `off`."""
    return 0.0 if is_off(text) else duration(text)


def rate_limit(text: str) -> RateLimit | None:
    """Parse `10/s`, `5000/h`, `off`."""
    if is_off(text):
        return None
    match = re.fullmatch(r"(\d{1,12})\s*/\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f"{text!r} is not a rate such as 10/s, 300/min, 5000/h or 100000/d")
    return RateLimit(int(match[1]), _SECONDS[match[2]]) if int(match[1]) else None


def rates_over(stated: Sequence[RateLimit] | None, defaults: Sequence[RateLimit]) -> tuple[RateLimit, ...]:
    """Return the rates in force: stated ones go before a default of the same unit; none at all where `off`."""
    if stated is None:
        return tuple(defaults)
    units = {rate.seconds for rate in stated}
    return (*stated, *(rate for rate in defaults if stated and rate.seconds not in units))


def bounds(text: str) -> Bounds:
    """Parse `auto`, `10` or `2-50`."""
    word = text.strip().lower()
    if word == "auto":
        return AUTO
    match = re.fullmatch(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", word)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < low <= high:
        raise ValueError(f"{text!r} is not auto, a number from 1, or a range such as 2-50")
    return Bounds(low, high)


def mode(text: str) -> str:
    """Parse `sync`, `async` or `both`."""
    if text not in ("sync", "async", "both"):
        raise ValueError(f"{text!r} is neither sync, async nor both")
    return text


def unknown_choice(text: str) -> str:
    """Parse `retry` or `skip`."""
    if text not in ("retry", "skip"):
        raise ValueError(f"{text!r} is neither retry nor skip")
    return text


def time_of_day(text: str) -> tuple[int, int]:
    """Parse `06:30` into hours and minutes."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time of day such as 06:30")
    return int(match[1]), int(match[2])


def failure_limit(text: str) -> FailureLimit:
    """Parse `20` or `2.5%`; `off` allows all."""
    word = text.strip().lower()
    if word == "off":
        return FailureLimit(0, 100.0)
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", word):
        if float(match[1]) > 100:
            raise ValueError(f"{text!r} is more than 100 %")
        return FailureLimit(0, float(match[1]))
    if not re.fullmatch(r"\d{1,15}", word):
        raise ValueError(f"{text!r} is neither a number of rows nor a percentage such as 2%")
    return FailureLimit(int(word), None)


def failures_or_off(text: str) -> FailureLimit | None:
    """Parse what `failure_limit` does; `off` is None."""
    return None if text.strip().lower() == "off" else failure_limit(text)


def kept_field(text: str) -> KeptField:
    """Parse `NAME` or `NAME:TYPE`."""
    name, separator, kind = text.rpartition(":")
    if not separator:
        name, kind = text, "string"
    if not name or kind not in KEPT_TYPES:
        raise ValueError(f"{text!r} is not NAME or NAME:TYPE, with a type of {', '.join(KEPT_TYPES)}")
    return KeptField(name, kind)


def price(text: str) -> Decimal:
    """Parse a price from 0, such as `0.20`; a comma may stand for the point."""
    word = text.strip().replace(",", ".")
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", word):
        raise ValueError(f"{text!r} is not a price such as 0.20")
    return Decimal(word)


def currency(text: str) -> str:
    """Parse a currency's code of three letters."""
    word = text.strip().upper()
    if not re.fullmatch(r"[A-Z]{3}", word):
        raise ValueError(f"{text!r} is not a currency's code such as RUB")
    return word


def money(text: str) -> Money:
    """Parse an amount above 0 with its currency: `1500 RUB`, `0.50 USD`; without one, roubles are meant."""
    match = re.fullmatch(r"([\d _]*\d(?:[.,]\d{1,6})?)\s*([A-Za-z]{3}|₽)?", text.strip())
    amount = Decimal(re.sub(r"[ _]", "", match[1]).replace(",", ".")) if match else Decimal(0)
    if match is None or not 0 < amount < MOST_MONEY:
        raise ValueError(f'{text!r} is not an amount such as "1500 RUB"')
    return Money(amount, "RUB" if match[2] in (None, "₽") else match[2].upper())


def money_or_off(text: str) -> Money | None:
    """Parse an amount, or `off`."""
    return None if is_off(text) else money(text)


def share(text: str) -> float:
    """Parse a share above 0, such as `30%` or `0.3`, into a number up to 1."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*(%?)", text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < value <= 1:
        raise ValueError(f"{text!r} is not a share such as 30%")
    return value


def size(text: str) -> int:
    """Parse a size in bytes: `500k`, `10M`, `1000000`."""
    match = re.fullmatch(r"(\d{1,9})\s*([kKmMgG]?)B?", text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a size such as 500k or 10M")
    return int(match[1]) * {"": 1, "k": 1000, "m": 10**6, "g": 10**9}[match[2].lower()]


def url(text: str) -> str:
    """Parse an `http://` or `https://` address that may hold a secret, which no sentence then repeats."""
    try:
        base_url(text.strip().partition("?")[0].partition("#")[0])
    except ValueError:
        raise ValueError("it is not an address such as https://hc-ping.com/…") from None
    return text.strip()


def url_or_off(text: str) -> str | None:
    """Parse an address as `url` does; `off` is none."""
    return None if is_off(text) else url(text)


def base_url(text: str) -> str:
    """Parse an `http://` or `https://` address without a query."""
    parts = urlsplit(text.strip())
    try:
        usable = bool(_HOST.fullmatch(parts.hostname or "")) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no port
        usable = False
    if parts.scheme not in {"http", "https"} or not usable or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not an address such as https://llm.api.cloud.yandex.net")
    if parts.username or parts.password:
        raise ValueError("an address must not carry a password")
    return text.strip().rstrip("/")


def path(text: str) -> Path:
    """Parse a path; `~` is the home folder."""
    if not text.strip():
        raise ValueError("an empty path")
    return home_expanded(text)


def home_expanded(text: str) -> Path:
    """Return a path with `~` as the home folder; `~name` of no known user stays, as in a shell."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def text_or_file(text: str) -> str:
    """Return the text, or the contents of the file that `@FILE` names."""
    if not text.startswith("@"):
        return text
    try:
        return home_expanded(text[1:]).read_text(encoding="utf-8-sig").rstrip("\n")
    except OSError as error:
        raise ValueError(f"cannot read {text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{text[1:]} is not UTF-8 text") from None


def nearest(word: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """Return ` (did you mean X?)` for the known word that is most like this one, or nothing; 1 is the same."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=alike)
    return f" (did you mean {close[0]}?)" if close else ""
