"""What an unsuccessful reply means: the code decides, whatever the body's shape and whatever its text."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
import pytest
from reference import recorded

from batch.errors import AttemptFailed, Billed, ExitCode
from batch.jsontext import JsonObject
from batch.providers.failures import MESSAGE_LENGTH, clean, failure
from batch.providers.yandex import judge
from batch.records import Reply

CREDENTIALS = ExitCode.CREDENTIALS
NO, MAYBE = Billed.NO, Billed.MAYBE


@dataclass(frozen=True)
class Meaning:
    """What follows from a code."""

    code: str
    retryable: bool = False
    billed: Billed = NO
    slow_down: bool = False
    stops_run: ExitCode | None = None

    @classmethod
    def of(cls, error: AttemptFailed) -> Meaning:
        """Take the meaning out of an error."""
        return cls(error.code, error.retryable, error.billed, error.slow_down, error.stops_run)


# The service's own table of errors: gRPC code, HTTP status, what follows.
DOCUMENTED = [
    (3, 400, Meaning("INVALID_ARGUMENT")),
    (4, 504, Meaning("DEADLINE_EXCEEDED", retryable=True, billed=MAYBE)),
    (5, 404, Meaning("NOT_FOUND")),
    (7, 403, Meaning("PERMISSION_DENIED", retryable=True, stops_run=CREDENTIALS)),
    (8, 429, Meaning("RESOURCE_EXHAUSTED", retryable=True, slow_down=True)),
    (13, 500, Meaning("INTERNAL", retryable=True, billed=MAYBE)),
    (14, 503, Meaning("UNAVAILABLE", retryable=True)),
    (16, 401, Meaning("UNAUTHENTICATED", retryable=True, stops_run=CREDENTIALS)),
]
TEXT = "What went wrong"
INFO = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "e38e71c3"}


def _of_the_model(grpc_code: int, http_status: int) -> JsonObject:
    return {
        "error": {
            "grpcCode": grpc_code,
            "httpCode": http_status,
            "message": TEXT,
            "httpStatus": "Phrase",
            "details": [],
        }
    }


def _of_the_gateway(grpc_code: int, http_status: int) -> JsonObject:  # noqa: ARG001 - one of the shapes
    return {"error": TEXT, "code": grpc_code, "message": TEXT, "details": []}


def _of_the_cloud(grpc_code: int, http_status: int) -> JsonObject:  # noqa: ARG001 - one of the shapes
    return {"code": grpc_code, "message": TEXT, "details": [INFO]}


def _of_openai(grpc_code: int, http_status: int) -> JsonObject:  # noqa: ARG001 - one of the shapes
    return {"error": {"message": TEXT, "type": "invalid_request_error"}}


SHAPES = [_of_the_model, _of_the_gateway, _of_the_cloud, _of_openai]
PAGE = b"\r\n<html><head><title>Sorry</title></head></html>"


def _failure(http_status: int, body: bytes | JsonObject) -> AttemptFailed:
    return failure(Reply(http_status, body if isinstance(body, bytes) else orjson.dumps(body)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("grpc_code", "http_status", "meaning"), DOCUMENTED)
def test_every_shape_of_every_code(shape: object, grpc_code: int, http_status: int, meaning: Meaning) -> None:
    """An error means the same in each of the service's shapes, and its message is what the body says."""
    error = _failure(http_status, shape(grpc_code, http_status))  # type: ignore[operator]
    assert Meaning.of(error) == meaning
    assert str(error) == TEXT


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_the_finer_code_decides(shape: object) -> None:
    """Where the body states a gRPC code, it decides over the HTTP status of whatever passed it on."""
    error = _failure(500, shape(8, 500))  # type: ignore[operator]
    assert Meaning.of(error) == Meaning("RESOURCE_EXHAUSTED", retryable=True, slow_down=True)


def test_the_code_decides_over_the_text() -> None:
    """A text that speaks of quotas under the code of a bad request is a bad request, and the reverse."""
    quota, bad = "rate quota limit exceed: allowed 100 requests", "Failed to parse model URI"
    codes = {
        (text, grpc_code): _failure(400, {"error": {"grpcCode": grpc_code, "message": text}}).code
        for text in (quota, bad)
        for grpc_code in (3, 8)
    }
    assert codes == {
        (quota, 3): "INVALID_ARGUMENT",
        (bad, 3): "INVALID_ARGUMENT",
        (quota, 8): "RESOURCE_EXHAUSTED",
        (bad, 8): "RESOURCE_EXHAUSTED",
    }


