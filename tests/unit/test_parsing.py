"""How the text of a setting becomes a value: what is accepted, what is refused, and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import parsing
from batch.parsing import Bounds, FailureLimit, KeptField, RateLimit

ACCEPTED: list[tuple[Callable[[str], object], str, object]] = [
    *[(parsing.boolean, word, True) for word in ("1", "true", "YES", " on ")],
    *[(parsing.boolean, word, False) for word in ("0", "False", "no", "off")],
    (parsing.count, "0", 0),
    (parsing.count, "off", 0),
    (parsing.count, " 12 ", 12),
    (parsing.count_or_off, "0", None),
    (parsing.count_or_off, "off", None),
    (parsing.count_or_off, "None", None),
    (parsing.count_or_off, "5", 5),
    (parsing.positive, "1", 1),
    (parsing.positive, "007", 7),
    (parsing.temperature, "0", 0.0),
    (parsing.temperature, "1", 1.0),
    (parsing.temperature, ".25", 0.25),
    (parsing.duration, "90", 90.0),
    (parsing.duration, "0.5", 0.5),
    (parsing.duration, "30s", 30.0),
    (parsing.duration, "250ms", 0.25),
    (parsing.duration, "5M", 300.0),
    (parsing.duration, "1h30m", 5400.0),
    (parsing.duration, " 1.5d ", 129600.0),
    (parsing.duration_or_off, "off", None),
    (parsing.duration_or_off, "0", None),
    (parsing.duration_or_off, "7h", 25200.0),
    (parsing.rate_limit, "10/s", RateLimit(10, 1)),
    (parsing.rate_limit, "300 / min", RateLimit(300, 60)),
    (parsing.rate_limit, "5000/HOUR", RateLimit(5000, 3600)),
    (parsing.rate_limit, "1/d", RateLimit(1, 86400)),
    (parsing.rate_limit, "0/s", None),
    (parsing.rate_limit, "0", None),
    (parsing.rate_limit, "off", None),
    (parsing.bounds, "auto", parsing.AUTO),
    (parsing.bounds, "10", Bounds(10, 10)),
    (parsing.bounds, " 2 - 50 ", Bounds(2, 50)),
    (parsing.unknown_choice, "skip", "skip"),
    (parsing.time_of_day, "06:30", (6, 30)),
    (parsing.time_of_day, "0:00", (0, 0)),
    (parsing.time_of_day, "23:59", (23, 59)),
    (parsing.failure_limit, "0", FailureLimit(0, None)),
    (parsing.failure_limit, "20", FailureLimit(20, None)),
    (parsing.failure_limit, "2.5%", FailureLimit(0, 2.5)),
    (parsing.failure_limit, "100 %", FailureLimit(0, 100.0)),
    (parsing.failure_limit, "off", FailureLimit(0, 100.0)),
    (parsing.kept_field, "city", KeptField("city", "string")),
    (parsing.kept_field, "n:int", KeptField("n", "int")),
    (parsing.kept_field, "a:b:json", KeptField("a:b", "json")),
    (parsing.base_url, "http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
    (parsing.base_url, " https://proxy.example.com/llm/ ", "https://proxy.example.com/llm"),
    (parsing.path, "a/b.parquet", Path("a/b.parquet")),
    (parsing.path, "~nobody-has-this-name", Path("~nobody-has-this-name")),
    (parsing.text_or_file, "Be brief", "Be brief"),
    (parsing.text_or_file, "", ""),
]

REFUSED: list[tuple[Callable[[str], object], str]] = [
    *[(parsing.boolean, word) for word in ("", "2", "y", "maybe")],
    *[(parsing.count, word) for word in ("", "-1", "1.5", "1e3", "many", "9" * 16)],
    *[(parsing.count_or_off, word) for word in ("", "-1", "never")],
    *[(parsing.positive, word) for word in ("", "0", "-1", "1.5", "off")],
    *[(parsing.temperature, word) for word in ("", "-0.1", "1.01", "nan", "inf", "warm")],
    *[(parsing.duration, word) for word in ("", "0", "0s", "-5s", "5 s", "5w", "s", "1h 30m", "off", "1e3")],
    *[(parsing.duration_or_off, word) for word in ("", "-1", "soon")],
    *[(parsing.rate_limit, word) for word in ("", "10", "10/", "/s", "10/w", "1.5/s", "-1/s", "10/ms")],
    *[(parsing.bounds, word) for word in ("", "0", "0-5", "5-2", "-5", "1-", "many", "1.5", "off")],
    *[(parsing.unknown_choice, word) for word in ("", "Retry", "leave")],
    *[(parsing.time_of_day, word) for word in ("", "24:00", "6", "6:5", "06:60", "06:30:00")],
    *[(parsing.failure_limit, word) for word in ("", "-1", "101%", "2.5", "%", "all")],
    *[(parsing.kept_field, word) for word in ("", ":int", "a:", "a:integer", "a:b")],
    *[
        (parsing.base_url, word)
        for word in ("", "example.com", "ftp://a", "https://", "http://a?b", "http://a#b", "http://u:p@a")
    ],
    (parsing.base_url, "http://[::1"),
    *[(parsing.path, word) for word in ("", "  ")],
    *[(parsing.text_or_file, word) for word in ("@", "@no/such/file", "@" + "x" * 5000)],
]


def _name(value: object) -> str | None:
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize(("parse", "text", "value"), ACCEPTED, ids=_name)
def test_accepted(parse: Callable[[str], object], text: str, value: object) -> None:
    """Each accepted way to write a value gives that value; `0` and `off` are none where a limit is meant."""
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize(("parse", "text"), REFUSED, ids=_name)
def test_refused(parse: Callable[[str], object], text: str) -> None:
    """Everything else is refused with half a sentence."""
    with pytest.raises(ValueError, match=r"\w+ \w+") as caught:
        parse(text)
    assert not str(caught.value).endswith(".")


def test_passwords_are_not_repeated() -> None:
    """An address with a password is refused without writing the password down."""
    with pytest.raises(ValueError, match="password") as caught:
        parsing.base_url("https://me:secret@example.com")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["auto", "10", "2-50"])
def test_bounds_are_written_as_they_are_read(text: str) -> None:
    """The text of the bounds of concurrency is one that is accepted and means the same."""
    assert str(parsing.bounds(text)) == text


@pytest.mark.parametrize("limit", ["10/s", "300/min", "5000/h", "7/d"])
def test_rates_are_written_as_they_are_read(limit: str) -> None:
    """A rate's text is one that is accepted and means the same."""
    assert str(parsing.rate_limit(limit)) == limit


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Be brief\n", "Be brief"),
        ("Будь краток".encode(), "Будь краток"),
        ("\ufeffBe\r\nbrief\r\n".encode(), "Be\nbrief"),
        (b"", ""),
    ],
)
def test_texts_from_files(tmp_path: Path, content: bytes, text: str) -> None:
    """`@FILE` is the file's text without its last newline, and without what Windows puts around it."""
    (tmp_path / "text").write_bytes(content)
    assert parsing.text_or_file(f"@{tmp_path / 'text'}") == text


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused by name."""
    (tmp_path / "text").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="text is not UTF-8 text"):
        parsing.text_or_file(f"@{tmp_path / 'text'}")


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder."""
    monkeypatch.setenv("HOME", "/home/of/somebody")
    assert parsing.path("~/out.parquet") == Path("/home/of/somebody/out.parquet")


@given(failed=st.integers(0, 10**6), more=st.integers(0, 10**6), limit=st.integers(0, 10**6))
def test_failures_are_counted_exactly(failed: int, more: int, limit: int) -> None:
    """A limit of N is exceeded by N + 1 failures and not by N, as a number and as a share."""
    rows = failed + more
    assert FailureLimit(limit, None).exceeded(failed, rows) is (failed > limit)
    assert FailureLimit(0, 100.0).exceeded(failed, rows) is False
    assert FailureLimit(0, 50.0).exceeded(failed, rows) is (failed > more)
    assert FailureLimit(0, 0.0).exceeded(failed, rows) is (failed > 0)


@pytest.mark.parametrize(("word", "text"), [("maxToken", " (did you mean maxTokens?)"), ("zzz", "")])
def test_nearest(word: str, text: str) -> None:
    """A misspelt word is answered with the known one that is like it, if there is one."""
    assert parsing.nearest(word, ["stream", "maxTokens"]) == text
