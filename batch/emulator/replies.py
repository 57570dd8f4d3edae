"""How the service's answers look on the wire: JSON bytes out of plain data.

The counterpart of `wire`, as independent of the program under test. Knows nothing of how
an answer came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from batch.emulator.answers import PARTIAL, Answer
from batch.emulator.clocks import rfc3339
from batch.emulator.operations import Operation
from batch.emulator.tokenizer import describe, pieces

#: Who made an operation.
ACCOUNT: Final = "ajeemulator000000000"
RESPONSE_TYPE: Final = "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.CompletionResponse"
#: A streamed answer has at most this many frames.
MAX_FRAMES = 6


def completion(answer: Answer, *, model_version: str, wrapped: bool) -> bytes:
    """The body of a completion; every count is an int64 and so a JSON string.

    Args:
        answer: what the model said.
        model_version: for example "07.03.2024".
        wrapped: whether the message stands in `result`, as the synchronous mode has it.
    """
    result = _result(answer, model_version)
    return orjson.dumps({"result": result} if wrapped else result)


def operation(operation: Operation, created_at: float, answer: Answer | None, *, model_version: str) -> bytes:
    """The body of an operation, as it was accepted or as it is now.

    Args:
        operation: what is shown.
        created_at: when it was accepted, in seconds since 1970.
        answer: what the model said; None where nothing is shown of it.
        model_version: for example "07.03.2024".
    """
    finished = operation.done_at - operation.accepted_at if operation.done else 0.0
    shown: dict[str, object] = {
        "id": operation.id,
        "description": "Async GPT Completion",
        "createdAt": rfc3339(created_at),
        "createdBy": ACCOUNT,
        "modifiedAt": rfc3339(created_at + finished),
        "done": operation.done,
        "metadata": None,
    }
    if operation.done and operation.error is not None:
        code, message = operation.error
        shown["error"] = {"code": code, "message": message, "details": []}
    if answer is not None:
        shown["response"] = {"@type": RESPONSE_TYPE, **_result(answer, model_version)}
    return orjson.dumps(shown)


def _result(answer: Answer, model_version: str) -> dict[str, object]:
    if answer.tool_calls:
        calls = [{"functionCall": {"name": c.name, "arguments": c.arguments}} for c in answer.tool_calls]
        message: dict[str, object] = {"role": "assistant", "toolCallList": {"toolCalls": calls}}
    else:
        message = {"role": "assistant", "text": answer.text}
    return {
        "alternatives": [{"message": message, "status": answer.status}],
        "usage": {
            "inputTextTokens": str(answer.input_tokens),
            "completionTokens": str(answer.completion_tokens),
            "totalTokens": str(answer.input_tokens + answer.completion_tokens),
            "completionTokensDetails": {"reasoningTokens": str(answer.reasoning_tokens)},
        },
        "modelVersion": model_version,
    }


def frames(answer: Answer, *, model_version: str, wrapped: bool) -> list[bytes]:
    """The lines of a streamed completion: each holds the whole text so far, the last all of it."""
    cut = pieces(answer.text)
    step = max(1, -(-len(cut) // MAX_FRAMES))
    partial = [
        Answer(
            text="".join(cut[:shown]),
            tool_calls=(),
            status=PARTIAL,
            input_tokens=answer.input_tokens,
            completion_tokens=shown + answer.reasoning_tokens,
            reasoning_tokens=answer.reasoning_tokens,
        )
        for shown in range(step, len(cut), step)
    ]
    return [completion(a, model_version=model_version, wrapped=wrapped) + b"\n" for a in (*partial, answer)]


def tokens(found: Sequence[str], *, model_version: str) -> bytes:
    """The body of both tokenizer methods, which is not wrapped."""
    return orjson.dumps({"tokens": [describe(token) for token in found], "modelVersion": model_version})
