"""Requests counted by the service's own tokenizer, which is free: exactly what they would be billed as input.

Paced within the tokenizer's quota. Sends nothing that costs, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import anyio

from batch.clock import Clock
from batch.errors import AttemptFailed, ChatbatchError, CredentialsError, ExitCode, ServiceUnavailable
from batch.limits import Concurrency, Limits
from batch.plan.opening import Access, reached
from batch.providers import Provider, open_provider, service_address
from batch.providers.yandex import TOKENIZATIONS
from batch.records import Request
from batch.retry import RetryPolicy
from batch.settings import Settings
from batch.stopping import Stop
from batch.transport import open_client

AT_ONCE = 10


def count_exactly(access: Access, requests: Sequence[Request], clock: Clock) -> list[int | None]:
    """Return the input tokens of each request as the service counts them; None for one that it does not take.

    Raises `CredentialsError` where it refuses the credentials, `ServiceUnavailable` where it counted none.
    """
    with reached(access) as reachable:
        counted = anyio.run(_count_all, reachable, requests, clock)
    if requests and all(count is None for count in counted.tokens):
        raise ServiceUnavailable(
            f"The service's tokenizer counted none of {len(requests):,} rows: {counted.last_failure}.",
            hint="Leave --exact out for an offline estimate.",
        )
    return counted.tokens


@dataclass(slots=True)
class _Counted:
    tokens: list[int | None]
    last_failure: str = ""
    fatal: ChatbatchError | None = None


async def _count_all(access: Access, requests: Sequence[Request], clock: Clock) -> _Counted:
    settings, credentials = access.settings, access.credentials
    auth = credentials.auth(access.folder)
    url = service_address(settings)
    counted = _Counted([None] * len(requests))
    async with open_client(url, settings.timeout, auth, use_proxies=not settings.emulate) as http:
        provider = open_provider(settings, http, credentials, access.folder)
        counter = _Counter(settings, provider, clock)
        waiting = iter(enumerate(requests))
        async with anyio.create_task_group() as tasks:
            for _ in range(min(AT_ONCE, len(requests))):
                tasks.start_soon(_work, counter, waiting, counted, tasks.cancel_scope)
    if counted.fatal is not None:
        raise counted.fatal
    return counted


async def _work(
    counter: _Counter, waiting: Iterator[tuple[int, Request]], counted: _Counted, everything: anyio.CancelScope
) -> None:
    for index, request in waiting:
        try:
            counted.tokens[index] = await counter.count(request)
        except AttemptFailed as error:
            counted.last_failure = f"{error.code}: {error}"
            if error.stops_run is not None:
                counted.fatal = _stopping(error)
                everything.cancel()
                return
        except ChatbatchError as error:  # no token can be obtained
            counted.fatal = error
            everything.cancel()
            return


def _stopping(error: AttemptFailed) -> ChatbatchError:
    if error.stops_run is ExitCode.CREDENTIALS:
        return CredentialsError(
            f"The service's tokenizer refused the credentials: {error.code}: {error}.",
            hint="chatbatch auth check says which are used; the role is ai.languageModels.user.",
        )
    return ChatbatchError(f"The service's tokenizer cannot be asked: {error.code}: {error}.")


@dataclass(slots=True)
class _Counter:
    """Counts one request after the other; all share the limits."""

    settings: Settings
    provider: Provider
    clock: Clock
    _limits: Limits = field(init=False)
    _retry: RetryPolicy = field(init=False)

    def __post_init__(self) -> None:
        at_once = Concurrency(AT_ONCE, AT_ONCE, AT_ONCE)
        self._limits = Limits(at_once, [TOKENIZATIONS], clock=self.clock, stop=Stop(), prompt=True)
        self._retry = RetryPolicy(self.settings.retries + 1, self.settings.retry_timeout)

    async def count(self, request: Request) -> int:
        """Return a request's input tokens; raises `AttemptFailed` where asking again does not help."""
        body, began, number = self.provider.encode(request), self.clock.monotonic(), 0
        while True:
            number += 1
            try:
                async with self._limits.slot(), self._limits.on_the_way():
                    count = await self.provider.tokenize(body)
                self._limits.trust()
                return count
            except AttemptFailed as error:
                elapsed = self.clock.monotonic() - began
                # A quota clears by itself and nothing is billed: only the time for it is bounded.
                delay = self._retry.delay(error, 1 if error.slow_down else number, elapsed)
                if error.stops_run is not None or delay is None:
                    raise
                if error.slow_down:
                    self._limits.pause(max(delay, error.retry_after or 0.0))
                else:
                    await self.clock.sleep(delay)
