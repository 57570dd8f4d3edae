"""The ledger: it adds up, is written before answers leave, and can be bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import orjson
import pytest

from batch.emulator import Config, Emulator, Ledger
from batch.emulator.ledger import TAIL, Charge

COMPLETION = "/foundationModels/v1/completion"
Body = Callable[..., dict[str, object]]
ClientOf = Callable[[Emulator], httpx.AsyncClient]


def charge(number: int) -> Charge:
    return Charge(f"id-{number % 3}", None, None, "gpt://f/m", 10, number, number % 2 == 0, "00")


@pytest.mark.anyio
async def test_the_ledger_is_what_the_answers_say(body: Body, client_of: ClientOf) -> None:
    """Entries, totals, the inspection endpoints and the answers' own usage agree."""
    emulator = Emulator()
    paid = 0
    async with client_of(emulator) as client:
        for number in range(5):
            headers = {"x-client-request-id": f"r{number}", "idempotency-key": "k", "x-retry-attempt": "2"}
            messages = [{"role": "user", "text": f"question {number % 2}"}]
            response = await client.post(COMPLETION, json=body(messages=messages), headers=headers)
            paid += int(response.json()["result"]["usage"]["totalTokens"])
        await client.post(COMPLETION, content=b"{")
        totals = (await client.get("/emulator/totals")).json()
        lines = (await client.get("/emulator/ledger")).content.splitlines()
    entries = list(emulator.ledger.entries())
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert sum(entry.total_tokens for entry in entries) == paid == totals["total_tokens"]
    assert totals["input_tokens"] + totals["completion_tokens"] == paid
    assert (totals["requests"], totals["billed_requests"]) == (6, 5)
    assert totals["by_status"] == {"200": 5, "400": 1}
    assert [orjson.loads(line)["client_request_id"] for line in lines] == ["r0", "r1", "r2", "r3", "r4"]
    assert entries[0].digest == entries[2].digest != entries[1].digest
    assert (entries[0].idempotency_key, entries[0].attempt, entries[0].delivered) == ("k", "2", True)
    assert set(emulator.ledger.by_request_id().values()) == {1}


@pytest.mark.anyio
async def test_the_file_is_written_before_the_answer(body: Body, client_of: ClientOf, tmp_path: Path) -> None:
    """Whoever holds an answer finds its bill in the file; another emulator appends to it."""
    file = tmp_path / "ledger.jsonl"
    for run in range(1, 3):
        emulator = Emulator(Config(ledger_file=file))
        async with client_of(emulator) as client:
            response = await client.post(COMPLETION, json=body())
            lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
        emulator.close()
        emulator.close()
        assert len(lines) == run
        assert lines[-1]["total_tokens"] == int(response.json()["result"]["usage"]["totalTokens"])


def test_a_bounded_ledger_keeps_exact_totals() -> None:
    """Without `keep_entries` only the tail is in memory, and the totals are still of everything."""
    ledger = Ledger(keep_entries=False)
    for number in range(TAIL + 500):
        ledger.bill(charge(number), 0.0)
    entries = list(ledger.entries())
    assert (len(entries), entries[-1].sequence) == (TAIL, TAIL + 500)
    totals = ledger.totals()
    assert totals.requests == TAIL + 500
    assert totals.undelivered == (TAIL + 500) // 2
    assert totals.completion_tokens == sum(range(TAIL + 500))
    assert totals.total_tokens == totals.input_tokens + totals.completion_tokens


def test_double_bills_show_by_request_id() -> None:
    """A request id that was billed twice counts two."""
    ledger = Ledger()
    for number in range(4):
        ledger.bill(charge(number), 0.0)
    assert ledger.by_request_id() == {"id-0": 2, "id-1": 1, "id-2": 1}
