"""JSON of many lines at once: the same values as line by line, or nothing where any line is wrong."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.jsontext import MAX_DEPTH, NotJson, are_shallow, parse, parse_lines

PIECE = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"a"', "1", "0.5", " ", "null", '"', "\\", "NaN", "[[1]]", "{}"]
)
LINE = st.lists(PIECE, max_size=6).map("".join) | st.sampled_from(['{"a": [1, {}]}', "[]", '"текст"', "7"])


@given(st.lists(LINE, min_size=1, max_size=6))
@example(['{"a":1', '"b":2}', "1,2"])
@example(['{"a":[{}', "{}]}", "{},{}"])
@example(['["', '"]', "1,1"])
@example(["1]", "[1"])
@example(["1],[2", "3"])
def test_lines_together_are_lines_alone(lines: list[str]) -> None:
    """Values come only where each line is one value by itself, never where two lines make one or one makes two."""
    try:
        expected = [parse(line) for line in lines]
    except NotJson:
        expected = None  # type: ignore[assignment]
    assert parse_lines("\n".join(lines).encode()) == expected


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "[[" * 150 + "]]" * 150])
def test_depth(text: str) -> None:
    """What is not shallow is refused by `parse` only where it really is too deep, as text and as bytes."""
    deep = text.count("[") > MAX_DEPTH
    assert are_shallow(b"1\n" + text.encode()) is not deep
    for form in (text, text.encode()):
        if deep:
            with pytest.raises(NotJson, match="levels deep"):
                parse(form)
        else:
            parse(form)
    wide = "[" + "[]," * 300 + "[]]"
    assert not are_shallow(wide.encode())
    assert parse(wide) == [[]] * 301


def test_nothing_is_no_value() -> None:
    """No line, a blank one and one that is not UTF-8 have no value."""
    assert [parse_lines(lines) for lines in (b"", b"1\n", b"\n1", b"1\n\n2", b'"\xff"', b"1\n \n2")] == [None] * 6
    assert parse_lines(b"1\r\n2\r") == [1, 2]
