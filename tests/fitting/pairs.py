"""Recorded pairs of text and count as the estimator sees them, grouped by what they talk of.

Answers to one conversation repeat its words, and frames of a stream repeat each other: what belongs to one
conversation is one group, and is fitted or judged together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from batch.records import Message, Options, Request
from batch.tokens.families import FAMILIES, family_of
from batch.tokens.features import Counts, count_request, count_text


@dataclass(frozen=True, slots=True)
class Pair:
    """`counts` had `tokens`; `fitted` is what of them is new, where a frame of a stream continues another."""

    family: str
    group: str
    kind: str
    shown: str
    counts: Counts
    tokens: int
    fitted: tuple[Counts, int]
    request: Request | None = None


def request_of(record: Mapping[str, object]) -> Request | None:
    """Return the request of a recorded pair; None where its messages were not recorded."""
    if "messages" not in record:
        return None
    tools = record.get("tools")
    messages = tuple(_message(turn) for turn in record["messages"])  # type: ignore[attr-defined]
    return Request(str(record["model"]), messages, Options(tools=tools))  # type: ignore[arg-type]


def _message(turn: Mapping[str, object]) -> Message:
    if "toolCallList" in turn:
        return Message("assistant", tool_calls=turn["toolCallList"])  # type: ignore[arg-type]
    if "toolResultList" in turn:
        return Message("user", tool_results=turn["toolResultList"])  # type: ignore[arg-type]
    if "tool_calls" in turn:
        calls = [{"functionCall": call["function"]} for call in turn["tool_calls"]]  # type: ignore[attr-defined]
        return Message("assistant", tool_calls={"toolCalls": calls})
    if turn["role"] == "tool":
        result = {"functionResult": {"name": str(turn["tool_call_id"]), "content": str(turn["text"])}}
        return Message("user", tool_results={"toolResults": [result]})
    return Message(str(turn["role"]), str(turn["text"]))


def _family(model: str) -> str:
    own = family_of(f"gpt:{model}")
    return next((name for name, family in FAMILIES.items() if family is own), "yandexgpt")


def _group(request: Request | None, record: Mapping[str, object]) -> str:
    if request is None:
        return str(record.get("completion_text"))[:20]
    first = request.messages[0].text or ""
    return "numbers" if "numbers from" in first else first[:20]


def pairs_of(records: Sequence[Mapping[str, object]]) -> list[Pair]:
    """Return the different pairs of the records, in their order."""
    seen: set[object] = set()
    frames: dict[str, tuple[Counts, int]] = {}
    found = []
    for record in records:
        for pair in _pairs(record, frames):
            if (mark := (pair.family, pair.group, pair.kind, pair.counts, pair.tokens)) not in seen:
                seen.add(mark)
                found.append(pair)
    return found


def _pairs(record: Mapping[str, object], frames: dict[str, tuple[Counts, int]]) -> Iterator[Pair]:
    request, family = request_of(record), _family(str(record["model"]))
    group = _group(request, record)
    if request is not None:
        counts, tokens = count_request(request), int(str(record["inputTextTokens"]))
        shown = str(request.messages[-1].text)
        yield Pair(
            family,
            group,
            "tools" if request.options.tools else "input",
            shown,
            counts,
            tokens,
            (counts, tokens),
            request,
        )
    text = record.get("completion_text")
    if isinstance(text, str):
        counts, tokens = count_text(text), int(str(record["completionTokens"])) - 1
        fitted = counts, tokens
        if "stream_frame" in record:
            known, already = frames.get(group, ((0,) * len(counts), 0))
            fitted = tuple(new - old for new, old in zip(counts, known, strict=True)), tokens - already
            frames[group] = counts, tokens
        if tokens > 0:
            yield Pair(family, group, "answer", text, counts, tokens, fitted)
