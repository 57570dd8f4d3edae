"""What is known of each family of models: coefficients in the order of `features.NAMES`, and their error.

Fitted by `python -m tests.fitting.tokens` to recorded counts; run it to see errors on pairs that were not
fitted. Where a family has no recorded pairs of a kind (only YandexGPT has Russian ones), the coefficient is
what is generally known of its vocabulary, and the interval is wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

# The share of pairs whose truth the factors hold.
SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Family:
    """Models that cut texts alike: `factors`, low and high, hold the truth in `share` of the cases."""

    coefficients: tuple[float, ...]
    factors: tuple[float, float]
    share: float = SHARE


def family_of(identity: str) -> Family:
    """Return the family of a model by the beginning of its name (`gpt:NAME/VERSION`), else the default one."""
    name = identity.partition(":")[2] or identity
    return next((FAMILIES[known] for known in FAMILIES if name.startswith(known)), UNKNOWN)


# requests, messages, latin, cyrillic, words, digits, marks, lines, two, three, four bytes, json, tools
_YANDEX = (8.214, 3.963, 0.063, 0.047, 0.845, 0.896, 0.942, 0.759, 1.0, 0.97, 2.0, 0.191, 8.913)
_QWEN = (3.197, 5.061, 0.046, 0.27, 0.875, 0.998, 0.996, 0.584, 1.0, 0.992, 1.438, 0.21, 94.128)
# Not fitted. gpt-oss writes a system message of its own; its vocabulary has 200,000 pieces, Gemma's 262,000,
# Llama's 128,000, and the first and the last take digits by threes. Gemma with one tool: 304 (recorded).
_GPT_OSS = (64.0, 4.0, 0.046, 0.14, 0.87, 0.4, 0.99, 0.58, 0.8, 0.9, 1.4, 0.2, 30.0)
_GEMMA = (4.0, 5.0, 0.046, 0.16, 0.87, 1.0, 0.99, 0.58, 0.8, 0.9, 1.4, 0.2, 200.0)
_LLAMA = (5.0, 5.0, 0.046, 0.25, 0.87, 0.4, 0.99, 0.58, 0.8, 0.9, 1.4, 0.2, 90.0)

FAMILIES = MappingProxyType(
    {
        "yandexgpt": Family(_YANDEX, (0.84, 1.19)),
        "aliceai": Family(_YANDEX, (0.75, 1.35)),
        "qwen": Family(_QWEN, (0.75, 1.3)),
        "gpt-oss": Family(_GPT_OSS, (0.7, 1.4)),
        "gemma": Family(_GEMMA, (0.7, 1.4)),
        "llama": Family(_LLAMA, (0.7, 1.4)),
    }
)
# A model of which nothing is known: the service's own family, and a doubt that spans the others.
UNKNOWN = Family(_YANDEX, (0.6, 2.0))
