"""What the emulator's tests share: a request body, a clock that needs no time, clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from reference import recorded

from batch.emulator import Config, Emulator, Running, background

COMPLETION = "/foundationModels/v1/completion"
HEADERS = {"authorization": "Api-Key test"}


class Clock:
    """A clock that moves when somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def body() -> Callable[..., dict[str, object]]:
    """Makes the body of a completion; keywords replace its fields, None takes one out."""

    def make(**changes: object) -> dict[str, object]:
        whole: dict[str, object] = {
            "modelUri": "gpt://folder/yandexgpt-lite",
            "completionOptions": {"temperature": 0.3, "maxTokens": "500"},
            "messages": [{"role": "user", "text": "How tall is the tower in Pisa?"}],
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not None}

    return make


@pytest.fixture
def client_of() -> Callable[[Emulator], httpx.AsyncClient]:
    """Makes a client that calls an emulator in process."""

    def make(emulator: Emulator) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=emulator)
        return httpx.AsyncClient(transport=transport, base_url="http://emulator", headers=HEADERS)

    return make


@pytest.fixture
def serving() -> Iterator[Callable[..., tuple[Running, httpx.Client]]]:
    """Serves emulators over real sockets and makes a client for each; all end with the test."""
    with ExitStack() as stack:

        def make(config: Config | None = None) -> tuple[Running, httpx.Client]:
            running = stack.enter_context(background(config))
            client = httpx.Client(base_url=running.base_url, headers=HEADERS, timeout=5, trust_env=False)
            return running, stack.enter_context(client)

        yield make


@pytest.fixture(scope="session")
def token_counts() -> list[dict[str, object]]:
    """The recorded pairs of conversations and counts, where this machine has them."""
    return recorded("token-counts.jsonl")
