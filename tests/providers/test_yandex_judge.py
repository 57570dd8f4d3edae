"""What an answer means: every form in which the service may give one, and every form that is none."""

from __future__ import annotations

import orjson
import pytest

from batch.errors import AttemptFailed, Billed
from batch.jsontext import Json, JsonObject
from batch.providers.yandex import judge
from batch.records import Completion, FinishReason, Reply, Usage

CALL: JsonObject = {"functionCall": {"name": "weather", "arguments": {"город": "Пиза"}}}
USAGE: JsonObject = {
    "inputTextTokens": "26",
    "completionTokens": "11",
    "totalTokens": "37",
    "completionTokensDetails": {"reasoningTokens": "4"},
}
COUNTED = Usage(26, 11, 4, 37)
_GIVEN = object()


def _reply(body: bytes | JsonObject, http_status: int = 200) -> Reply:
    return Reply(http_status, body if isinstance(body, bytes) else orjson.dumps(body))


def _result(
    message: Json = _GIVEN,  # type: ignore[assignment]
    status: Json = "ALTERNATIVE_STATUS_FINAL",
    usage: Json = _GIVEN,  # type: ignore[assignment]
) -> JsonObject:
    """Return an answer without its `result`."""
    if message is _GIVEN:
        message = {"role": "assistant", "text": "Четыре."}
    return {
        "alternatives": [{"message": message, "status": status}],
        "usage": USAGE if usage is _GIVEN else usage,
        "modelVersion": "07.03.2024",
    }


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_answer_with_and_without_result(wrapped: bool) -> None:
    """The synchronous mode wraps its message in `result`; unwrapped it means the same."""
    body = {"result": _result()} if wrapped else _result()
    assert judge(_reply(body)) == Completion("Четыре.", None, FinishReason.STOP, COUNTED, "07.03.2024")


@pytest.mark.parametrize(
    ("status", "finish"),
    [
        ("ALTERNATIVE_STATUS_UNSPECIFIED", FinishReason.STOP),
        ("ALTERNATIVE_STATUS_TRUNCATED_FINAL", FinishReason.LENGTH),
        ("ALTERNATIVE_STATUS_FINAL", FinishReason.STOP),
        ("ALTERNATIVE_STATUS_CONTENT_FILTER", FinishReason.CONTENT_FILTER),
        ("ALTERNATIVE_STATUS_TOOL_CALLS", FinishReason.TOOL_CALLS),
        (0, FinishReason.STOP),
        (2, FinishReason.LENGTH),
        (3, FinishReason.STOP),
        (4, FinishReason.CONTENT_FILTER),
        (5, FinishReason.TOOL_CALLS),
        (None, FinishReason.STOP),
        (99, FinishReason.STOP),
        ("ALTERNATIVE_STATUS_OF_TOMORROW", FinishReason.STOP),
    ],
)
def test_every_status_that_ends_an_answer(status: Json, finish: FinishReason) -> None:
    """Statuses are read by name and by number, and an answer with one that is not known yet is kept."""
    completion = judge(_reply({"result": _result(status=status)}))
    assert (completion.finish_reason, completion.text, completion.usage) == (finish, "Четыре.", COUNTED)


@pytest.mark.parametrize("status", ["ALTERNATIVE_STATUS_PARTIAL", 1])
def test_a_partial_answer_is_no_answer(status: Json) -> None:
    """A text that was still being written is not recorded as if it were whole."""
    with pytest.raises(AttemptFailed, match="before it was complete") as failed:
        judge(_reply({"result": _result(status=status)}))
    assert (failed.value.code, failed.value.billed) == ("UNREADABLE_ANSWER", Billed.YES)


@pytest.mark.parametrize(
    ("message", "status", "text", "tool_calls"),
    [
        ({"text": ""}, "ALTERNATIVE_STATUS_FINAL", "", None),
        ({"role": "assistant"}, "ALTERNATIVE_STATUS_FINAL", "", None),
        ({"text": None}, "ALTERNATIVE_STATUS_TRUNCATED_FINAL", "", None),
        ({"role": "assistant"}, "ALTERNATIVE_STATUS_CONTENT_FILTER", None, None),
        ({"text": "Не могу."}, "ALTERNATIVE_STATUS_CONTENT_FILTER", "Не могу.", None),
        ({"text": "\u2028\x00 😊"}, "ALTERNATIVE_STATUS_FINAL", "\u2028\x00 😊", None),
        ({"toolCallList": {"toolCalls": [CALL]}}, "ALTERNATIVE_STATUS_TOOL_CALLS", None, [CALL]),
        ({"toolCallList": {"toolCalls": [CALL, CALL]}}, "ALTERNATIVE_STATUS_TOOL_CALLS", None, [CALL, CALL]),
        ({"toolCallList": {"toolCalls": []}}, "ALTERNATIVE_STATUS_TOOL_CALLS", None, []),
        ({"toolCallList": {"toolCalls": [CALL]}, "text": "Ищу."}, 5, "Ищу.", [CALL]),
    ],
)
def test_texts_and_tool_calls(message: Json, status: Json, text: str | None, tool_calls: Json) -> None:
    """An empty text that proto3 leaves out is a text, a filtered answer may have none, calls are JSON."""
    completion = judge(_reply({"result": _result(message, status)}))
    assert completion.text == text
    read = None if completion.tool_calls is None else orjson.loads(completion.tool_calls)
    assert read == tool_calls


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"inputTextTokens": 26, "completionTokens": 11, "totalTokens": 37}, Usage(26, 11, None, 37)),
        ({"inputTextTokens": "0", "completionTokens": "00011"}, Usage(0, 11, None, None)),
        ({"totalTokens": "999999999999999999"}, Usage(total_tokens=10**18 - 1)),
        ({"inputTextTokens": 7, "completionTokensDetails": {"reasoningTokens": 0}}, Usage(7, None, 0, None)),
        ({}, Usage()),
        (None, Usage()),
        ("37 tokens", Usage()),
        ([26, 11, 37], Usage()),
        ({"inputTextTokens": True, "completionTokens": 1.5, "totalTokens": None}, Usage()),
        ({"inputTextTokens": "-1", "completionTokens": "many", "totalTokens": ""}, Usage()),
        ({"inputTextTokens": -1, "completionTokens": {"value": 1}, "totalTokens": []}, Usage()),
        ({"inputTextTokens": "²", "completionTokens": "٣", "totalTokens": " 37"}, Usage()),
        ({"totalTokens": "1" + "0" * 40, "completionTokensDetails": "none"}, Usage()),
    ],
)
def test_counts(usage: Json, counted: Usage) -> None:
    """Counts are read as strings and as numbers; what is absent or is no count is None, never guessed."""
    assert judge(_reply({"result": _result(usage=usage)})).usage == counted


