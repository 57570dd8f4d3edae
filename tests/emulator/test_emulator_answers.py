"""Answers of the API, in process: forms, statuses, usage, credentials, determinism."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import httpx
import orjson
import pytest

from batch.emulator import Config, Emulator, Latency
from batch.emulator.tokenizer import count

API = "/foundationModels/v1"
Body = Callable[..., dict[str, object]]
ClientOf = Callable[[Emulator], httpx.AsyncClient]
pytestmark = pytest.mark.anyio


class Clock(Protocol):
    def time(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "text": text}]


ADD = {
    "function": {
        "name": "add",
        "description": "adds",
        "parameters": {
            "type": "object",
            "properties": {"numbers": {"type": "array", "items": {"type": "integer"}}},
            "required": ["numbers"],
        },
    }
}


async def test_an_answer_has_the_recorded_form(body: Body, client_of: ClientOf) -> None:
    """The message stands in `result`, counts are strings that add up, and identifiers come back."""
    async with client_of(Emulator()) as client:
        headers = {"x-client-request-id": "mine"}
        response = await client.post(f"{API}/completion", json=body(), headers=headers)
    result = response.json()["result"]
    (alternative,) = result["alternatives"]
    assert alternative["status"] == "ALTERNATIVE_STATUS_FINAL"
    assert alternative["message"]["role"] == "assistant"
    usage = result["usage"]
    assert int(usage["completionTokens"]) == count(alternative["message"]["text"]) + 1
    assert int(usage["totalTokens"]) == int(usage["inputTextTokens"]) + int(usage["completionTokens"])
    assert usage["completionTokensDetails"] == {"reasoningTokens": "0"}
    assert result["modelVersion"] == "07.03.2024"
    assert response.headers["x-client-request-id"] == "mine"
    assert response.headers["x-request-id"]
    assert response.headers["x-server-trace-id"]


async def test_the_result_can_be_unwrapped(body: Body, client_of: ClientOf) -> None:
    """`wrap_result=False` leaves `result` out."""
    async with client_of(Emulator(Config(wrap_result=False))) as client:
        answer = (await client.post(f"{API}/completion", json=body())).json()
    assert set(answer) == {"alternatives", "usage", "modelVersion"}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"tools": [ADD]},
        {"jsonSchema": {"schema": {"type": "string"}}},
        {"messages": [*user("раз\nдва"), {"role": "assistant", "text": "три"}, *user("четыре")]},
    ],
)
async def test_the_tokenizer_counts_what_is_billed(
    body: Body, client_of: ClientOf, extra: dict[str, object]
) -> None:
    """The length of `tokenizeCompletion` is the `inputTextTokens` that the same body is billed."""
    async with client_of(Emulator()) as client:
        tokens = (await client.post(f"{API}/tokenizeCompletion", json=body(**extra))).json()["tokens"]
        usage = (await client.post(f"{API}/completion", json=body(**extra))).json()["result"]["usage"]
    assert usage["inputTextTokens"] == str(len(tokens))


async def test_the_same_request_gets_the_same_answer(body: Body, client_of: ClientOf) -> None:
    """Answers depend on the request and the seed alone, not on order or instance."""
    one, two, other = Emulator(), Emulator(), Emulator(Config(seed=1))
    async with client_of(one) as client:
        first = (await client.post(f"{API}/completion", json=body())).content
    async with client_of(two) as client:
        different = (await client.post(f"{API}/completion", json=body(messages=user("x")))).content
        again = (await client.post(f"{API}/completion", json=body())).content
    async with client_of(other) as client:
        seeded = (await client.post(f"{API}/completion", json=body())).content
    assert first == again
    assert len({first, different, seeded}) == 3


async def test_the_answer_is_in_the_language_of_the_question(body: Body, client_of: ClientOf) -> None:
    """Mostly Cyrillic questions are answered in Russian, others in English."""
    async with client_of(Emulator()) as client:
        asked = [user("Расскажи про философию и API"), user("Tell me about философия please")]
        texts = [
            (await client.post(f"{API}/completion", json=body(messages=messages))).json()["result"][
                "alternatives"
            ][0]["message"]["text"]
            for messages in asked
        ]
    assert [any("а" <= letter <= "я" for letter in text[-20:].lower()) for text in texts] == [True, False]


@pytest.mark.parametrize("limit", ["1", "2", "9", 15])
async def test_max_tokens_cuts_the_answer(body: Body, client_of: ClientOf, limit: object) -> None:
    """A cut answer is TRUNCATED_FINAL, shows something, and is billed exactly its limit."""
    async with client_of(Emulator()) as client:
        request = body(completionOptions={"maxTokens": limit})
        result = (await client.post(f"{API}/completion", json=request)).json()["result"]
    assert result["alternatives"][0]["status"] == "ALTERNATIVE_STATUS_TRUNCATED_FINAL"
    assert result["alternatives"][0]["message"]["text"]
    assert result["usage"]["completionTokens"] == str(limit)


async def test_reasoning_is_counted_within_the_limit(body: Body, client_of: ClientOf) -> None:
    """Hidden reasoning shows in the usage, is part of the completion and of its limit."""
    options = {"maxTokens": "60", "reasoningOptions": {"mode": "ENABLED_HIDDEN"}}
    async with client_of(Emulator()) as client:
        result = (await client.post(f"{API}/completion", json=body(completionOptions=options))).json()["result"]
    usage = result["usage"]
    reasoning = int(usage["completionTokensDetails"]["reasoningTokens"])
    assert 0 < reasoning < int(usage["completionTokens"]) <= 60


async def test_a_json_object_is_one(body: Body, client_of: ClientOf) -> None:
    """`jsonObject` makes the text a JSON object."""
    async with client_of(Emulator()) as client:
        result = (await client.post(f"{API}/completion", json=body(jsonObject=True))).json()["result"]
    assert isinstance(orjson.loads(result["alternatives"][0]["message"]["text"]), dict)


async def test_a_schema_is_kept(body: Body, client_of: ClientOf) -> None:
    """`jsonSchema` makes the text a value of the schema."""
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": ["good", "bad"]},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2, "maxItems": 4},
            "sure": {"type": ["boolean", "null"]},
        },
        "required": ["label", "score", "extra"],
        "$defs": {"tag": {"type": "string", "maxLength": 8, "minLength": 3}},
    }
    async with client_of(Emulator()) as client:
        answers = [
            await client.post(
                f"{API}/completion", json=body(jsonSchema={"schema": schema}, messages=user(f"rate {n}"))
            )
            for n in range(20)
        ]
    for answer in answers:
        value = orjson.loads(answer.json()["result"]["alternatives"][0]["message"]["text"])
        assert set(value) == {"label", "score", "share", "tags", "sure", "extra"}
        assert value["label"] in ("good", "bad")
        assert value["score"] in range(1, 6)
        assert 0 < value["share"] <= 1
        assert 2 <= len(value["tags"]) <= 4
        assert all(3 <= len(tag) <= 8 for tag in value["tags"])
        assert isinstance(value["sure"], bool)


@pytest.mark.parametrize(
    ("changes", "called"),
    [
        ({"toolChoice": {"mode": "REQUIRED"}}, True),
        ({"toolChoice": {"functionName": "add"}}, True),
        ({"messages": user("please add 1 and 2")}, True),
        ({"messages": user("please add 1 and 2"), "toolChoice": {"mode": "NONE"}}, False),
        ({"messages": user("hello")}, False),
    ],
)
async def test_tools_are_called(body: Body, client_of: ClientOf, changes: dict[str, object], called: bool) -> None:
    """A tool is called where it must be or the user names it, with arguments of its schema and no id."""
    async with client_of(Emulator()) as client:
        response = await client.post(f"{API}/completion", json=body(tools=[ADD], **changes))
    alternative = response.json()["result"]["alternatives"][0]
    if not called:
        assert "text" in alternative["message"]
        return
    assert alternative["status"] == "ALTERNATIVE_STATUS_TOOL_CALLS"
    assert set(alternative["message"]) == {"role", "toolCallList"}
    (call,) = alternative["message"]["toolCallList"]["toolCalls"]
    assert call["functionCall"]["name"] == "add"
    assert all(isinstance(n, int) for n in call["functionCall"]["arguments"]["numbers"])


async def test_a_result_is_answered_with_text(body: Body, client_of: ClientOf) -> None:
    """After the result of a call the model says something, instead of calling again."""
    call = {"functionCall": {"name": "add", "arguments": {"numbers": [1]}}}
    result = {"functionResult": {"name": "add", "content": "1"}}
    messages = [
        *user("add 1"),
        {"role": "assistant", "toolCallList": {"toolCalls": [call]}},
        {"role": "user", "toolResultList": {"toolResults": [result]}},
    ]
    async with client_of(Emulator()) as client:
        response = await client.post(f"{API}/completion", json=body(tools=[ADD], messages=messages))
    assert "text" in response.json()["result"]["alternatives"][0]["message"]


async def test_the_filter_is_an_answer_with_usage(body: Body, client_of: ClientOf) -> None:
    """The marker in the last user message gives HTTP 200, CONTENT_FILTER and a bill."""
    emulator = Emulator()
    async with client_of(emulator) as client:
        response = await client.post(f"{API}/completion", json=body(messages=user("x [[filter]]")))
    result = response.json()["result"]
    assert response.status_code == 200
    assert result["alternatives"][0]["status"] == "ALTERNATIVE_STATUS_CONTENT_FILTER"
    assert emulator.ledger.totals().total_tokens == int(result["usage"]["totalTokens"])


async def test_a_stream_repeats_the_text_so_far(body: Body, client_of: ClientOf) -> None:
    """Each line of a stream begins with the text of the line before; the last is the whole answer."""
    async with client_of(Emulator()) as client:
        options = {"stream": True, "maxTokens": "500"}
        streamed = await client.post(f"{API}/completion", json=body(completionOptions=options))
        whole = (await client.post(f"{API}/completion", json=body())).json()
    frames = [orjson.loads(line) for line in streamed.content.splitlines()]
    texts = [frame["result"]["alternatives"][0]["message"]["text"] for frame in frames]
    assert len(frames) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert frames[0]["result"]["alternatives"][0]["status"] == "ALTERNATIVE_STATUS_PARTIAL"
    assert frames[-1] == whole


CREDENTIALS = {
    "none": (Config(), "", 401),
    "any key": (Config(), "Api-Key x", 200),
    "any token": (Config(), "Bearer t1.x", 200),
    "empty key": (Config(), "Api-Key ", 401),
    "other scheme": (Config(), "Basic eA==", 401),
    "right key": (Config(api_key="k"), "Api-Key k", 200),
    "wrong key": (Config(api_key="k"), "Api-Key other", 401),
    "token instead of key": (Config(api_key="k"), "Bearer t1.x", 401),
    "right token": (Config(iam_token="t1.x"), "Bearer t1.x", 200),
    "wrong token": (Config(iam_token="t1.x"), "Bearer t1.y", 401),
    "either": (Config(api_key="k", iam_token="t1.x"), "Api-Key k", 200),
}


@pytest.mark.parametrize(("config", "header", "status"), CREDENTIALS.values(), ids=CREDENTIALS.keys())
async def test_credentials(body: Body, client_of: ClientOf, config: Config, header: str, status: int) -> None:
    """Missing and wrong credentials are a 401 in the recorded shapes; right ones pass."""
    async with client_of(Emulator(config)) as client:
        response = await client.post(f"{API}/completion", json=body(), headers={"authorization": header})
    assert response.status_code == status
    if header == "Api-Key other":
        assert response.json()["error"]["message"] == "Unknown api key 'other'"
    if header == "Bearer t1.y":
        assert response.json()["code"] == 16
        assert response.json()["details"][0]["requestId"] == response.headers["x-request-id"]


async def test_refusals_of_the_account(body: Body, client_of: ClientOf) -> None:
    """Another folder is a 400, an unknown model a 404 and too long an input a 400; nothing is billed."""
    emulator = Emulator(Config(folder="mine", models=frozenset({"yandexgpt/rc"}), context_tokens=50))
    async with client_of(emulator) as client:

        async def refused(headers: dict[str, str] | None = None, **changes: object) -> tuple[int, str]:
            response = await client.post(f"{API}/completion", json=body(**changes), headers=headers)
            return response.status_code, response.json()["error"]["message"]

        own = "gpt://mine/yandexgpt/rc"
        status, message = await refused()
        assert (status, message) == (
            400,
            "Specified folder ID 'folder' does not match with service account folder ID 'mine'",
        )
        assert (await refused({"x-folder-id": "theirs"}, modelUri=own))[0] == 400
        assert (await refused(modelUri="gpt://mine/yandexgpt"))[0] == 404
        status, message = await refused(modelUri=own, messages=user("word" + " word" * 99))
        assert status == 400
        assert "number of input tokens must be no more than 50, got 114" in message
        accepted = await client.post(f"{API}/completion", json=body(modelUri=own))
    assert accepted.status_code == 200
    assert emulator.ledger.totals().requests == 1


async def test_a_bad_role_is_located(body: Body, client_of: ClientOf) -> None:
    """The session's refusals carry its identifiers before the message (recorded)."""
    async with client_of(Emulator()) as client:
        bad = body(messages=[{"role": "boss", "text": "x"}])
        response = await client.post(f"{API}/completion", json=bad)
    message = response.json()["error"]["message"]
    assert message.startswith("Error in session internal_id=")
    assert "&client_request_id=undefined&" in message
    assert message.endswith(": invalid message role 'boss'")


