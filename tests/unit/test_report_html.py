"""The report's HTML: text stays text, whatever is in it."""

from __future__ import annotations

import pytest

from batch.report.html import Safe, cleaned, cut, escaped, joined, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    """Text between tags and in attributes is escaped; only what is `Safe` is markup."""
    made = tag("p", "<b> & \"'", Safe("<i>x</i>"), None, title='"><script>', class_="a")
    assert made.markup == (
        '<p title="&quot;&gt;&lt;script&gt;" class="a">&lt;b&gt; &amp; &quot;&#x27;<i>x</i></p>'
    )
    assert joined("<", Safe("<br>")).markup == "&lt;<br>"


def test_names_and_values() -> None:
    """Underscores become dashes, None leaves an attribute out, `meta` has no end, odd names are refused."""
    assert tag("meta", http_equiv="x", name=None).markup == '<meta http-equiv="x">'
    with pytest.raises(ValueError, match="no element"):
        tag("p onclick=x")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x00b\x1b[31m", "a\ufffdb\ufffd[31m"),
        ("\u202eabc\u2066\u200f", "\ufffdabc\ufffd\ufffd"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("👩\u200d👩 a\xa0b می\u200cخواهم", "👩\u200d👩 a\xa0b می\u200cخواهم"),
        ("\ud800\u2028", "\ufffd\ufffd"),
    ],
)
def test_what_steers_a_reader_is_replaced(text: str, seen: str) -> None:
    """Control characters and marks that turn the direction are replaced; what scripts and emoji need stays."""
    assert cleaned(text) == seen
    escaped(text).encode()


def test_cutting() -> None:
    """Texts are cut by the bytes of their markup, and it is said how much is missing."""
    assert cut("short", 100) == ("short", 0)
    assert cut("<" * 1000, 400) == ("<" * 100, 900)
    assert cut("я" * 300, 600) == ("я" * 300, 0)
