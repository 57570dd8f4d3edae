"""What is counted of texts and requests: each character once, and many texts at once like one by one."""

from __future__ import annotations

import re
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.records import Message, Options, Request
from batch.tokens import count_request, count_text, count_texts
from batch.tokens.features import NAMES, NOTHING, Counts, added

TEXTS = st.lists(st.text(st.sampled_from("aZ яЁ7 .\n\t \u00ab\u0590\u2014漢😊\ud800")), max_size=6)


def _named(counts: Counts) -> dict[str, int]:
    return {name: count for name, count in zip(NAMES, counts, strict=True) if count}


def _slowly(text: str) -> dict[str, int]:
    """Count as the names say, character by character."""
    size = [len(character.encode("utf-8", "surrogatepass")) for character in text]
    cyrillic = len(re.findall("[\u0400-\u047f]", text))
    found = {
        "latin": len(re.findall("[A-Za-z]", text)),
        "cyrillic": cyrillic,
        "words": 1 + len(re.findall(" +", text)),
        "digits": len(re.findall("[0-9]", text)),
        "lines": text.count("\n"),
        "two_bytes": size.count(2) - cyrillic,
        "three_bytes": size.count(3),
        "four_bytes": size.count(4),
    }
    plain = sum(found[name] for name in ("latin", "digits", "lines"))
    found["marks"] = size.count(1) - plain - text.count(" ")
    return {name: found[name] for name in NAMES if found.get(name)}


@given(st.text())
def test_every_character_is_counted_as_its_name_says(text: str) -> None:
    """The passes over bytes count what a look at each character counts, for any text."""
    assert _named(count_text(text)) == _slowly(text)


@given(TEXTS)
def test_many_texts_are_counted_like_one_by_one(texts: list[str]) -> None:
    """Counting texts together gives the sums of counting each: so a million rows can be counted in blocks."""
    each = reduce(added, map(count_text, texts), NOTHING)
    assert count_texts(0, texts)[2:] == each[2:]


def test_indentation_is_one_run() -> None:
    """Runs of spaces of any length count as one, as tokenizers join them."""
    assert _named(count_text("a" + " " * 37 + "b  c d"))["words"] == 4


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        (Options(), {}),
        (Options(tools=[{"function": {"name": "f"}}]), {"json": 27, "tools": 1}),
        (Options(json_schema={"schema": {}}), {"json": 13, "tools": 1}),
        (Options(json_object=True), {}),
    ],
)
def test_tools_and_schemas_are_counted_as_json(options: Options, extra: dict[str, int]) -> None:
    """What the template shows of tools and schemas is counted by the characters of its JSON."""
    request = Request("m", (Message("user", "Hi"),), options)
    assert _named(count_request(request)) == {"requests": 1, "messages": 1, "latin": 2, "words": 1} | extra


def test_tool_calls_and_results_are_counted_as_json() -> None:
    """Messages without a text count as messages, and their JSON by its characters."""
    messages = (Message("assistant", tool_calls={"a": "я"}), Message("user", tool_results={"b": 1}))
    counted = count_request(Request("m", messages, Options()))
    assert _named(counted) == {"requests": 1, "messages": 2, "json": 9 + 7}
