"""What travels through the house: options that overlay, requests that are named, ids that last."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import ChatbatchError, ExitCode
from batch.jsontext import NotJson, canonical, encode, encode_text, parse
from batch.records import Defaults, Message, Options, Request, RequestIds, Row

SCHEMA = {"schema": {"type": "object"}}
REQUEST = Request("m", (Message("user", "Hi"),), Options())


def _row(*messages: Message, **changes: object) -> Row:
    row = Row(0, "f", 1, "chat messages", messages, Options(), None, None)
    return replace(row, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "defaults", "together"),
    [
        (Options(), Options(max_tokens=5), Options(max_tokens=5)),
        (Options(max_tokens=9), Options(max_tokens=5), Options(max_tokens=9)),
        (Options(temperature=0.0), Options(temperature=1.0), Options(temperature=0.0)),
        (
            Options(parallel_tool_calls=False),
            Options(max_tokens=5, parallel_tool_calls=True),
            Options(max_tokens=5, parallel_tool_calls=False),
        ),
        (Options(json_schema=SCHEMA), Options(json_object=True), Options(json_schema=SCHEMA)),
        (Options(json_object=False), Options(json_schema=SCHEMA), Options(json_object=False)),
    ],
)
def test_a_rows_options_win(asked: Options, defaults: Options, together: Options) -> None:
    """What a row asks wins over the run, option by option; of the two kinds of JSON it takes the row's."""
    assert asked.over(defaults) == together


def test_requests() -> None:
    """The run's model, system prompt and options serve rows that have none of their own."""
    defaults = Defaults("m", "Be brief", Options(max_tokens=5))
    brief, own, user = Message("system", "Be brief"), Message("system", "Rhyme"), Message("user", "Hi")
    assert defaults.request(_row(user)) == Request("m", (brief, user), Options(max_tokens=5))
    assert defaults.request(_row(own, user)).messages == (own, user)
    assert defaults.request(_row(user, own)).messages == (user, own)
    assert defaults.request(_row(user, model="gpt://f/x")).model == "gpt://f/x"
    assert Defaults("m", None, Options()).request(_row(user)).messages == (user,)


DIFFERENT = [
    REQUEST,
    replace(REQUEST, messages=(Message("user", "Hi!"),)),
    replace(REQUEST, messages=(Message("assistant", "Hi"),)),
    replace(REQUEST, messages=(Message("user", "Hi"), Message("user", "Hi"))),
    replace(REQUEST, messages=(Message("user", tool_calls={"a": 1}),)),
    replace(REQUEST, messages=(Message("user", tool_results={"a": 1}),)),
    replace(REQUEST, options=Options(temperature=0.0)),
    replace(REQUEST, options=Options(temperature=0.1)),
    replace(REQUEST, options=Options(max_tokens=1)),
    replace(REQUEST, options=Options(json_schema=SCHEMA)),
]


def test_fingerprints_differ_where_answers_may() -> None:
    """Whatever determines the answer changes the fingerprint: model, messages, options."""
    prints = [request.fingerprint("m") for request in DIFFERENT] + [REQUEST.fingerprint("other")]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in prints)


def test_fingerprints_last() -> None:
    """A fingerprint is the same in every run and version, or everything would be bought again."""
    assert REQUEST.fingerprint("m") == "e9f6bd5d176033456b0ab91c015aa611"
    assert replace(REQUEST, model="gpt://other-folder/m").fingerprint("m") == REQUEST.fingerprint("m")
    one = Options(json_schema={"schema": {"a": 1, "b": 2}})
    two = Options(json_schema={"schema": {"b": 2, "a": 1}})
    assert replace(REQUEST, options=one).fingerprint("m") == replace(REQUEST, options=two).fingerprint("m")


@given(st.text(), st.text())
def test_request_ids(first: str, second: str) -> None:
    """A row's ids are UUIDs that are the same for ever, and other rows and journals have others."""
    journal = "0" * 32
    ids = RequestIds.of(journal, first)
    assert ids == RequestIds.of(journal, first)
    assert ids.client_request_id != ids.idempotency_key
    assert uuid.UUID(ids.idempotency_key).version == 8
    assert (ids == RequestIds.of(journal, second)) is (first == second)
    assert ids != RequestIds.of("1" * 32, first)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1,]", "'a'", b"\xff", b'"\xed\xa0\x80"', '"\\ud800"', "1 2"])
def test_what_is_not_json(text: str | bytes) -> None:
    """Anything outside RFC 8259 is refused in one line."""
    with pytest.raises(NotJson) as caught:
        parse(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON.filter(lambda value: "inf" not in repr(value)))
def test_json_comes_back(value: object) -> None:
    """What is written is read back as it was, in every way of writing."""
    for write in (encode, encode_text, canonical):
        assert parse(write(value)) == value  # type: ignore[operator]


def _errors(kind: type[ChatbatchError] = ChatbatchError) -> list[type[ChatbatchError]]:
    return [kind, *(error for child in kind.__subclasses__() for error in _errors(child))]


def test_exit_codes_are_those_of_the_manual() -> None:
    """Exit codes are an interface: their numbers do not move, and each error has one of them."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "UNEXPECTED": 1,
        "USAGE": 2,
        "ROWS_FAILED": 3,
        "CREDENTIALS": 4,
        "UNAVAILABLE": 5,
        "INPUT": 6,
        "QUOTA": 7,
        "BUDGET": 8,
        "NOTHING_TO_DO": 9,
        "DEADLINE": 10,
        "HELD": 11,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }
    assert {
        error.__name__: error.exit_code.value for error in _errors() if "batch.errors" in error.__module__
    } == {
        "ChatbatchError": 1,
        "UsageError": 2,
        "CredentialsError": 4,
        "ServiceUnavailable": 5,
        "InputError": 6,
        "QuotaExhausted": 7,
        "BudgetReached": 8,
        "NothingToDo": 9,
        "DeadlineReached": 10,
        "OutputHeld": 11,
        "JournalError": 1,
        "RowInvalid": 3,
        "AttemptFailed": 3,
    }
