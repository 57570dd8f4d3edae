"""The headers of a completion request: those of the official SDK, the same for all attempts of a row."""

from __future__ import annotations

import uuid

import pytest

from batch.auth import Credentials
from batch.emulator import Config, background
from batch.providers.yandex import Models, YandexProvider
from batch.records import Message, Options, Request, RequestIds
from batch.transport import open_client

pytestmark = pytest.mark.anyio
IDS = RequestIds.of(str(uuid.UUID(int=7)), "row-1")


async def _captured(
    kind: str = "API key", *, data_logging: bool = True, numbers: tuple[int, ...] = (1,)
) -> list[dict[str, str]]:
    """Send one request so many times, and return the headers with which each arrived."""
    credentials = Credentials(kind, "test", "t1.a-secret")
    with background(Config(capture=len(numbers))) as running:
        url = running.base_url
        async with open_client(url, 5.0, credentials.auth("b1g"), use_proxies=False) as client:
            provider = YandexProvider(
                client, credentials, Models("b1g"), base_url=url, timeout_s=5.0, data_logging=data_logging
            )
            body = provider.encode(Request("yandexgpt-lite", (Message("user", "?"),), Options()))
            for number in numbers:
                assert provider.judge(await provider.send(body, IDS, number)).text
        captured = list(running.emulator.captured)
    assert {attempt.path for attempt in captured} == {"/foundationModels/v1/completion"}
    return [attempt.headers for attempt in captured]


async def test_ids_are_the_same_for_all_attempts() -> None:
    """All attempts carry one request id and one idempotency key, and each after the first its number."""
    first, second, third = await _captured(numbers=(1, 2, 3))
    assert first["x-client-request-id"] == IDS.client_request_id
    assert first["idempotency-key"] == IDS.idempotency_key
    assert first["idempotency-key"] != first["x-client-request-id"]
    assert str(uuid.UUID(first["x-client-request-id"])) == first["x-client-request-id"]
    assert "x-retry-attempt" not in first
    assert second == {**first, "x-retry-attempt": "1"}
    assert third == {**first, "x-retry-attempt": "2"}


@pytest.mark.parametrize(("data_logging", "header"), [(True, None), (False, "false")])
async def test_opting_out_of_the_services_logs(data_logging: bool, header: str | None) -> None:
    """The service is told not to keep requests where the user says so, and nothing where not."""
    (headers,) = await _captured(data_logging=data_logging)
    assert headers.get("x-data-logging-enabled") == header


@pytest.mark.parametrize(
    ("kind", "authorization", "folder"),
    [("API key", "Api-Key t1.a-secret", None), ("IAM token", "Bearer t1.a-secret", "b1g")],
)
async def test_credentials_and_their_folder(kind: str, authorization: str, folder: str | None) -> None:
    """A key goes as `Api-Key` alone; a token goes as `Bearer` with its folder, which a key already has."""
    (headers,) = await _captured(kind)
    assert headers["authorization"] == authorization
    assert headers.get("x-folder-id") == folder


async def test_what_else_is_said() -> None:
    """The body is called JSON, the program names itself, and nothing else is told about the user."""
    (headers,) = await _captured()
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("chatbatch/")
    assert set(headers) - {"accept", "accept-encoding", "connection"} == {
        *("host", "content-type", "content-length", "user-agent"),
        *("authorization", "x-client-request-id", "idempotency-key"),
    }
