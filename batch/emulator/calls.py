"""One request on its way through the emulator, and one that is kept for a test to look at.

Knows nothing of what the API's methods do.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.types import Scope

from batch.emulator.faults import FaultKind


@dataclass(frozen=True, slots=True)
class Captured:
    """A request as it arrived; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose body has been read.

    Attributes:
        route: the method of the API, one of `faults.ROUTES`.
        scope: the request's ASGI scope.
        sent: the headers of the request.
        request_id: given by the emulator, as the service does.
        headers: of the answer: `x-request-id`, `x-server-trace-id`, and the client's own id.
        fault: what is to go wrong with it.
        body: as it arrived.
    """

    route: str
    scope: Scope
    sent: dict[str, str]
    request_id: str
    headers: dict[str, str]
    fault: FaultKind | None
    body: bytes

    @property
    def client_request_id(self) -> str | None:
        """`x-client-request-id`, if the client sent one."""
        return self.sent.get("x-client-request-id")


async def read(route: str, request: Request, identifier: UUID, fault: FaultKind | None) -> Call:
    """Read a request to its end; raises starlette's `ClientDisconnect` where it has none."""
    sent = dict(request.headers)
    headers = {"x-request-id": str(identifier), "x-server-trace-id": identifier.hex[:16]}
    if client_request_id := sent.get("x-client-request-id"):
        headers["x-client-request-id"] = client_request_id
    return Call(route, request.scope, sent, str(identifier), headers, fault, await request.body())
