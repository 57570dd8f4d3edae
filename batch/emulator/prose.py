"""Sentences that look like an assistant's answer, in Russian or in English.

Plausible to the eye and to a token counter, meaningless otherwise; the same random source
gives the same words. Knows nothing of requests or answers.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Final

from batch.emulator.tokenizer import count

_CYRILLIC: Final = re.compile(r"[А-Яа-яЁё]")
_LATIN: Final = re.compile(r"[A-Za-z]")
_TOPIC: Final = re.compile(r"[^\W\d_]{4,24}")
#: The language and the topic show in the beginning of a text; the rest is not looked at.
_LOOKED_AT: Final = 2_000

WORDS: Final = (
    *("result", "order", "sample", "review", "answer", "summary", "delivery", "account"),
    *("quality", "service", "question", "product", "report", "support", "detail", "message"),
)

_ENGLISH_OPENINGS: Final = (
    "Here is a short answer about {topic}.",
    "The question about {topic} can be answered in a few words.",
    "Let us look at {topic} step by step.",
    "In short, {topic} depends on the context.",
    "There are several sides to {topic}.",
)
_ENGLISH: Final = (
    "The {noun} matters most when the {other} is checked early.",
    "It helps to compare the {noun} with the {other} before deciding.",
    "As a rule, the {noun} follows the {other}, not the other way round.",
    "Most people begin with the {noun} and return to the {other} later.",
    "Note that the {noun} may change once the {other} is known.",
    "A simple example shows how the {noun} supports the {other}.",
    "If the {noun} is unclear, ask about the {other} first.",
    "In practice the {noun} takes less time than the {other}.",
    "Finally, write down the {noun} and keep the {other} at hand.",
    "This makes the {noun} easier to explain and the {other} easier to test.",
)
_ENGLISH_NOUNS: Final = (
    *("goal", "plan", "result", "method", "source", "example", "reason", "context"),
    *("schedule", "budget", "question", "evidence", "summary", "detail"),
)
_RUSSIAN_OPENINGS: Final = (
    "Вот краткий ответ на вопрос про «{topic}».",
    "Если говорить коротко, тема «{topic}» зависит от контекста.",
    "Рассмотрим тему «{topic}» по порядку.",
    "На вопрос о «{topic}» можно ответить в нескольких словах.",
    "У темы «{topic}» есть несколько сторон.",
)
_RUSSIAN: Final = (
    "Важнее всего {noun}, а {other} проверяют отдельно.",
    "Прежде чем принимать решение, стоит сравнить: {noun} или {other}.",
    "Как правило, {noun} идёт первым, а {other} появляется позже.",
    "Большинство начинает с простого: {noun}, затем {other}.",
    "Обратите внимание, что {noun} может измениться, когда известен {other}.",
    "Простой случай показывает, как {noun} дополняет {other}.",
    "Если {noun} неясен, сначала уточните {other}.",
    "На практике {noun} занимает меньше времени, чем {other}.",
    "В конце запишите {noun} и сохраните {other} под рукой.",
    "Так {noun} легче объяснить, а {other} легче проверить.",
)
_RUSSIAN_NOUNS: Final = (
    *("план", "результат", "способ", "источник", "пример", "довод", "контекст", "график"),
    *("бюджет", "вопрос", "вывод", "отчёт", "порядок", "подход"),
)

_FILTERED_ENGLISH: Final = "I can't talk about this topic. Let's discuss something else."
_FILTERED_RUSSIAN: Final = "Я не могу обсуждать эту тему. Давайте поговорим о чём-нибудь ещё."


def is_russian(text: str) -> bool:
    """Whether a text is written mostly in Cyrillic letters."""
    head = text[:_LOOKED_AT]
    return len(_CYRILLIC.findall(head)) > len(_LATIN.findall(head))


def filtered(text: str) -> str:
    """What the assistant says where the filter stopped it, in the language of `text`."""
    return _FILTERED_RUSSIAN if is_russian(text) else _FILTERED_ENGLISH


def answer(text: str, tokens: int, source: random.Random) -> str:
    """Whole sentences of at least `tokens` tokens, about a word of `text` and in its language."""
    russian = is_russian(text)
    openings = _RUSSIAN_OPENINGS if russian else _ENGLISH_OPENINGS
    # Long words carry the topic; the set of them must not depend on the order of hashes.
    words = sorted(dict.fromkeys(_TOPIC.findall(text[:_LOOKED_AT].lower())), key=len)
    topic = source.choice(words[-3:]) if words else ("это" if russian else "this")
    sentences = [source.choice(openings).format(topic=topic)]
    length = count(sentences[0])
    while length < tokens:
        sentence = " " + _sentence(russian, source)
        sentences.append(sentence)
        length += _count(sentence)
    return "".join(sentences)


def _sentence(russian: bool, source: random.Random) -> str:
    patterns, nouns = (_RUSSIAN, _RUSSIAN_NOUNS) if russian else (_ENGLISH, _ENGLISH_NOUNS)
    noun, other = source.sample(nouns, 2)
    return source.choice(patterns).format(noun=noun, other=other)


@lru_cache(maxsize=8192)
def _count(sentence: str) -> int:
    return count(sentence)
