"""Row keys: every row has its own, whatever rows are called and however often they occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.journal import KeyCounter
from batch.records import Chunk, Defaults, Message, Options, Problem, Request, Row

TRICKY = st.lists(st.text("a#12\n٣", max_size=5) | st.text(max_size=3), max_size=25)


@pytest.fixture
def counter() -> Iterator[KeyCounter]:
    made = KeyCounter()
    yield made
    made.close()


def _keys(*chunks: Sequence[str]) -> list[str]:
    counter = KeyCounter()
    try:
        return [key for chunk in chunks for key in counter.keys(chunk)]
    finally:
        counter.close()


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a", "a", "b", "a"], ["a", "a#2", "b", "a#3"]),
        (["a#2", "a", "a"], ["a#2#1", "a", "a#2"]),
        (["a", "a", "a#2", "a#2"], ["a", "a#2", "a#2#1", "a#2#2"]),
        (["a#", "#", "#1", "a#b"], ["a#", "#", "#1#1", "a#b"]),
        (["a#2\n", ""], ["a#2\n", ""]),
    ],
)
def test_occurrences(names: list[str], keys: list[str]) -> None:
    """The n-th row of a name has the key `name#n`, and the first the name, unless it looks counted."""
    assert _keys(names) == keys


@settings(deadline=None)
@given(TRICKY)
def test_keys_are_unique(names: list[str]) -> None:
    """No two rows share a key, whatever they are called."""
    keys = _keys(names)
    assert len(set(keys)) == len(names)


@settings(deadline=None)
@given(TRICKY.flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_order_does_not_matter(names: tuple[list[str], list[str]]) -> None:
    """Reordered rows have the same keys as a whole, so that nothing is bought again."""
    first, second = names
    assert Counter(_keys(first)) == Counter(_keys(second))


@settings(deadline=None)
@given(TRICKY, TRICKY)
def test_appending_and_chunks_do_not_matter(names: list[str], more: list[str]) -> None:
    """Rows that are appended leave the keys of those before them, and chunks are of no consequence."""
    assert _keys(names, more) == _keys([*names, *more])
    assert _keys([*names, *more])[: len(names)] == _keys(names)


def test_keyed_chunks(counter: KeyCounter) -> None:
    """Rows that cannot be sent have neither request nor key, and are not counted."""
    problem = Problem("empty", "fill it")

    def row(text: str | None) -> Row:
        messages = (Message("user", text),) if text else ()
        return Row(0, "f", 1, None, messages, Options(), None, None if text else problem)

    chunks = [Chunk([row("a"), row(None), row("a")]), Chunk([row("b"), row("a")])]
    defaults = Defaults("m", "Be brief", Options(max_tokens=5))

    def name(_row: Row, request: Request) -> str:
        return request.messages[-1].text or ""

    keyed = list(counter.keyed(chunks, defaults, name))
    assert [list(chunk.keys) for chunk in keyed] == [["a", None, "a#2"], ["b", "a#3"]]
    assert [chunk.chunk for chunk in keyed] == chunks
    first = keyed[0].requests[0]
    assert first is not None
    assert first == Request("m", (Message("system", "Be brief"), Message("user", "a")), Options(max_tokens=5))
    assert keyed[0].requests[1] is None