@pytest.mark.parametrize(
    ("http_status", "meaning"),
    [
        *[(http_status, meaning) for _, http_status, meaning in DOCUMENTED],
        (302, Meaning("HTTP_302")),
        (408, Meaning("HTTP_408", retryable=True)),
        (409, Meaning("ABORTED", retryable=True, billed=MAYBE)),
        (413, Meaning("HTTP_413")),
        (418, Meaning("HTTP_418")),
        (499, Meaning("CANCELLED", retryable=True, billed=MAYBE)),
        (501, Meaning("UNIMPLEMENTED")),
        (502, Meaning("HTTP_502", retryable=True, billed=MAYBE)),
        (529, Meaning("HTTP_529", retryable=True, billed=MAYBE)),
    ],
)
@pytest.mark.parametrize(
    ("body", "about"),
    [
        (b"", "with an empty body"),
        (b" \r\n", "with an empty body"),
        (PAGE, "with an HTML page, as from a proxy"),
        (b"upstream connect error", ""),
        (b'{"error":{"grpcCode":8,', ""),
        (b"[8]", ""),
        (b'"RESOURCE_EXHAUSTED"', ""),
        (b'{"error":null}', ""),
    ],
)
def test_a_body_that_states_nothing(http_status: int, meaning: Meaning, body: bytes, about: str) -> None:
    """A page, an empty body or a broken one leaves the HTTP status to decide, and the message says so."""
    error = _failure(http_status, body)
    assert Meaning.of(error) == meaning
    assert str(error) == f"HTTP {http_status} {about}".strip()


@pytest.mark.parametrize("code", ["8", 8.0, True, None, 0, -8, [8], {"value": 8}, 99, 429])
def test_a_code_that_is_none_of_grpcs(code: object) -> None:
    """A code of another kind or of another table is passed over; the HTTP status decides."""
    for body in ({"error": {"grpcCode": code, "message": TEXT}}, {"code": code, "message": TEXT}):
        assert _failure(400, orjson.dumps(body)).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "body", [{"error": {"message": ["list"]}}, {"message": 7}, {"error": {"message": ""}}, {"error": ""}]
)
def test_a_message_that_is_none(body: JsonObject) -> None:
    """A message that is no text, or an empty one, is replaced by the status."""
    assert str(_failure(503, body)) == "HTTP 503"


def test_all_recorded_errors() -> None:
    """Every error recorded from the real service has the meaning that its code says."""
    invalid, refused = DOCUMENTED[0][2], DOCUMENTED[-1][2]
    meanings = [
        DOCUMENTED[4][2],
        *[invalid] * 4,
        Meaning("HTTP_200", billed=MAYBE),
        invalid,
        refused,
        refused,
    ]
    for line, meaning in zip(recorded("error-bodies.jsonl"), meanings, strict=True):
        body, http_status = line["body"], line["http_status"]
        assert isinstance(body, dict)
        assert isinstance(http_status, int)
        with pytest.raises(AttemptFailed) as failed:
            judge(Reply(http_status, orjson.dumps(body)))
        assert Meaning.of(failed.value) == meaning, line
        inner = body["error"] if isinstance(body.get("error"), dict) else body
        assert str(failed.value) == inner["message"]


def test_retry_after_is_passed_on() -> None:
    """The seconds that the service asks for reach the one who waits."""
    assert failure(Reply(429, b"", 2.5)).retry_after == 2.5
    assert failure(Reply(429, b"")).retry_after is None


@pytest.mark.parametrize(
    ("message", "cleaned"),
    [
        ("plain", "plain"),
        ("  two\nlines\r\n\tand tabs  ", "two lines and tabs"),
        ("\x1b[31mred\x1b[0m \x07bell\x00", "[31mred [0m bell"),
        ("left\u202eright\u2028line\ufeff", "left right line"),
        ("Ошибка: «ёлка» 😊", "Ошибка: «ёлка» 😊"),
        ("", ""),
        ("x" * MESSAGE_LENGTH, "x" * MESSAGE_LENGTH),
        ("x" * (MESSAGE_LENGTH + 1), "x" * (MESSAGE_LENGTH - 1) + "…"),
        (" \n" * 10_000 + "end", "end"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_messages_are_fit_for_a_terminal_and_a_cell(message: str, cleaned: str) -> None:
    """A message is one line of printable characters of bounded length: it can neither steer a terminal nor
    fill a table.
    """
    assert clean(message) == cleaned
    assert str(_failure(500, {"message": message})) == (cleaned or "HTTP 500")