@pytest.mark.parametrize(
    ("version", "read"), [("07.03.2024", "07.03.2024"), ("", None), (None, None), (7, None), (["7"], None)]
)
def test_the_models_version(version: Json, read: str | None) -> None:
    """The model's version is a text or is not known."""
    assert judge(_reply({"result": {**_result(), "modelVersion": version}})).model_version == read


def test_a_streamed_answer_is_its_last_line() -> None:
    """Where the service streams all the same, the last line holds the whole text and the final usage."""
    texts = ("Че", "Четы", "Четыре.")
    partial = "ALTERNATIVE_STATUS_PARTIAL"
    lines = [
        orjson.dumps({"result": _result({"text": text}, partial if text != texts[-1] else 3, usage)})
        for text, usage in zip(texts, ({}, {}, USAGE), strict=True)
    ]
    for body in (b"\n".join(lines), b"\n".join(lines) + b"\n", b"\r\n".join(lines) + b"\r\n\r\n"):
        completion = judge(_reply(body))
        assert (completion.text, completion.usage) == ("Четыре.", COUNTED)
    with pytest.raises(AttemptFailed, match="before it was complete"):
        judge(_reply(b"\n".join(lines[:2])))
    with pytest.raises(AttemptFailed, match="cut off or garbled"):
        judge(_reply(b"\n".join(lines)[:-9]))


WHOLE = orjson.dumps({"result": _result()})


@pytest.mark.parametrize(
    "body",
    [
        *[WHOLE[:length] for length in (0, 1, len(WHOLE) // 2, len(WHOLE) - 1)],
        *[WHOLE + b"}", b"\xff\xfe", b"   ", b"<html>200</html>", b"null", b'"text"', b"[]", b"NaN"],
        *[{}, {"result": None}, {"result": {}}, {"result": []}, {"result": "text"}],
        *[{"alternatives": None}, {"alternatives": []}, {"alternatives": {}}, {"alternatives": [None]}],
        *[{"alternatives": [[]]}, {"alternatives": [{}]}, {"alternatives": [{"message": None}]}],
        *[
            _result("text"),
            _result([]),
            _result({"text": 12345}),
            _result({"text": ["a"]}),
            _result({"text": {}}),
        ],
    ],
    ids=repr,
)
def test_an_answer_that_cannot_be_read(body: bytes | JsonObject) -> None:
    """A success that holds no answer was billed all the same; asking again may bring a whole one."""
    with pytest.raises(AttemptFailed) as failed:
        judge(_reply(body))
    error = failed.value
    assert (error.code, error.billed, error.retryable) == ("UNREADABLE_ANSWER", Billed.YES, True)
    assert error.stops_run is None
    assert not error.slow_down


ERROR: JsonObject = {"error": {"grpcCode": 8, "httpCode": 429, "message": "quota limit exceed"}}


@pytest.mark.parametrize("body", [orjson.dumps(ERROR), WHOLE + b"\n" + orjson.dumps(ERROR) + b"\n"])
def test_a_success_that_holds_an_error(body: bytes) -> None:
    """An error that follows the status 200, alone or at the end of a stream, is read as what it is."""
    with pytest.raises(AttemptFailed, match="quota limit exceed") as failed:
        judge(_reply(body))
    assert (failed.value.code, failed.value.slow_down) == ("RESOURCE_EXHAUSTED", True)


def test_an_answer_beats_an_empty_error() -> None:
    """An answer that has an alternative is an answer, whatever stands beside it."""
    assert judge(_reply({**_result(), "error": None})).text == "Четыре."


@pytest.mark.parametrize("http_status", [199, 300, 302, 400, 500])
def test_only_a_success_holds_an_answer(http_status: int) -> None:
    """A body that looks like an answer is none under another status than 2xx."""
    with pytest.raises(AttemptFailed) as failed:
        judge(_reply(WHOLE, http_status))
    assert failed.value.code != "UNREADABLE_ANSWER"
