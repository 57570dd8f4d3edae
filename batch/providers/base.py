"""What a provider is: the one seam between a request of ours and a service's wire format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import httpx

from batch import __version__
from batch.parsing import RateLimit
from batch.providers.operations import Operation
from batch.records import Completion, Reply, Request, RequestIds

USER_AGENT = f"chatbatch/{__version__}"


class Provider(Protocol):
    """A service: how it is asked, and what its answers mean.

    `encode` and `judge` are pure, so that answers can be judged again from the journal, years later.
    """

    @property
    def granted(self) -> int:
        """Return how many requests at once the service grants everybody."""
        ...

    def identity(self, model: str) -> str:
        """Return a model's name without the account that pays for it: equal models, equal names."""
        ...

    def model_uri(self, model: str) -> str:
        """Return a model as the service names it; raises `UsageError` where that cannot be told."""
        ...

    def encode(self, request: Request) -> bytes:
        """Return the request's body exactly as the service defines it."""
        ...

    @property
    def granted_async(self) -> tuple[Sequence[RateLimit], Sequence[RateLimit]]:
        """Return how often the service lets everybody submit operations, and how often read them."""
        ...

    async def submit(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Hand a body in as an operation, as the row's attempt `number`; raises `AttemptFailed`."""
        ...

    async def tokenize(self, body: bytes) -> int:
        """Return how many input tokens the service counts in a body, free of charge; raises `AttemptFailed`."""
        ...

    async def poll(self, operation_id: str) -> Reply:
        """Return an operation as it stands; raises `AttemptFailed` where no whole answer came."""
        ...

    async def cancel(self, operation_id: str) -> Reply:
        """Ask the service to give an operation up; returns it as it stands then."""
        ...

    def operation(self, reply: Reply) -> Operation:
        """Return the operation that a reply holds; raises `AttemptFailed` where it holds none."""
        ...

    async def send(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Send a body as the row's attempt `number` (from 1) and return what came back, whatever its status.

        Raises `AttemptFailed` where no whole answer came.
        """
        ...

    def judge(self, reply: Reply) -> Completion:
        """Return the completion that a reply holds; raises `AttemptFailed` where it holds none."""
        ...


class Redact(Protocol):
    """Removes secrets from what came back; `answer`: it is one, and no error."""

    def __call__(self, text: bytes, *, answer: bool) -> bytes:
        """Return the text without them."""
        ...


class Channel:
    """Sends to addresses of a service and returns replies, with secrets removed from whatever came back."""

    def __init__(self, client: httpx.AsyncClient, redact: Redact, timeout_s: float) -> None:
        self._client = client
        self._headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        self._extensions = {"timeout": {**client.timeout.as_dict(), "total": timeout_s}}
        self._redact = redact

    async def post(self, url: httpx.URL | str, body: bytes, headers: dict[str, str]) -> Reply:
        """Post a JSON body; `timeout_s` bounds the whole exchange, so a trickling answer hangs no row."""
        # Built here and not by the client, which would merge addresses, headers and cookies every time.
        request = httpx.Request(
            "POST", url, content=body, headers={**self._headers, **headers}, extensions=self._extensions
        )
        return await self._exchange(request)

    async def get(self, url: str) -> Reply:
        """Get what stands at an address."""
        return await self._exchange(httpx.Request("GET", url, headers=self._headers, extensions=self._extensions))

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self._client.send(request)
        return Reply(
            response.status_code,
            self._redact(response.content, answer=response.is_success),
            _seconds(response.headers.get("retry-after")),
            response.headers.get("x-request-id"),
        )


def _seconds(text: str | None) -> float | None:
    """Return a Retry-After in seconds; its other form, a date, is passed over (RFC 9110, 10.2.3)."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return min(seconds, 86400.0) if 0 <= seconds < float("inf") else None
