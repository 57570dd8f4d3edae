"""What every provider has to do, over a real socket; another provider is one more entry in `SERVICES`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass

import orjson
import pytest

from batch.auth import Credentials
from batch.emulator import FAULTS, Config, Running, background
from batch.errors import AttemptFailed, Billed, ExitCode, UsageError
from batch.jsontext import JsonObject
from batch.providers import Provider, open_provider, service_address
from batch.records import Completion, FinishReason, Message, Options, Request, RequestIds
from batch.settings import Settings
from batch.transport import open_client

pytestmark = pytest.mark.anyio
IDS = RequestIds.of(str(uuid.UUID(int=7)), "row-1")
CREDENTIALS = Credentials("API key", "test", "the-right-key")


@dataclass(frozen=True)
class Service:
    """A provider and a local server of its API, with the words that make the server do what a test needs.

    The server is an emulator: it takes a `Config`, and tells what it billed and what it received.
    """

    provider: str
    model: str
    filter_mark: str
    serve: Callable[[Config], AbstractContextManager[Running]]
    tool: JsonObject


SERVICES = [
    Service(
        "yandex",
        "yandexgpt-lite",
        "[[filter]]",
        background,
        {"function": {"name": "weather", "description": "", "parameters": {"type": "object"}}},
    )
]


@pytest.fixture(params=SERVICES, ids=lambda service: service.provider)
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.param
    return found


@contextmanager
def _served(service: Service, config: Config) -> Iterator[tuple[Running, Settings]]:
    with service.serve(config) as running:
        yield running, Settings(provider=service.provider, base_url=running.base_url, timeout=5.0)


@asynccontextmanager
async def _opened(settings: Settings, credentials: Credentials = CREDENTIALS) -> AsyncIterator[Provider]:
    auth = credentials.auth("folder")
    url = service_address(settings)
    async with open_client(url, settings.timeout, auth, use_proxies=False) as client:
        yield open_provider(settings, client, credentials, "folder")


async def _asked(service: Service, *messages: Message, **options: object) -> tuple[Completion, Running]:
    """Ask once and return what was understood, and the server that answered."""
    with _served(service, Config()) as (running, settings):
        async with _opened(settings) as provider:
            request = Request(service.model, messages, Options(**options))  # type: ignore[arg-type]
            reply = await provider.send(provider.encode(request), IDS, 1)
            completion = provider.judge(reply)
            assert provider.judge(reply) == completion  # judging is pure: it may be done again, years later
    return completion, running


def test_every_provider_is_tested(service: Service) -> None:
    """The providers that there are and those that are tested here are the same."""
    with pytest.raises(UsageError) as failed:
        service_address(Settings(provider="nobody's"))
    named = str(failed.value).rpartition("there are: ")[2].rstrip(".").split(", ")
    assert sorted(named) == sorted(entry.provider for entry in SERVICES)
    assert service.provider in named


async def test_a_conversation_is_answered_and_counted(service: Service) -> None:
    """A plain conversation brings a text, and the counts are those that the service billed."""
    completion, running = await _asked(service, Message("system", "Кратко."), Message("user", "Привет! 😊"))
    (billed,) = running.ledger.entries()
    assert completion.text
    assert completion.tool_calls is None
    assert completion.finish_reason is FinishReason.STOP
    assert completion.model_version
    usage = completion.usage
    assert (usage.input_tokens, usage.completion_tokens) == (billed.input_tokens, billed.completion_tokens)
    assert usage.total_tokens == billed.input_tokens + billed.completion_tokens


async def test_an_answer_at_its_limit(service: Service) -> None:
    """An answer that hit `max_tokens` is an answer that ended by length, and is counted."""
    completion, _ = await _asked(service, Message("user", "Расскажи подробно."), max_tokens=5)
    assert completion.finish_reason is FinishReason.LENGTH
    assert completion.usage.completion_tokens == 5


async def test_a_filtered_answer(service: Service) -> None:
    """A filtered answer is an answer that was billed, not a failure."""
    completion, running = await _asked(service, Message("user", f"{service.filter_mark} ?"))
    assert completion.finish_reason is FinishReason.CONTENT_FILTER
    assert completion.usage.total_tokens
    assert running.ledger.totals().requests == 1


async def test_hidden_reasoning_is_counted(service: Service) -> None:
    """What the model thought in silence stands in the usage."""
    completion, _ = await _asked(service, Message("user", "Почему?"), reasoning_mode="ENABLED_HIDDEN")
    assert completion.usage.reasoning_tokens


async def test_a_json_answer(service: Service) -> None:
    """A schema is sent in the service's form and brings JSON of that schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    completion, _ = await _asked(service, Message("user", "Сколько?"), json_schema={"schema": schema})
    assert isinstance(orjson.loads(completion.text or "")["n"], int)


