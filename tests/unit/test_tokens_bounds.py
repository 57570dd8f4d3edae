"""The most that a request can be billed: never less than any tokenizer or any recording says."""

from __future__ import annotations

import unicodedata

import pytest
from fitting.pairs import request_of
from hypothesis import given
from hypothesis import strategies as st
from reference import recorded

from batch.emulator.tokenizer import prompt_tokens
from batch.jsontext import encode
from batch.records import Message, Options, Request
from batch.tokens import Estimator, upper_bound
from batch.tokens.bounds import FREQUENT_MARKS, text_bound, texts_bound
from batch.tokens.features import weigh_texts


def _request(texts: list[str]) -> Request:
    return Request("m", tuple(Message("user", text) for text in texts), Options())


def test_every_recorded_bill_is_below() -> None:
    """No recorded request was billed more than its bound."""
    checked = 0
    for record in recorded("token-counts.jsonl"):
        request = request_of(record)
        if request is not None:
            assert upper_bound(request) >= int(str(record["inputTextTokens"]))
            checked += 1
    assert checked > 40


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_it_is_above_the_tokenizer_and_the_bytes(texts: list[str]) -> None:
    """For any texts the bound is at least the tokens, the bytes, the normalised bytes and the estimate."""
    request = _request(texts)
    bound = upper_bound(request)
    assert bound >= len(prompt_tokens(texts))
    assert bound >= sum(len(text.encode()) for text in texts)
    assert bound >= sum(len(unicodedata.normalize("NFKC", text).encode()) for text in texts)
    for model in ("yandexgpt/latest", "gpt-oss-120b/latest", "gemma-3-27b-it/latest", "unheard-of"):
        assert bound >= Estimator.for_model(f"gpt:{model}").input_tokens(request)


@pytest.mark.parametrize(
    ("text", "most"),
    [("", 0), ("ping", 4), ("Привет", 12), ("\ufdfa", 33), ("e\u0301", 3), ("😊", 4), ("\ud800", 3)],
)
def test_a_token_has_at_least_one_byte(text: str, most: int) -> None:
    """A text's bound is its bytes in UTF-8, normalised where that makes more of them."""
    assert text_bound(text) == most


def _slowly(text: str) -> int:
    return max(len(form.encode("utf-8", "surrogatepass")) for form in (text, unicodedata.normalize("NFKC", text)))


@given(
    st.lists(
        st.text() | st.text(st.sampled_from([*"aй ё\u0301\u0323\u00bd\ufdfa한", *FREQUENT_MARKS])), max_size=4
    )
)
def test_the_quick_ways_to_a_bound_are_exact(texts: list[str]) -> None:
    """For one text and for many together the bound is what normalising each of them comes to."""
    assert [text_bound(text) for text in texts] == [_slowly(text) for text in texts]
    assert texts_bound(1, texts, weigh_texts(1, texts)) == upper_bound(_request(texts))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def test_what_is_taken_for_granted_of_nfkc() -> None:
    """It leaves ASCII and two-byte Cyrillic alone, makes no frequent mark longer, and composes nothing longer."""
    narrow = [chr(code) for code in (*range(0x80), *range(0x400, 0x480))]
    assert all(unicodedata.is_normalized("NFKC", one + other) for one in narrow for other in narrow)
    seconds = set()
    for character in map(chr, range(0x110000)):
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts)
            if unicodedata.normalize("NFC", pair) == character:
                assert _size(character) <= _size(pair)
                seconds.add(pair[1])
                assert pair[0] != "."
    for mark in FREQUENT_MARKS:
        made = unicodedata.normalize("NFKC", mark)
        assert _size(made) <= _size(mark)
        assert made[0] not in seconds


def test_json_may_be_written_in_another_way() -> None:
    """Tools, schemas, calls and results have room to be escaped, indented and introduced by instructions."""
    tools = [{"function": {"name": "погода", "parameters": {"type": "object"}}}]
    plain = upper_bound(_request(["Hi"]))
    escaped = 6 * 6 + len(encode(tools)) - 12
    hi = Message("user", "Hi")
    with_tools = upper_bound(Request("m", (hi,), Options(tools=tools)))  # type: ignore[arg-type]
    assert with_tools >= plain + 2 * escaped + 200
    assert upper_bound(Request("m", (hi,), Options(json_schema={"schema": {}}))) > plain + 200
    assert upper_bound(Request("m", (hi,), Options(json_object=True))) > plain + 200
    called = Message("assistant", tool_calls={"toolCalls": [{"functionCall": {"name": "f", "arguments": {}}}]})
    assert upper_bound(Request("m", (hi, called), Options())) > plain + 200
