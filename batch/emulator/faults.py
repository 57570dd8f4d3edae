"""What can go wrong on purpose: a table of faults, and the plan that says when.

Each kind says whether the request was billed before it went wrong, which is what a client
cannot see and a test must know. Knows nothing of requests beyond their identifiers.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.responses import Response

from batch.emulator import rejections
from batch.emulator.connections import Connections, Cut, Reset, Stall
from batch.emulator.rejections import Rejected

OK: Final = "ok"


@dataclass(frozen=True, slots=True)
class Situation:
    """What a fault needs to know of the request that it strikes.

    `answer` is the body that should have been sent; empty where nothing was billed.
    """

    request_id: str
    headers: dict[str, str]
    answer: bytes
    stall_seconds: float
    sleep: Callable[[float], Awaitable[None]]
    connections: Connections
    folder: str
    allowed: int
    allowed_per_hour: int


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way to fail: its name, whether the request was billed, what the client sees."""

    name: str
    billed: bool
    meaning: str
    respond: Callable[[Situation], Response]


def refusal(rejected: Rejected, headers: Mapping[str, str], extra: Mapping[str, str] | None = None) -> Response:
    """The answer of a `Rejected`."""
    return Response(
        orjson.dumps(rejected.body),
        rejected.http_status,
        {**headers, **(extra or {})},
        "application/json",
    )


def _too_many(at: Situation) -> Response:
    return refusal(rejections.too_many_sessions(at.allowed), at.headers)


def _too_many_this_hour(at: Situation) -> Response:
    return refusal(rejections.too_many_requests("Hour", at.allowed_per_hour), at.headers)


def _retry_after(at: Situation) -> Response:
    return refusal(rejections.too_many_sessions(at.allowed), at.headers, {"retry-after": "1"})


def _unavailable(at: Situation) -> Response:
    rejected = rejections.cloud_error(
        rejections.UNAVAILABLE, "Service is unavailable, try again later.", request_id=at.request_id
    )
    return refusal(rejected, at.headers)


def _internal(at: Situation) -> Response:
    return refusal(rejections.model_error(rejections.INTERNAL, "Internal error"), at.headers)


def _deadline(at: Situation) -> Response:
    rejected = rejections.cloud_error(rejections.DEADLINE_EXCEEDED, "Deadline exceeded.", request_id=at.request_id)
    return refusal(rejected, at.headers)