async def test_tools_are_called_and_their_results_sent_back(service: Service) -> None:
    """A call comes back as JSON that can be sent again with its result, and is then answered by a text."""
    asked = Message("user", "Какая погода?")
    completion, _ = await _asked(service, asked, tools=[service.tool], tool_choice={"mode": "REQUIRED"})
    assert completion.finish_reason is FinishReason.TOOL_CALLS
    assert completion.text is None
    calls = orjson.loads(completion.tool_calls or "")
    name = calls[0]["functionCall"]["name"]
    assert name == "weather"
    results: JsonObject = {"toolResults": [{"functionResult": {"name": name, "content": "+20"}}]}
    called = Message("assistant", tool_calls={"toolCalls": calls})
    result = Message("user", tool_results=results)
    answered, _ = await _asked(service, asked, called, result, tools=[service.tool])
    assert answered.text


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_hides_a_bill(service: Service, fault: str) -> None:
    """Whatever goes wrong, a failure that the service billed is never called free, and its reason is told."""
    with _served(service, Config(script=(fault,))) as (running, settings):
        slow = Settings(provider=service.provider, base_url=settings.base_url, timeout=0.25)
        async with _opened(slow if fault == "stall" else settings) as provider:
            body = provider.encode(Request(service.model, (Message("user", "?"),), Options()))
            with pytest.raises(AttemptFailed) as failed:
                provider.judge(await provider.send(body, IDS, 1))
            error = failed.value
            if running.ledger.totals().requests:
                assert error.billed is not Billed.NO
            assert FAULTS[fault].billed is bool(running.ledger.totals().requests)
            assert str(error)
            assert error.retryable is (fault != "400")
            assert error.slow_down is fault.startswith("429")
            assert error.retry_after == (1.0 if fault == "429-retry-after" else None)
            assert error.stops_run is (ExitCode.CREDENTIALS if fault in ("401", "403") else None)
            if fault != "stall":  # the next attempt of the same row is answered
                assert provider.judge(await provider.send(body, IDS, 2)).text


async def test_attempts_of_a_row_are_the_same_request(service: Service) -> None:
    """Every attempt of a row carries the same body, and each is answered under a name of its own."""
    with _served(service, Config(capture=9)) as (running, settings):
        async with _opened(settings) as provider:
            body = provider.encode(Request(service.model, (Message("user", "?"),), Options()))
            replies = [await provider.send(body, IDS, number) for number in (1, 2, 3)]
        assert [attempt.body for attempt in running.emulator.captured] == [body] * 3
    assert len({reply.server_request_id for reply in replies} - {None}) == 3
    assert len({provider.judge(reply) for reply in replies}) == 1


async def test_refused_credentials_stop_the_run(service: Service) -> None:
    """A key that the service does not know is the run's fault, not the row's, and is not shown."""
    with _served(service, Config(api_key="another-key")) as (running, settings):
        async with _opened(settings) as provider:
            body = provider.encode(Request(service.model, (Message("user", "?"),), Options()))
            reply = await provider.send(body, IDS, 1)
    with pytest.raises(AttemptFailed) as failed:
        provider.judge(reply)
    assert (failed.value.code, failed.value.billed) == ("UNAUTHENTICATED", Billed.NO)
    assert failed.value.stops_run is ExitCode.CREDENTIALS
    assert b"the-right-key" not in reply.body
    assert running.ledger.totals().requests == 0


async def test_a_model_that_does_not_exist(service: Service) -> None:
    """An unknown model is a failure of the row, which asking again does not mend."""
    with _served(service, Config(models=frozenset({"another"}))) as (_, settings):
        async with _opened(settings) as provider:
            body = provider.encode(Request(service.model, (Message("user", "?"),), Options()))
            with pytest.raises(AttemptFailed) as failed:
                provider.judge(await provider.send(body, IDS, 1))
    assert (failed.value.retryable, failed.value.billed) == (False, Billed.NO)


async def test_a_service_that_is_gone(service: Service) -> None:
    """A service that refuses connections is told apart from one that answers, and costs nothing."""
    with _served(service, Config()) as (running, settings):
        async with _opened(settings) as provider:
            body = provider.encode(Request(service.model, (Message("user", "?"),), Options()))
            assert provider.judge(await provider.send(body, IDS, 1)).text
            running.refuse()
            # The kept connection was reset: perhaps the request had already left on it.
            with pytest.raises(AttemptFailed):
                await provider.send(body, IDS, 2)
            with pytest.raises(AttemptFailed) as failed:
                await provider.send(body, IDS, 3)
            assert (failed.value.code, failed.value.billed) == ("CONNECTION_REFUSED", Billed.NO)
            running.accept()
            assert provider.judge(await provider.send(body, IDS, 4)).text


async def test_names_of_models(service: Service) -> None:
    """A model's identity does not depend on the folder that pays, and other models have other identities."""
    settings = Settings(provider=service.provider)
    async with _opened(settings) as provider:
        uri = provider.model_uri(service.model)
        assert provider.identity(uri) == provider.identity(service.model)
        assert provider.identity("another-model") != provider.identity(service.model)
        assert "folder" not in provider.identity(uri)
