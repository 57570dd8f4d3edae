"""What an unsuccessful reply means, decided by its code and never by its text.

The gRPC code is the finer one, so it decides where the body states it; else the HTTP status does (an HTML or
empty body from a proxy). One entry per code. Messages are for people and are cut to a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batch.errors import AttemptFailed, Billed, ExitCode, StatedQuota
from batch.jsontext import Json, NotJson, parse
from batch.records import Reply

MESSAGE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class _Meaning:
    code: str
    retryable: bool = False
    billed: Billed = Billed.NO
    slow_down: bool = False
    stops_run: ExitCode | None = None


# google.rpc.Code; what each means here is from the service's documentation. An INTERNAL error is documented
# as not charged, but it may come after the work was done, so it is counted with the doubtful ones.
_BY_GRPC = {
    1: _Meaning("CANCELLED", retryable=True, billed=Billed.MAYBE),
    2: _Meaning("UNKNOWN", retryable=True, billed=Billed.MAYBE),
    3: _Meaning("INVALID_ARGUMENT"),
    4: _Meaning("DEADLINE_EXCEEDED", retryable=True, billed=Billed.MAYBE),
    5: _Meaning("NOT_FOUND"),
    6: _Meaning("ALREADY_EXISTS"),
    7: _Meaning("PERMISSION_DENIED", retryable=True, stops_run=ExitCode.CREDENTIALS),
    8: _Meaning("RESOURCE_EXHAUSTED", retryable=True, slow_down=True),
    9: _Meaning("FAILED_PRECONDITION"),
    10: _Meaning("ABORTED", retryable=True, billed=Billed.MAYBE),
    11: _Meaning("OUT_OF_RANGE"),
    12: _Meaning("UNIMPLEMENTED"),
    13: _Meaning("INTERNAL", retryable=True, billed=Billed.MAYBE),
    14: _Meaning("UNAVAILABLE", retryable=True),
    15: _Meaning("DATA_LOSS", retryable=True, billed=Billed.MAYBE),
    16: _Meaning("UNAUTHENTICATED", retryable=True, stops_run=ExitCode.CREDENTIALS),
}
_GRPC_OF_HTTP = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14, 504: 4}
# 408 is the server's own reading timeout: it did not have the whole request.
_BY_HTTP = {408: _Meaning("HTTP_408", retryable=True)}


def failure(reply: Reply) -> AttemptFailed:
    """Return what a reply that holds no completion means for its row and for the run."""
    grpc_code, message = _read(reply)
    meaning = _meaning(reply.http_status, grpc_code)
    return AttemptFailed(
        message or f"HTTP {reply.http_status}{_about(reply.body)}",
        code=meaning.code,
        retryable=meaning.retryable,
        billed=_inside_2xx(meaning.billed) if reply.http_status < 300 else meaning.billed,
        slow_down=meaning.slow_down,
        stops_run=meaning.stops_run,
        retry_after=reply.retry_after,
        quota=_quota(message) if meaning.slow_down else None,
    )


def stated_code(reply: Reply) -> int | None:
    """Return the gRPC code that an error body states; None for whatever is no error of the service's."""
    return _read(reply)[0]


def failure_inside(grpc_code: int, message: str) -> AttemptFailed:
    """Return what an error inside an operation means for its row: the same as in synchronous mode.

    It says nothing of how fast we ask: no limit is cut for it.
    """
    meaning = _BY_GRPC.get(grpc_code, _BY_GRPC[2])
    return AttemptFailed(
        clean(message) or f"the operation failed with code {grpc_code}",
        code=meaning.code,
        retryable=meaning.retryable,
        billed=meaning.billed,
        stops_run=meaning.stops_run,
    )


# Recorded: "ai.textGenerationCompletionSessionsCount.count gauge quota limit exceed: allowed 10 requests" and
# "ai.textGenerationCompletionRequestsPerHour.rate rate quota limit exceed: allowed 100 requests". That it is a
# quota is told by the code; this only says which, and a text that is not understood is a refusal like any.
_QUOTA = re.compile(r"(\w+)\.(count gauge|rate rate) quota limit exceed: allowed (\d{1,9}) ")
_UNITS = {"PerSecond": 1, "PerMinute": 60, "PerHour": 3600, "PerDay": 86400}


def _quota(message: str) -> StatedQuota | None:
    found = _QUOTA.search(message)
    if found is None or int(found[3]) == 0:
        return None
    if found[2] == "count gauge":
        return StatedQuota(int(found[3]), None)
    seconds = next((unit for name, unit in _UNITS.items() if found[1].endswith(name)), None)
    return StatedQuota(int(found[3]), seconds) if seconds else None


def unreadable(reason: str) -> AttemptFailed:
    """Return the failure of an answer that was billed and cannot be read."""
    return AttemptFailed(reason, code="UNREADABLE_ANSWER", retryable=True, billed=Billed.YES)


def _inside_2xx(billed: Billed) -> Billed:
    """Return what an error inside an answer may have cost: the answer had begun."""
    return Billed.MAYBE if billed is Billed.NO else billed


def _meaning(http_status: int, grpc_code: int | None) -> _Meaning:
    if grpc_code in _BY_GRPC:
        return _BY_GRPC[grpc_code]
    if http_status in _BY_HTTP:
        return _BY_HTTP[http_status]
    if http_status in _GRPC_OF_HTTP:
        return _BY_GRPC[_GRPC_OF_HTTP[http_status]]
    if http_status >= 500:
        return _Meaning(f"HTTP_{http_status}", retryable=True, billed=Billed.MAYBE)
    return _Meaning(f"HTTP_{http_status}", billed=Billed.MAYBE if http_status < 300 else Billed.NO)


def _read(reply: Reply) -> tuple[int | None, str]:
    """Return the gRPC code and the message that an error body states, in any of its shapes."""
    try:
        body = parse(reply.body)
    except NotJson:
        return None, ""
    if not isinstance(body, dict):
        return None, ""
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    code = inner.get("grpcCode", inner.get("code"))
    message = inner.get("message") or (error if isinstance(error, str) else "")
    return _code(code), clean(message) if isinstance(message, str) else ""


def _code(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _about(body: bytes) -> str:
    if not body.strip():
        return " with an empty body"
    if body.lstrip()[:1] == b"<":
        return " with an HTML page, as from a proxy"
    return ""


def clean(message: str) -> str:
    """Return a message on one line, without control characters, cut to `MESSAGE_LENGTH`."""
    line = " ".join("".join(char if char.isprintable() else " " for char in message).split())
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"
