"""The service's refusals: its HTTP statuses and the shapes of its error bodies.

Every refusal that the emulator utters is built here, as a `Rejected`, so that the shapes
stand in one place. This module knows nothing of requests, quotas or ASGI.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

CANCELLED: Final = 1
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

#: gRPC code → HTTP status, from the service's documentation.
HTTP_STATUS: Final[Mapping[int, int]] = {
    INVALID_ARGUMENT: 400,
    DEADLINE_EXCEEDED: 504,
    NOT_FOUND: 404,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 429,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    UNAUTHENTICATED: 401,
}


class Rejected(Exception):
    """The service refuses a request, and bills nothing.

    Attributes:
        http_status: the status of the answer, for example 400.
        body: the JSON body of the answer, in one of the service's recorded shapes.
        in_session: the message is uttered by the model's session, which prefixes it
            with its identifiers (see `located`).
    """

    def __init__(self, http_status: int, body: dict[str, object], *, in_session: bool = False) -> None:
        """Keep the answer that refuses the request."""
        super().__init__(http_status, body)
        self.http_status = http_status
        self.body = body
        self.in_session = in_session

    @property
    def message(self) -> str:
        """What the body says went wrong, whichever its shape."""
        error = self.body.get("error")
        message = error.get("message") if isinstance(error, dict) else self.body.get("message")
        return message if isinstance(message, str) else ""

    def located(self, *, request_id: str, client_request_id: str | None, folder: str) -> Rejected:
        """The same refusal with the session's prefix, where the service puts one (recorded)."""
        if not self.in_session:
            return self
        where = (
            f"internal_id={request_id[:8]}&request_id={request_id}"
            f"&client_request_id={client_request_id or 'undefined'}&folder_id={folder}"
        )
        return model_error(INVALID_ARGUMENT, f"Error in session {where}: {self.message}")


def model_error(grpc_code: int, message: str, *, in_session: bool = False) -> Rejected:
    """Shape 1, of the completion service: `{"error": {"grpcCode", "httpCode", "message", …}}`."""
    status = HTTP_STATUS[grpc_code]
    error: dict[str, object] = {
        "grpcCode": grpc_code,
        "httpCode": status,
        "message": message,
        "httpStatus": HTTPStatus(status).phrase,
        "details": [],
    }
    return Rejected(status, {"error": error}, in_session=in_session)


def session_error(message: str) -> Rejected:
    """Shape 1 for a bad conversation, found by the model's session: HTTP 400."""
    return model_error(INVALID_ARGUMENT, message, in_session=True)


def gateway_error(message: str, grpc_code: int = INVALID_ARGUMENT) -> Rejected:
    """Shape 2, of the REST gateway, in which `error` is a string: HTTP 400 unless told otherwise."""
    body: dict[str, object] = {"error": message, "code": grpc_code, "message": message, "details": []}
    return Rejected(HTTP_STATUS[grpc_code], body)


def cloud_error(grpc_code: int, message: str, *, request_id: str) -> Rejected:
    """Shape 3, of the cloud at large: `{"code", "message", "details": [RequestInfo]}`."""
    info = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": request_id}
    return Rejected(HTTP_STATUS[grpc_code], {"code": grpc_code, "message": message, "details": [info]})


def quota_error(quota: str, kind: str, allowed: int) -> Rejected:
    """HTTP 429, recorded: `<quota> <kind> quota limit exceed: allowed N requests`."""
    message = f"{quota} {kind} quota limit exceed: allowed {allowed} requests"
    return model_error(RESOURCE_EXHAUSTED, message)


def too_many_sessions(allowed: int) -> Rejected:
    """HTTP 429 for too many synchronous generations at once (recorded)."""
    return quota_error("ai.textGenerationCompletionSessionsCount.count", "gauge", allowed)


def too_many_requests(period: str, allowed: int) -> Rejected:
    """HTTP 429 for too many requests per `period`, "Second" or "Hour" (recorded for the hour)."""
    return quota_error(f"ai.textGenerationCompletionRequestsPer{period}.rate", "rate", allowed)


# The names of the three quotas below are not documented but made after the recorded ones; clients
# decide by the code.
def too_many_submissions(period: str, allowed: int) -> Rejected:
    """HTTP 429 for too many asynchronous submissions per `period`, "Second" or "Hour"."""
    return quota_error(f"ai.textGenerationAsyncCompletionRequestsPer{period}.rate", "rate", allowed)


def too_many_polls(allowed: int) -> Rejected:
    """HTTP 429 for too many readings of asynchronous results per second."""
    return quota_error("ai.textGenerationAsyncCompletionOperationRequestsPerSecond.rate", "rate", allowed)


def too_many_tokenizations(allowed: int) -> Rejected:
    """HTTP 429 for too many calls of the tokenizer per second."""
    return quota_error("ai.textGenerationTokenizeRequestsPerSecond.rate", "rate", allowed)
