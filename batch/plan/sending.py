"""One request body, as in the service's guide: posted as it stands, and the answer as it comes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import anyio

from batch.errors import AttemptFailed, ChatbatchError, ExitCode, InputError
from batch.jsontext import NotJson, encode, parse
from batch.plan.opening import Access, find_access, reached
from batch.providers.base import Channel
from batch.providers.failures import failure
from batch.providers.yandex import COMPLETION_PATH, HOST, Models
from batch.records import Reply
from batch.settings import Settings
from batch.transport import open_client


def send(settings: Settings, body: bytes, environment: Mapping[str, str]) -> bytes:
    """Post a body to the completion method and return the service's answer, byte for byte.

    A placeholder that the guide left in `modelUri` is replaced by the folder of the environment; nothing else
    is touched. Raises `AttemptFailed` with the service's code and message for anything but 200, and
    `InputError` for a body that is no JSON object.
    """
    access = find_access(settings, environment)
    prepared = _with_folder(body, access)
    with reached(access) as reachable:
        try:
            reply = anyio.run(_post, reachable, prepared)
        except AttemptFailed as error:
            raise SendFailed(error) from error
    if reply.http_status != 200:
        raise SendFailed(failure(reply), reply.http_status)
    return reply.body


class SendFailed(ChatbatchError):
    """The service did not answer with 200; the exit code says whose fault that is."""

    def __init__(self, error: AttemptFailed, http_status: int | None = None) -> None:
        answered = f"The service answered {http_status}" if http_status else "The request failed:"
        super().__init__(f"{answered} {error.code}: {error}")
        self.exit_code = _exit_code(error)


def _exit_code(error: AttemptFailed) -> ExitCode:
    if error.stops_run is not None:
        return error.stops_run
    if error.slow_down:
        return ExitCode.QUOTA
    return ExitCode.UNAVAILABLE if error.retryable else ExitCode.ROWS_FAILED


def _with_folder(body: bytes, access: Access) -> bytes:
    try:
        value = parse(body)
    except NotJson as error:
        raise InputError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InputError("The body is not a JSON object such as the guide's.")
    model = value.get("modelUri")
    if not isinstance(model, str) or "://" not in model:
        return body
    uri = Models(access.folder).uri(model)
    return body if uri == model else encode({**value, "modelUri": uri})


async def _post(access: Access, body: bytes) -> Reply:
    settings, credentials = access.settings, access.credentials
    auth = credentials.auth(access.folder)
    url = (settings.base_url or HOST) + COMPLETION_PATH
    async with open_client(url, settings.timeout, auth, use_proxies=not settings.emulate) as http:
        channel = Channel(http, credentials.redact, settings.timeout)
        headers = {"x-client-request-id": str(uuid.uuid4())}
        if not settings.data_logging:
            headers["x-data-logging-enabled"] = "false"
        return await channel.post(url, body, headers)