def _bad_gateway(_at: Situation) -> Response:
    page = (
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
        "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return Response(page, 502, media_type="text/html")


def _empty(_at: Situation) -> Response:
    return Response(b"", 503)


def _invalid(at: Situation) -> Response:
    rejected = rejections.model_error(rejections.INVALID_ARGUMENT, "Failed to parse model URI")
    return refusal(rejected, at.headers)


def _unauthenticated(at: Situation) -> Response:
    rejected = rejections.cloud_error(
        rejections.UNAUTHENTICATED, "Token is invalid or has expired.", request_id=at.request_id
    )
    return refusal(rejected, at.headers)


def _denied(at: Situation) -> Response:
    message = f"Permission to [resource-manager.folder {at.folder}] denied"
    return refusal(rejections.model_error(rejections.PERMISSION_DENIED, message), at.headers)


def _reset(at: Situation) -> Response:
    return Reset(at.connections)


def _cut(at: Situation) -> Response:
    return Cut(at.connections, at.answer, at.headers)


def _truncated(at: Situation) -> Response:
    return Response(at.answer[: len(at.answer) // 2], 200, at.headers, "application/json")


def _wrong_types(at: Situation) -> Response:
    message = {"role": "assistant", "text": 12345}
    usage = {"inputTextTokens": {"value": "many"}, "completionTokens": [], "totalTokens": True}
    alternatives = [{"message": message, "status": "ALTERNATIVE_STATUS_FINAL"}]
    result = {"alternatives": alternatives, "usage": usage, "modelVersion": None}
    return Response(orjson.dumps({"result": result}), 200, at.headers, "application/json")


def _stall(at: Situation) -> Response:
    return Stall(at.connections, at.stall_seconds, at.sleep)


_TABLE = (
    FaultKind("429", False, "HTTP 429, too many generations at once", _too_many),
    FaultKind("429-rate", False, "HTTP 429, too many requests this hour", _too_many_this_hour),
    FaultKind("429-retry-after", False, "HTTP 429 with Retry-After: 1", _retry_after),
    FaultKind("503", False, "HTTP 503 with the cloud's error body", _unavailable),
    FaultKind("500", False, "HTTP 500, INTERNAL, which is not charged", _internal),
    FaultKind("504", False, "HTTP 504 with the cloud's error body", _deadline),
    FaultKind("502", False, "HTTP 502 with an HTML page of a proxy", _bad_gateway),
    FaultKind("empty", False, "HTTP 503 with an empty body", _empty),
    FaultKind("400", False, "HTTP 400 for a request that is right", _invalid),
    FaultKind("401", False, "HTTP 401 for credentials that are right", _unauthenticated),
    FaultKind("403", False, "HTTP 403, no permission to the folder", _denied),
    FaultKind("drop-before", False, "the connection is reset, nothing was generated", _reset),
    FaultKind("drop-after", True, "the connection is reset instead of the answer", _reset),
    FaultKind("cut", True, "the connection ends after half of the announced body", _cut),
    FaultKind("truncated", True, "HTTP 200, whole, but its JSON ends in the middle", _truncated),
    FaultKind("wrong-types", True, "HTTP 200, JSON with values of the wrong types", _wrong_types),
    FaultKind("stall", True, "silence for a long time, then a reset", _stall),
)

#: Every kind of fault by its name.
FAULTS: Final[Mapping[str, FaultKind]] = {kind.name: kind for kind in _TABLE}


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault and the probability, 0 to 1, that it strikes a request."""

    kind: str
    probability: float

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist and a number that is no probability."""
        known(self.kind)
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of {self.kind} must be from 0 to 1, not {self.probability}")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read "429=0.2" or "drop-after=0.05".

        Raises:
            ValueError: a sentence that says what a fault looks like, or which kinds there are.
        """
        kind, equals, probability = text.strip().partition("=")
        try:
            if equals:
                return cls(known(kind.strip()).name, float(probability))
        except ValueError as error:
            if kind.strip() not in FAULTS or "probability" in str(error):
                raise
        raise ValueError(f'{text!r} is not a fault: write KIND=PROBABILITY, for example "429=0.2"')


def known(kind: str) -> FaultKind:
    """The kind of that name; raises ValueError with all the names where there is none."""
    if kind not in FAULTS:
        raise ValueError(f"there is no fault {kind!r}; there are: {', '.join(FAULTS)}")
    return FAULTS[kind]


class FaultPlan:
    """Says which fault strikes the next request: first the script, then the dice.

    Args:
        faults: probabilities; together at most 1. May be replaced at any time, from any thread.
        script: kinds, or "ok", one per request in order of arrival.
        source: the seeded dice; thrown once per request, so that runs repeat.
    """

    def __init__(self, faults: Iterable[Fault], script: Iterable[str], source: random.Random) -> None:
        """Check the script and the probabilities."""
        self._script = deque(None if kind == OK else known(kind) for kind in script)
        self._source = source
        self.faults = tuple(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The probabilities in force."""
        return self._faults

    @faults.setter
    def faults(self, faults: tuple[Fault, ...]) -> None:
        if sum(fault.probability for fault in faults) > 1 + 1e-9:
            raise ValueError("the probabilities of all faults together must be at most 1")
        self._faults = faults

    def next(self) -> FaultKind | None:
        """The fault of the next request, None for none."""
        if self._script:
            return self._script.popleft()
        if not self._faults:
            return None
        thrown = self._source.random()
        for fault in self._faults:
            thrown -= fault.probability
            if thrown < 0:
                return FAULTS[fault.kind]
        return None
