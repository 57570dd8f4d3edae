"""Operations as the service writes them: what is done, what failed, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import AttemptFailed, Billed, ExitCode
from batch.jsontext import JsonObject, encode
from batch.providers.operations import of_the_service, read_operation
from batch.providers.yandex import judge
from batch.records import Reply

ANSWER: JsonObject = {
    "@type": "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.CompletionResponse",
    "alternatives": [{"message": {"role": "assistant", "text": "Волга"}, "status": "ALTERNATIVE_STATUS_FINAL"}],
    "usage": {"inputTextTokens": "26", "completionTokens": "11", "totalTokens": "37"},
    "modelVersion": "07.03.2024",
}
SUBMITTED: JsonObject = {
    "id": "d7qi6shlbvo5abcdefgh", "description": "Async GPT Completion", "createdAt": "2023-11-30T18:31:32Z",
    "createdBy": "aje", "modifiedAt": "2023-11-30T18:31:32Z", "done": False, "metadata": None,
}  # fmt: skip


def _reply(http_status: int = 200, **fields: object) -> Reply:
    return Reply(http_status, encode({**SUBMITTED, **fields}))  # type: ignore[dict-item]  # JSON by construction


def test_a_submission() -> None:
    """What a submission answers is an operation that is not done."""
    operation = read_operation(_reply())
    assert (operation.id, operation.done, operation.took_s) == ("d7qi6shlbvo5abcdefgh", False, None)


def test_a_done_operation() -> None:
    """A done operation holds a completion, and says how long it took by the service's own clock."""
    reply = _reply(done=True, response=ANSWER, modifiedAt="2023-11-30T18:31:36.250123456Z")
    assert read_operation(reply).took_s == pytest.approx(4.250123)
    completion = judge(reply)
    assert (completion.text, completion.usage.total_tokens) == ("Волга", 37)


def test_an_error_of_code_0_is_none() -> None:
    """A successful operation may carry an error of code 0."""
    assert judge(_reply(done=True, response=ANSWER, error={"code": 0, "message": ""})).text == "Волга"


@pytest.mark.parametrize(
    ("code", "name", "retryable", "billed"),
    [
        (3, "INVALID_ARGUMENT", False, Billed.NO),
        (8, "RESOURCE_EXHAUSTED", True, Billed.NO),
        (13, "INTERNAL", True, Billed.MAYBE),
        (14, "UNAVAILABLE", True, Billed.NO),
        (1, "CANCELLED", True, Billed.MAYBE),
        (99, "UNKNOWN", True, Billed.MAYBE),
    ],
)
def test_errors_inside_mean_what_they_do_outside(code: int, name: str, retryable: bool, billed: Billed) -> None:
    """`error.code` decides, also where a response stands beside it; it slows nothing down."""
    reply = _reply(done=True, response=ANSWER, error={"code": code, "message": "why\n not"})
    with pytest.raises(AttemptFailed, match="why not") as caught:
        judge(reply)
    error = caught.value
    assert (error.code, error.retryable, error.billed, error.slow_down) == (name, retryable, billed, False)


def test_a_refusal_inside_stops_the_run() -> None:
    """An operation that failed for want of a permission is the run's fault."""
    with pytest.raises(AttemptFailed) as caught:
        judge(_reply(done=True, error={"code": 7, "message": "denied"}))
    assert caught.value.stops_run is ExitCode.CREDENTIALS


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"id": ""}', b'{"id": 5, "done": true}', b'{"id": "a", "done": 1}']
)
def test_what_is_no_operation(body: bytes) -> None:
    """A garbled answer may hide an operation that runs and is billed."""
    with pytest.raises(AttemptFailed) as caught:
        read_operation(Reply(200, body))
    assert caught.value.billed is Billed.YES


def test_an_operation_that_is_not_known() -> None:
    """404 is what the service says of an operation that it does not keep any more."""
    with pytest.raises(AttemptFailed) as caught:
        read_operation(Reply(404, b'{"code":5,"message":"Operation not found"}'))
    assert (caught.value.code, caught.value.retryable) == ("NOT_FOUND", False)


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", b"{}", b'{"message": "no Route matched"}'])
def test_a_404_of_somebody_else_says_nothing_of_an_operation(body: bytes) -> None:
    """A proxy's 404 is a failure that may pass: the service states a code where it does not know an operation."""
    with pytest.raises(AttemptFailed) as caught:
        of_the_service(Reply(404, body))
    assert (caught.value.code, caught.value.retryable, caught.value.billed) == ("HTTP_404", True, Billed.NO)
    known = Reply(404, b'{"code":5,"message":"Operation not found"}')
    assert of_the_service(known) is known


@given(st.text(max_size=40), st.text(max_size=40))
def test_times_never_fail(began: str, ended: str) -> None:
    """Whatever stands where times should, the operation is read."""
    took = read_operation(_reply(done=True, createdAt=began, modifiedAt=ended)).took_s
    assert took is None or took >= 0
