"""The YandexGPT completion API in both of its modes: its request body, its answer, its names for models.

int64 fields are JSON strings on this wire (proto3's JSON mapping), in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

import httpx

from batch.auth import Credentials
from batch.errors import AttemptFailed, UsageError
from batch.jsontext import Json, JsonObject, NotJson, encode, encode_text, parse
from batch.parsing import RateLimit
from batch.providers.base import Channel
from batch.providers.failures import failure, unreadable
from batch.providers.operations import Operation, of_the_service, read_operation, result_of
from batch.records import Completion, FinishReason, Message, Options, Reply, Request, RequestIds, Usage

HOST = "https://llm.api.cloud.yandex.net"
# The service's documentation, "Quotas and limits"; support raises it for a customer, or lowers it for a model.
CONCURRENT_GENERATIONS = 10
COMPLETION_PATH = "/foundationModels/v1/completion"
ASYNC_PATH = "/foundationModels/v1/completionAsync"
OPERATIONS_HOST = "https://operation.api.cloud.yandex.net"
# The service's documentation, "Quotas and limits": asynchronous submissions, and readings of their results.
SUBMISSIONS = (RateLimit(10, 1), RateLimit(5000, 3600))
READINGS = (RateLimit(50, 1),)
# The tokenizer is free; its quota is its own.
TOKENIZER_PATH = "/foundationModels/v1/tokenizeCompletion"
TOKENIZATIONS = RateLimit(50, 1)
# What people leave in a body that they copied from the guide.
PLACEHOLDERS = ("<folder_ID>", "<folder_id>", "<идентификатор_каталога>", "FOLDER_ID", "${FOLDER_ID}")
_STATUSES = (
    "ALTERNATIVE_STATUS_UNSPECIFIED",
    "ALTERNATIVE_STATUS_PARTIAL",
    "ALTERNATIVE_STATUS_TRUNCATED_FINAL",
    "ALTERNATIVE_STATUS_FINAL",
    "ALTERNATIVE_STATUS_CONTENT_FILTER",
    "ALTERNATIVE_STATUS_TOOL_CALLS",
)
_PARTIAL = _STATUSES[1]
_FINISH = {
    _STATUSES[0]: FinishReason.STOP,
    _STATUSES[2]: FinishReason.LENGTH,
    _STATUSES[3]: FinishReason.STOP,
    _STATUSES[4]: FinishReason.CONTENT_FILTER,
    _STATUSES[5]: FinishReason.TOOL_CALLS,
}


@dataclass(frozen=True, slots=True)
class Models:
    """How models are named: by a name, `name/version`, or a whole URI; `folder` pays where none is named."""

    folder: str | None

    def uri(self, model: str) -> str:
        """Return `gpt://<folder>/<model>`; raises `UsageError` where the folder is not known."""
        if "://" in model:
            scheme, _, rest = model.partition("://")
            folder, _, tail = rest.partition("/")
            return f"{scheme}://{self._known_folder()}/{tail}" if folder in PLACEHOLDERS else model
        return f"gpt://{self._known_folder()}/{model}"

    def identity(self, model: str) -> str:
        """Return the model without its folder and with its version spelled out."""
        scheme, tail = "gpt", model
        if "://" in model:
            scheme, _, rest = model.partition("://")
            tail = rest.partition("/")[2]
        return f"{scheme}:{tail}" if scheme != "gpt" or "/" in tail else f"gpt:{tail}/latest"

    def _known_folder(self) -> str:
        if not self.folder:
            raise UsageError(
                "The folder that pays is not known: set FOLDER_ID or --folder.",
                hint="Or give the model as a full URI: -m gpt://FOLDER/yandexgpt-lite.",
            )
        return self.folder


class YandexProvider:
    """The service's native completion method, asked for whole answers."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        credentials: Credentials,
        models: Models,
        *,
        base_url: str | None,
        operations_url: str | None = None,
        timeout_s: float,
        data_logging: bool,
    ) -> None:
        self._url = httpx.URL((base_url or HOST) + COMPLETION_PATH)
        self._tokenizer_url = httpx.URL((base_url or HOST) + TOKENIZER_PATH)
        self._async_url = httpx.URL((base_url or HOST) + ASYNC_PATH)
        self._operations = (operations_url or base_url or OPERATIONS_HOST) + "/operations/"
        self._channel = Channel(client, credentials.redact, timeout_s)
        self._models = models
        self._data_logging = data_logging

    @property
    def granted(self) -> int:
        """Return the service's default quota of synchronous generations at once."""
        return CONCURRENT_GENERATIONS

    def identity(self, model: str) -> str:
        """Return the model without its folder."""
        return self._models.identity(model)

    def model_uri(self, model: str) -> str:
        """Return the model's URI."""
        return self._models.uri(model)

    def encode(self, request: Request) -> bytes:
        """Return the body of a completion request."""
        body: JsonObject = {
            "modelUri": self._models.uri(request.model),
            "completionOptions": _completion_options(request.options),
            "messages": [_message(message) for message in request.messages],
        }
        options = request.options
        if options.tools is not None:
            body["tools"] = options.tools
        if options.tool_choice is not None:
            body["toolChoice"] = options.tool_choice
        if options.parallel_tool_calls is not None:
            body["parallelToolCalls"] = options.parallel_tool_calls
        if options.json_schema is not None:
            body["jsonSchema"] = options.json_schema
        elif options.json_object is not None:
            body["jsonObject"] = options.json_object
        return encode(body)

    async def send(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Post a completion request."""
        return await self._channel.post(self._url, body, self._headers(ids, number))

    async def submit(self, body: bytes, ids: RequestIds, number: int) -> Reply:
        """Post a completion request to be worked on as an operation."""
        return await self._channel.post(self._async_url, body, self._headers(ids, number))

    async def tokenize(self, body: bytes) -> int:
        """Have a body's input tokens counted as a completion of it would be billed; free of charge."""
        return counted_tokens(await self._channel.post(self._tokenizer_url, body, {}))

    async def poll(self, operation_id: str) -> Reply:
        """Get an operation."""
        return of_the_service(await self._channel.get(self._operations + quote(operation_id, safe="")))

    async def cancel(self, operation_id: str) -> Reply:
        """Cancel an operation: a GET, by the service's definition."""
        return of_the_service(await self._channel.get(self._operations + quote(operation_id, safe="") + ":cancel"))

    def operation(self, reply: Reply) -> Operation:
        """Return the operation that a reply holds."""
        return read_operation(reply)

    @property
    def granted_async(self) -> tuple[Sequence[RateLimit], Sequence[RateLimit]]:
        """Return the service's default quotas of submissions and of readings."""
        return SUBMISSIONS, READINGS

    def _headers(self, ids: RequestIds, number: int) -> dict[str, str]:
        """Return the headers of the official SDK."""
        headers = {"x-client-request-id": ids.client_request_id, "idempotency-key": ids.idempotency_key}
        if number > 1:
            headers["x-retry-attempt"] = str(number - 1)
        if not self._data_logging:
            headers["x-data-logging-enabled"] = "false"
        return headers

    def judge(self, reply: Reply) -> Completion:
        """Return the completion; filtered and truncated answers are answers."""
        return judge(reply)


def _completion_options(options: Options) -> JsonObject:
    asked: JsonObject = {"stream": False}
    if options.temperature is not None:
        asked["temperature"] = options.temperature
    if options.max_tokens is not None:
        asked["maxTokens"] = str(options.max_tokens)
    if options.reasoning_mode is not None:
        asked["reasoningOptions"] = {"mode": options.reasoning_mode}
    return asked


def _message(message: Message) -> JsonObject:
    if message.tool_calls is not None:
        return {"role": message.role, "toolCallList": message.tool_calls}
    if message.tool_results is not None:
        return {"role": message.role, "toolResultList": message.tool_results}
    return {"role": message.role, "text": message.text}


def judge(reply: Reply) -> Completion:
    """Return the completion that a reply of the service holds; raises `AttemptFailed` where it holds none."""
    if not 200 <= reply.http_status < 300:
        raise failure(reply)
    frame = body = _last_frame(reply.body)
    if "done" in body and "result" not in body:  # an operation, which wraps the completion in its own way
        body = result_of(body)
    result = body.get("result")
    if isinstance(result, dict):  # the underlying call is a server stream; some answers come unwrapped
        body = result
    alternatives = body.get("alternatives")
    if not isinstance(alternatives, list) or not alternatives:
        if "error" in frame:
            raise failure(replace(reply, body=encode(frame)))
        raise unreadable("the answer holds no alternative")
    first = alternatives[0]
    if not isinstance(first, dict) or not isinstance(first.get("message"), dict):
        raise unreadable("the answer's first alternative holds no message")
    return _completion(body, first)


def counted_tokens(reply: Reply) -> int:
    """Return how many tokens the tokenizer's reply lists; raises `AttemptFailed` where it lists none."""
    if not 200 <= reply.http_status < 300:
        raise failure(reply)
    tokens = _last_frame(reply.body).get("tokens")
    if not isinstance(tokens, list):
        raise unreadable("the tokenizer's answer lists no tokens")
    return len(tokens)


def _last_frame(body: bytes) -> JsonObject:
    """Return the JSON object of an answer; of a streamed one the last line, which holds the whole text."""
    try:
        value = parse(body)
    except NotJson:
        lines = body.strip().splitlines()
        try:
            value = parse(lines[-1]) if len(lines) > 1 else None
        except NotJson:
            value = None
    if not isinstance(value, dict):
        raise unreadable("the answer is not a JSON object: it was cut off or garbled")
    return value


def _completion(body: JsonObject, alternative: JsonObject) -> Completion:
    message = alternative["message"]
    finish = _finish_reason(alternative.get("status"))
    if not isinstance(message, dict) or finish is None:
        raise unreadable("the answer ended before it was complete")
    text, calls = message.get("text"), message.get("toolCallList")
    if text is not None and not isinstance(text, str):
        raise unreadable("the answer's text is no text")
    tool_calls = calls.get("toolCalls") if isinstance(calls, dict) else None
    if text is None and tool_calls is None and finish is not FinishReason.CONTENT_FILTER:
        text = ""  # proto3 leaves an empty string out
    version = body.get("modelVersion")
    return Completion(
        text,
        encode_text(tool_calls) if tool_calls is not None else None,
        finish,
        _usage(body.get("usage")),
        version if isinstance(version, str) and version else None,
    )


def _finish_reason(status: Json) -> FinishReason | None:
    if isinstance(status, int) and 0 <= status < len(_STATUSES):  # proto3 JSON may number its enums
        status = _STATUSES[status]
    if status == _PARTIAL:
        return None
    # A status that we do not know yet comes with an answer that was paid for: it is kept.
    return _FINISH.get(status, FinishReason.STOP) if isinstance(status, str) else FinishReason.STOP


def _usage(value: Json) -> Usage:
    usage = value if isinstance(value, dict) else {}
    details = usage.get("completionTokensDetails")
    return Usage(
        _count(usage.get("inputTextTokens")),
        _count(usage.get("completionTokens")),
        _count(details.get("reasoningTokens")) if isinstance(details, dict) else None,
        _count(usage.get("totalTokens")),
    )


def _count(value: Json) -> int | None:
    """Return an int64 that is written as a string or as a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


__all__ = ["COMPLETION_PATH", "HOST", "AttemptFailed", "Models", "YandexProvider", "judge"]