async def test_latency_passes_on_the_emulators_clock(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """A generation takes its latency in seconds of the injected clock."""
    emulator = Emulator(Config(latency=Latency.parse("fixed:30")), time=clock.time, sleep=clock.sleep)
    async with client_of(emulator) as client:
        await client.post(f"{API}/completion", json=body())
        await client.post(f"{API}/completion", json=body())
    first, second = emulator.ledger.entries()
    assert second.time - first.time == 30


async def test_unknown_paths_and_methods(client_of: ClientOf) -> None:
    """What is not served is a 404, and a wrong method a 405."""
    async with client_of(Emulator()) as client:
        assert (await client.post(f"{API}/nothing")).json()["code"] == 5
        assert (await client.get(f"{API}/completion")).status_code == 405


async def test_the_last_requests_can_be_looked_at(body: Body, client_of: ClientOf) -> None:
    """`capture` keeps that many requests with their headers and raw bodies."""
    emulator = Emulator(Config(capture=2))
    async with client_of(emulator) as client:
        for n in range(3):
            await client.post(f"{API}/completion", json=body(messages=user(str(n))))
    assert [orjson.loads(kept.body)["messages"][0]["text"] for kept in emulator.captured] == ["1", "2"]
    assert emulator.captured[0].headers["authorization"] == "Api-Key test"


async def test_the_tokenizer_counts_what_both_modes_bill(body: Body, client_of: ClientOf, clock: Clock) -> None:
    """The tokens listed for a whole request are as many as its input costs in either mode; listing is free."""
    emulator = Emulator(Config(operation_latency=Latency()), time=clock.time, sleep=clock.sleep)
    request = body(tools=[ADD], messages=[{"role": "system", "text": "Be brief."}, *user("2 and 3?\nPlease.")])
    async with client_of(emulator) as client:
        listed = (await client.post(f"{API}/tokenizeCompletion", json=request)).json()
        assert emulator.ledger.totals().requests == 0
        await client.post(f"{API}/completion", json=request)
        await client.post(f"{API}/completionAsync", json=request)
    bills = {entry.mode: entry.input_tokens for entry in emulator.ledger.entries()}
    assert bills == {"sync": len(listed["tokens"]), "async": len(listed["tokens"])}
