"""The tokenizer: consistent with itself, and close to the recorded counts."""

from __future__ import annotations

import random

import orjson
import pytest

from batch.emulator.answers import fit, prompt
from batch.emulator.tokenizer import count, describe, pieces, prompt_tokens, text_tokens
from batch.emulator.wire import parse_completion

TEXTS = [
    "ping",
    "Привет! Как мне подготовиться к экзаменам?",
    "Two lines\nand  double   spaces_and_underscores,\ttabs…",
    "emoji 😊😊 and 漢字, naïve café, 12345 — «ёлки»!!!",
    "\n\n\n",
    "a" * 100,
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text(text: str) -> None:
    """Nothing of a text is lost or added by cutting it."""
    assert "".join(pieces(text)) == text
    assert len(pieces(text)) == count(text) == len(text_tokens(text)) - 1


@pytest.mark.parametrize("text", TEXTS)
def test_cutting_between_pieces_changes_nothing_before_the_cut(text: str) -> None:
    """A truncated answer has exactly the tokens that it was cut to."""
    whole = pieces(text)
    for kept in range(len(whole)):
        assert pieces("".join(whole[:kept])) == whole[:kept]


def test_random_text_survives_too() -> None:
    """The two properties above hold for arbitrary mixtures of characters."""
    dice = random.Random(7)
    for _ in range(200):
        text = "".join(dice.choices("ab Яё9_.,!\n\t 漢😊é-", k=40))
        whole = pieces(text)
        assert "".join(whole) == text
        kept = dice.randrange(len(whole))
        assert pieces("".join(whole[:kept])) == whole[:kept]


def test_ping_is_fifteen_tokens() -> None:
    """One user message "ping" is billed 15 tokens, 14 of them template (recorded)."""
    assert len(prompt_tokens(["ping"])) == 15
    assert len(text_tokens("ping")) == 2


def test_a_newline_and_the_start_are_special() -> None:
    """`<s>` stands first with id 1 and a newline is `[NL]`; words keep their space as ▁."""
    tokens = [describe(token) for token in text_tokens("one two\nthree")]
    assert tokens[0] == {"id": "1", "text": "<s>", "special": True}
    assert [token["text"] for token in tokens[1:]] == ["one", "▁two", "[NL]", "three"]
    assert [token["special"] for token in tokens[1:]] == [False, False, True, False]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_fit_never_exceeds_its_limit(limit: int) -> None:
    """However small the limit, the count is no larger and something is shown."""
    kept, tokens, whole = fit("seven words are in this small sentence", limit)
    assert not whole
    assert tokens == limit
    assert kept
    assert fit(kept, 100)[1] in (limit, 2)


def test_counts_are_close_to_the_recorded_ones(token_counts: list[dict[str, object]]) -> None:
    """Inputs and answers of the service's own models count within 6 tokens or 30 % of the real counts."""
    compared = 0
    for row in token_counts:
        if not str(row["model"]).startswith("yandexgpt") or row.get("tools") or not row.get("messages"):
            continue
        request = parse_completion(orjson.dumps({"modelUri": "gpt://folder/model", "messages": row["messages"]}))
        assert len(prompt(request)) == pytest.approx(row["inputTextTokens"], rel=0.3, abs=6), row
        if row.get("completion_text"):
            counted = count(str(row["completion_text"])) + 1
            assert counted == pytest.approx(row["completionTokens"], rel=0.3, abs=6), row
        compared += 1
    assert compared > 10
