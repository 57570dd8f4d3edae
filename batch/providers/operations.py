"""Operations: what asynchronous mode answers at once, and what is read of them later.

By the service's definition an operation failed where its `error.code` is above 0: a failed one may carry a
`response` too, and a successful one an `error` of code 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batch.errors import AttemptFailed
from batch.jsontext import Json, JsonObject, NotJson, parse
from batch.providers.failures import failure, failure_inside, stated_code, unreadable
from batch.records import Reply

# Results are kept for three days (the service's documentation).
KEPT_S = 3 * 86400.0


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as it stands; `took_s` is how long it took by the service's own clock, where it says so."""

    id: str
    done: bool
    took_s: float | None


def read_operation(reply: Reply) -> Operation:
    """Return the operation that a reply holds; raises `AttemptFailed` where it holds none."""
    if not 200 <= reply.http_status < 300:
        raise failure(reply)
    try:
        body = parse(reply.body)
    except NotJson:
        body = None
    if not isinstance(body, dict):
        raise unreadable("the answer is not a JSON object: it was cut off or garbled")
    name, done = body.get("id"), body.get("done", False)
    if not isinstance(name, str) or not name or not isinstance(done, bool):
        raise unreadable("the answer is no operation")
    return Operation(name, done, _took(body) if done else None)


def of_the_service(reply: Reply) -> Reply:
    """Return what was answered of an operation; raises `AttemptFailed` for a 404 that the service did not state.

    That an operation is not known is the service's to say, with its code: a proxy's page may say 404 for a while,
    and an operation that is taken for lost is paid and not collected.
    """
    if reply.http_status == 404 and stated_code(reply) is None:
        raise AttemptFailed(str(failure(reply)), code="HTTP_404", retryable=True)
    return reply


def result_of(body: JsonObject) -> JsonObject:
    """Return the completion that an operation's body holds; raises `AttemptFailed` where it failed."""
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(error, dict) and isinstance(code, int) and not isinstance(code, bool) and code > 0:
        message = error.get("message")
        raise failure_inside(code, message if isinstance(message, str) else "")
    response = body.get("response")
    if body.get("done") is not True or not isinstance(response, dict):
        raise unreadable("the operation ended without a response")
    return response


def _took(body: JsonObject) -> float | None:
    began, ended = _time(body.get("createdAt")), _time(body.get("modifiedAt"))
    if began is None or ended is None or ended < began:
        return None
    return (ended - began).total_seconds()


def _time(value: Json) -> datetime | None:
    if not isinstance(value, str):
        return None
    whole, point, rest = value.partition(".")
    digits = rest.rstrip("Z")[:6] if point else ""
    try:
        found = datetime.fromisoformat(whole.removesuffix("Z") + (f".{digits:0<6}" if digits.isdigit() else ""))
    except ValueError:
        return None
    return found.replace(tzinfo=None)  # both are UTC
