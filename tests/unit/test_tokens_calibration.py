"""What answered rows teach: totals of the next rows, and an interval that is honest about them."""

from __future__ import annotations

import math
import random
import re
import tracemalloc
from collections.abc import Callable

import pytest

from batch.emulator.tokenizer import prompt_tokens
from batch.records import Message, Options, Request
from batch.tokens import Calibration, Estimator
from batch.tokens.regression import Ridge

RUSSIAN = (
    "клиент спрашивает почему доставка задерживается и когда вернут деньги за повреждённый товар пожалуйста "
    "ответьте вежливо коротко по существу заказ оформлен вчера вечером превысокомногорассмотрительствующий"
)
ENGLISH = (
    "the customer asks why delivery is late and when money for a damaged parcel will be returned please answer "
    "politely briefly to the point order was placed yesterday evening internationalization"
)
MODEL = "gpt:yandexgpt-lite/latest"
Truth = Callable[[Request], int]


def _rows(seed: int, count: int) -> list[Request]:
    """Return chats of one to four messages in two languages, with numbers, marks, lines, emoji and code."""
    chance = random.Random(seed)
    return [Request("m", _messages(chance), Options()) for _ in range(count)]


def _messages(chance: random.Random) -> tuple[Message, ...]:
    words = chance.choice((RUSSIAN, RUSSIAN, ENGLISH)).split()
    texts = []
    for _ in range(chance.choice((1, 1, 2, 4))):
        said = chance.choices(words, k=int(chance.lognormvariate(3, 0.8)) + 1)
        said += [str(chance.randrange(10**6)) for _ in range(chance.choice((0, 0, 2)))]
        said += chance.choice(([], [], ["— «да»!"], ["\n1. ответ\n2. answer"], ["😊"], ['{"a":\n    [1, 2]}']))
        texts.append(" ".join(said))
    return tuple(Message("user", text) for text in texts)


def _emulated(request: Request) -> int:
    return len(prompt_tokens([message.text or "" for message in request.messages]))


def _pieces(request: Request) -> int:
    """Count like another vocabulary: pieces of three letters, numbers whole, a long template."""
    texts = [message.text or "" for message in request.messages]
    return 60 + sum(9 + len(re.findall(r"[^\W\d_]{1,3}|\d+|[^\w ]|\s{2,}", text)) for text in texts)


def _bytes(request: Request) -> int:
    """Count like a model of bytes."""
    return 2 + sum(1 + len((message.text or "").encode()) for message in request.messages)


TRUTHS = {"emulator": _emulated, "pieces": _pieces, "bytes": _bytes}


def _calibrated(truth: Truth, seed: int, rows: int) -> Estimator:
    calibration = Calibration(MODEL)
    for request in _rows(seed, rows):
        calibration.add(request, truth(request))
    return calibration.estimator()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TRUTHS)
def test_the_next_rows_total_is_within_three_percent(name: str, seed: int) -> None:
    """After 200 answered rows the total of the next 2,000 is within 3 %, whatever the tokenizer."""
    truth = TRUTHS[name]
    estimator = _calibrated(truth, seed, 200)
    rows = _rows(seed + 1000, 2000)
    billed, expected = sum(map(truth, rows)), math.fsum(map(estimator.input_tokens, rows))
    assert estimator.grade == "calibrated on 200 rows"
    assert abs(expected / billed - 1) <= 0.03


@pytest.mark.parametrize("name", TRUTHS)
def test_the_stated_intervals_hold_what_they_claim(name: str) -> None:
    """Over many calibrations, rows and totals lie in their intervals about as often as is claimed."""
    truth, within_rows, within_totals = TRUTHS[name], [], []
    for seed in range(25):
        estimator = _calibrated(truth, seed, 120)
        interval, rows = estimator.interval, _rows(seed + 5000, 80)
        ratios = [truth(request) / estimator.input_tokens(request) for request in rows]
        within_rows += [interval.row[0] <= ratio <= interval.row[1] for ratio in ratios]
        total = sum(map(truth, rows)) / math.fsum(map(estimator.input_tokens, rows))
        low, high = interval.of_total(len(rows))
        within_totals.append(low <= total <= high)
    assert sum(within_rows) / len(within_rows) >= interval.share - 0.02
    assert sum(within_totals) / len(within_totals) >= interval.share - 0.02


def test_what_is_learned_narrows_the_interval() -> None:
    """Before any row the offline interval stands, a few rows keep it, many make it narrow."""
    offline = Estimator.for_model(MODEL)
    assert Calibration(MODEL).estimator() == offline
    few, many = _calibrated(_emulated, 0, 20), _calibrated(_emulated, 0, 400)
    assert few.interval == offline.interval
    assert few.grade == "calibrated on 20 rows"
    assert many.interval.total[1] - many.interval.total[0] < offline.interval.total[1] - offline.interval.total[0]
    assert many.interval.row[0] <= 1 <= many.interval.row[1]


def test_equal_rows_teach_too() -> None:
    """A thousand rows of one text leave every other coefficient where it was, and that text exact."""
    calibration, request = Calibration(MODEL), Request("m", (Message("user", "Привет"),), Options())
    for _ in range(1000):
        calibration.add(request, 77)
    estimator = calibration.estimator()
    assert estimator.input_tokens(request) == pytest.approx(77, rel=1e-3)
    assert all(math.isfinite(value) for value in estimator.coefficients)


def test_rows_without_a_count_teach_nothing() -> None:
    """A count of nothing is no count."""
    calibration = Calibration(MODEL)
    calibration.add(_rows(0, 1)[0], 0)
    assert calibration.rows == 0
    assert calibration.estimator().grade == "offline"


def test_learning_is_flat_in_memory() -> None:
    """Ten times the rows take no more memory."""
    calibration, row = Calibration(MODEL), _rows(0, 1)[0]
    for _ in range(2000):
        calibration.add(row, 50)
    tracemalloc.start()
    try:
        for number in range(5000):
            calibration.add(row, 50 + number % 7)
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_a_regression_finds_what_made_the_data() -> None:
    """Ridge regression with next to no penalty gives back the coefficients; with a heavy one, nothing."""
    chance, free, held = random.Random(1), Ridge([1e-9] * 3), Ridge([1e12] * 3)
    for _ in range(50):
        x = [chance.random() for _ in range(3)]
        for ridge in (free, held):
            ridge.add(x, 2 * x[0] - 3 * x[1] + 5 * x[2], 1.0)
    assert free.solve() == pytest.approx([2, -3, 5])
    assert held.solve() == pytest.approx([0, 0, 0], abs=1e-6)
