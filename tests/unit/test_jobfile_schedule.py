"""When a job is due, and what its placeholders say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from batch.jobfile import Cron, Schedule, expand

NOW = datetime(2026, 3, 1, 2, 30, 15, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("30 2 * * *", "2026-03-02 02:30"),
        ("31 2 * * *", "2026-03-01 02:31"),
        ("*/15 * * * *", "2026-03-01 02:45"),
        ("5 * * * *", "2026-03-01 03:05"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 9 * * mon-fri", "2026-03-02 09:00"),
        ("0 9 * * 7", "2026-03-01 09:00"),
        ("0 9 13 * 5", "2026-03-06 09:00"),
        ("0 9 1,15 jan-dec/6 *", "2026-07-01 09:00"),
    ],
)
def test_the_next_moment_of_a_line_of_cron(line: str, due: str) -> None:
    """Fields, ranges, steps, names, and cron's rule that one of day and weekday is enough."""
    moment = Cron.parse(line).next(NOW)
    assert f"{moment:%Y-%m-%d %H:%M}" == due


@pytest.mark.parametrize(
    "line", ["", "* * * *", "60 * * * *", "* * * * fun", "*/0 * * * *", "5-1 * * * *", "5/15 * * * *", "@daily x"]
)
def test_lines_that_are_none(line: str) -> None:
    """What cron would not take is refused."""
    with pytest.raises(ValueError, match=r"cron|five fields"):
        Cron.parse(line)


def test_a_day_that_never_comes() -> None:
    """The thirtieth of February has no next moment, and no job may wait for it."""
    assert Cron.parse("0 0 30 2 *").next(NOW) is None
    with pytest.raises(ValueError, match="never comes"):
        Schedule.of("", "0 0 30 2 *", [])


def test_a_time_of_day_with_days_is_a_line_of_cron() -> None:
    """`at` and `days` become five fields; all days are a star."""
    assert Schedule.of("2:30", "", ["mon-fri"]).cron == "30 2 * * 1,2,3,4,5"
    assert Schedule.of("02:30", "", ["mon-sun"]).cron == "30 2 * * *"
    assert Schedule.of("02:30", "", ["Sat", "sun"]).cron == "30 2 * * 0,6"
    assert Schedule.of("", "", []).next(NOW) is None
    with pytest.raises(ValueError, match="exclude each other"):
        Schedule.of("02:30", "0 0 * * *", [])


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "timezone", "due"),
    [
        ("2026-03-28T12:00+01:00", "", "2026-03-29T03:30+02:00"),  # clocks go from 2 to 3
        ("2026-03-28T12:00+01:00", "Europe/Berlin", "2026-03-29T03:30+02:00"),
        ("2026-03-29T12:00+02:00", "", "2026-03-30T02:30+02:00"),
        ("2026-10-24T12:00+02:00", "", "2026-10-25T02:30+02:00"),
        ("2026-10-25T12:00+01:00", "", "2026-10-26T02:30+01:00"),
        ("2026-01-10T12:00+01:00", "Europe/Moscow", "2026-01-11T00:30+01:00"),
        ("2026-07-10T00:00+02:00", "Europe/Moscow", "2026-07-10T01:30+02:00"),
        ("2026-01-10T12:00+01:00", "Mars/Base", "2026-01-11T02:30+01:00"),
    ],
)
def test_the_clock_on_the_wall_counts(now: str, timezone: str, due: str) -> None:
    """Where clocks change, and where the job has a time zone of its own, the next moment has the right offset."""
    moment = Schedule.of("02:30", "", [], timezone).next(datetime.fromisoformat(now))
    assert moment is not None
    assert moment.isoformat(timespec="minutes") == due


def test_placeholders() -> None:
    """Dates go over the ends of months; doubled braces are braces."""
    text = "{date}|{date-1}|{date+31}|{hour}|{{date}}|{env:X}"
    assert expand(text, NOW, {"X": "y"}) == "2026-03-01|2026-02-28|2026-04-01|02|{date}|y"


@pytest.mark.parametrize(
    ("text", "said"),
    [("{dat}", "did you mean date"), ("{", "stands alone"), ("a}", "stands alone"), ("{env:X}", "not set"),
     ("{date-999999}", "no day")],
)  # fmt: skip
def test_placeholders_that_are_none(text: str, said: str) -> None:
    """An unknown one, a lone brace and a missing variable are refused."""
    with pytest.raises(ValueError, match=said):
        expand(text, NOW, {})
