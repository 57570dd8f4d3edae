"""One output row from what the input says and what the journal holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batch.errors import AttemptFailed
from batch.journal import Result, Stored
from batch.records import (
    Answer,
    Completion,
    FinishReason,
    Message,
    Options,
    Problem,
    Reply,
    Request,
    RequestIds,
    Row,
    Status,
    Usage,
)
from batch.writer import assemble

JOURNAL = "0" * 32
REQUEST = Request("yandexgpt", (Message("user", "Hi"),), Options())
COMPLETION = Completion("Hello", None, FinishReason.LENGTH, Usage(1, 2, None, 3), "v1")


def _row(problem: Problem | None = None) -> Row:
    return Row(4, "a.jsonl", 5, None, (), Options(), None, problem)


def _stored(status: Status, reply: Reply | None) -> Stored:
    error = (None, None) if status is Status.OK else ("HTTP_503", "the service is busy")
    return Stored(
        Result("key", 9, status, 2, COMPLETION.usage, *error, 1.5, 1_750_000_000.0), reply, "asked", None
    )


def _judge(reply: Reply) -> Completion:
    assert reply.body == b"{}"
    return COMPLETION


def _never(_reply: Reply) -> Completion:
    raise AttemptFailed("not to be judged", code="TEST")


def test_an_answered_row() -> None:
    """A row with an answer says what came back, what was asked and used, and under which id it was sent."""
    answer = assemble(_row(), REQUEST, "key", _stored(Status.OK, Reply(200, b"{}")), _judge, JOURNAL)
    assert answer == Answer(
        row_key="key",
        status=Status.OK,
        completion="Hello",
        finish_reason=FinishReason.LENGTH,
        model="asked",
        model_version="v1",
        input_tokens=1,
        completion_tokens=2,
        total_tokens=3,
        attempts=2,
        latency_s=1.5,
        request_id=RequestIds.of(JOURNAL, "key").client_request_id,
        finished_at=datetime.fromtimestamp(1_750_000_000, UTC),
    )


@pytest.mark.parametrize("reply", [None, Reply(503, b"<html>")])
def test_a_failed_row(reply: Reply | None) -> None:
    """A row that failed says why, and its reply is not judged as if it were an answer."""
    answer = assemble(_row(), REQUEST, "key", _stored(Status.FAILED, reply), _never, JOURNAL)
    assert (answer.status, answer.error_code, answer.error_message) == (
        Status.FAILED,
        "HTTP_503",
        "the service is busy",
    )
    assert (answer.completion, answer.finish_reason, answer.attempts) == (None, None, 2)


def test_an_invalid_row() -> None:
    """A row that could not be sent says where it stands, what is wrong, and how to mend it."""
    answer = assemble(_row(Problem("it is empty", "fill it")), None, None, None, _never, JOURNAL)
    assert answer == Answer(
        status=Status.INVALID, error_code="INVALID_ROW", error_message="a.jsonl:5: it is empty; fill it"
    )


def test_a_pending_row() -> None:
    """A row that was not asked for yet has its key and model, and is pending."""
    answer = assemble(_row(), REQUEST, "key", None, _never, JOURNAL)
    assert answer == Answer(row_key="key", status=Status.PENDING, model="yandexgpt")
