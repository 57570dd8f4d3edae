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
from batch.emulator.operations import OUTCOMES, Outcome
from batch.emulator.rejections import Rejected

OK: Final = "ok"

COMPLETION: Final = "completion"
ASYNC: Final = "completionAsync"
#: The methods of the API by which faults and scripts name them: `tokens` is the IAM exchange.
ROUTES: Final = (
    *(COMPLETION, ASYNC, "operations", "cancel"),
    *("tokenize", "tokenizeCompletion", "tokens", "metadata"),
)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a fault needs to know of the request that it strikes.

    `answer` is the body that should have been sent; empty where nothing was billed. `route` is
    the method that is struck, `too_many` its refusals: of the moment, and of the hour.
    """

    route: str
    request_id: str
    headers: dict[str, str]
    answer: bytes
    stall_seconds: float
    sleep: Callable[[float], Awaitable[None]]
    connections: Connections
    folder: str
    too_many: tuple[Rejected, Rejected]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way to fail: its name, whether the request was billed, what the client sees.

    `billed` says that the fault strikes after the method has done its work: a completion is billed,
    an operation accepted, a token issued. `outcome` is how an operation ends that is accepted with it.
    """

    name: str
    billed: bool
    meaning: str
    respond: Callable[[Situation], Response]
    outcome: Outcome | None = None


def refusal(rejected: Rejected, headers: Mapping[str, str], extra: Mapping[str, str] | None = None) -> Response:
    """The answer of a `Rejected`."""
    return Response(
        orjson.dumps(rejected.body),
        rejected.http_status,
        {**headers, **(extra or {})},
        "application/json",
    )


def _too_many(at: Situation) -> Response:
    return refusal(at.too_many[0], at.headers)


def _too_many_this_hour(at: Situation) -> Response:
    return refusal(at.too_many[1], at.headers)


def _retry_after(at: Situation) -> Response:
    return refusal(at.too_many[0], at.headers, {"retry-after": "1"})


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
    operation = {"id": 12345, "createdAt": 0, "done": "perhaps", "error": "none", "response": []}
    counted = {"tokens": "many", "modelVersion": None}
    bodies: dict[str, object] = {
        COMPLETION: {"result": {"alternatives": alternatives, "usage": usage, "modelVersion": None}},
        **dict.fromkeys((ASYNC, "operations", "cancel"), operation),
        **dict.fromkeys(("tokenize", "tokenizeCompletion"), counted),
        "tokens": {"iamToken": 12345, "expiresAt": []},
        "metadata": {"access_token": 12345, "expires_in": "soon", "token_type": None},
    }
    return Response(orjson.dumps(bodies[at.route]), 200, at.headers, "application/json")


def _stall(at: Situation) -> Response:
    return Stall(at.connections, at.stall_seconds, at.sleep)


def _unharmed(at: Situation) -> Response:
    return Response(at.answer, 200, at.headers, "application/json")


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

#: Every kind of fault of a request, by its name.
FAULTS: Final[Mapping[str, FaultKind]] = {kind.name: kind for kind in _TABLE}

#: Every way in which an operation ends that is accepted as if nothing were wrong, by its name.
OPERATION_FAULTS: Final[Mapping[str, FaultKind]] = {
    name: FaultKind(name, True, outcome.meaning, _unharmed, outcome) for name, outcome in OUTCOMES.items()
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault and the probability, 0 to 1, that it strikes a request.

    `routes` are the methods of the API that it strikes, out of `ROUTES`; () is "completion" for the
    kinds of `FAULTS` and "completionAsync" for those of `OPERATION_FAULTS`, which strike no other.
    """

    kind: str
    probability: float
    routes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist, where it does not, and a number that is no probability."""
        known(self.kind)
        for route in self.routes:
            check_route(route, self.kind)
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of {self.kind} must be from 0 to 1, not {self.probability}")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read "429=0.2", "drop-after=0.05" or "503=0.1@completionAsync,operations".

        Raises:
            ValueError: a sentence that says what a fault looks like, or which kinds there are.
        """
        kind, equals, rest = text.strip().partition("=")
        probability, at, routes = rest.partition("@")
        if equals:
            name = known(kind.strip()).name
            try:
                chance = float(probability)
            except ValueError:
                pass
            else:
                return cls(name, chance, tuple(route.strip() for route in routes.split(",")) if at else ())
        raise ValueError(
            f'{text!r} is not a fault: write KIND=PROBABILITY or KIND=PROBABILITY@ROUTE, for example "429=0.2"'
        )

    def strikes(self, route: str) -> bool:
        """Whether it strikes this method of the API."""
        return route in (self.routes or ((ASYNC if self.kind in OPERATION_FAULTS else COMPLETION),))


def known(kind: str) -> FaultKind:
    """The kind of that name; raises ValueError with all the names where there is none."""
    found = FAULTS.get(kind) or OPERATION_FAULTS.get(kind)
    if found is None:
        raise ValueError(f"there is no fault {kind!r}; there are: {', '.join([*FAULTS, *OPERATION_FAULTS])}")
    return found


def check_route(route: str, kind: str) -> None:
    """Refuse a method that does not exist, or that a kind of fault cannot strike, with a ValueError."""
    if route not in ROUTES:
        raise ValueError(f"the emulator has no route {route!r}; there are: {', '.join(ROUTES)}")
    if kind in OPERATION_FAULTS and route != ASYNC:
        raise ValueError(f"the fault {kind!r} strikes {ASYNC} only, not {route}")


class FaultPlan:
    """Says which fault strikes the next request of one route: first the script, then the dice.

    Args:
        faults: probabilities; those of this route together at most 1. May be replaced at any time,
            from any thread.
        script: kinds, or "ok", one per request in order of arrival.
        source: the seeded dice; thrown once per request, so that runs repeat.
        route: the method of the API whose requests it strikes.
    """

    def __init__(
        self, faults: Iterable[Fault], script: Iterable[str], source: random.Random, route: str = COMPLETION
    ) -> None:
        """Check the script and the probabilities."""
        self._route = route
        self._script = deque(None if kind == OK else known(kind) for kind in script)
        self._source = source
        self.faults = tuple(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The probabilities in force for this route."""
        return self._faults

    @faults.setter
    def faults(self, faults: tuple[Fault, ...]) -> None:
        ours = tuple(fault for fault in faults if fault.strikes(self._route))
        if sum(fault.probability for fault in ours) > 1 + 1e-9:
            raise ValueError("the probabilities of all faults together must be at most 1")
        self._faults = ours

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
                return known(fault.kind)
        return None
