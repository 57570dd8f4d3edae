"""The emulator: an ASGI application that behaves like the service.

Brings the parts together in the order in which the service meets a request: credentials,
form, quotas, generation, bill, answer. Knows nothing of sockets and of how it is served.
"""

from __future__ import annotations

import random
import time as clock
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from uuid import UUID

import anyio
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from batch.emulator import replies
from batch.emulator.answers import Answer, digest, generate, prompt
from batch.emulator.asynchronous import Asynchronous
from batch.emulator.calls import Call, Captured, read
from batch.emulator.checks import check_model, checked_length, checked_request
from batch.emulator.config import Config
from batch.emulator.connections import ABORTED_STATUS, Connections, Frames
from batch.emulator.credentials import authorise
from batch.emulator.faults import (
    ASYNC,
    COMPLETION,
    FAULTS,
    ROUTES,
    Fault,
    FaultPlan,
    Situation,
    known,
    refusal,
)
from batch.emulator.identity import Identity
from batch.emulator.ledger import Charge, Ledger
from batch.emulator.quotas import Admission, Quotas, refusals
from batch.emulator.rejections import NOT_FOUND, Rejected, gateway_error
from batch.emulator.tokenizer import text_tokens
from batch.emulator.wire import CompletionRequest, parse_tokenize

API = "/foundationModels/v1"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
#: Routes that hand out credentials, and so ask for none.
WITHOUT_CREDENTIALS = frozenset({"tokens", "metadata"})
CLOSED_BY_CLIENT = 499


class Emulator:
    """The service in miniature; call it as an ASGI application.

    Attributes, all of which may be set from another thread while it runs:
        outage: the kind of a fault that is not billed, for every request; None for none.
        faults: what goes wrong, with which probability.
        quotas: what the account may do.

    Args:
        config: its behaviour.
        time: seconds of a clock that never goes back.
        sleep: waits for seconds of that clock.
        wall: seconds since 1970 at the beginning; `time` is what moves it on.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        time: Callable[[], float] = clock.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        wall: Callable[[], float] = clock.time,
    ) -> None:
        """Begin with nothing billed."""
        self.config = config = config or Config()
        self.ledger = Ledger(config.ledger_file, keep_entries=config.keep_entries)
        self.connections = Connections()
        self.captured: deque[Captured] = deque(maxlen=config.capture)
        self._outage: str | None = None
        self._time = time
        self._sleep = sleep
        self._identifiers = random.Random(f"{config.seed} identifiers")
        self._durations = random.Random(f"{config.seed} latency")
        self._plans = _plans(config)
        self._faults = config.faults
        self._admission = Admission(config.quotas, time)
        self._statuses: dict[str, Counter[int]] = {route: Counter() for route in ROUTES}
        epoch = wall() - time()
        self._identity = Identity(config, self.ledger, time, epoch)
        self._asynchronous = Asynchronous(config, self.ledger, self._admission, self.connections, time, epoch)
        self._router = Router(self._routes(), redirect_slashes=False, default=_not_found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._router(scope, receive, send)

    @property
    def outage(self) -> str | None:
        """The kind of fault that strikes every request, None for none."""
        return self._outage

    @outage.setter
    def outage(self, kind: str | None) -> None:
        if kind is not None and known(kind).billed:
            raise ValueError(f"an outage bills nothing, but the fault {kind!r} does")
        self._outage = kind

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in force after the scripts' end."""
        return self._faults

    @faults.setter
    def faults(self, faults: tuple[Fault, ...]) -> None:
        for plan in self._plans.values():
            plan.faults = faults
        self._faults = faults

    @property
    def quotas(self) -> Quotas:
        """The quotas in force."""
        return self._admission.quotas

    @quotas.setter
    def quotas(self, quotas: Quotas) -> None:
        self._admission.quotas = quotas

    def revoke_tokens(self) -> None:
        """Refuse every token that was issued so far, from now on; may be called from another thread."""
        self._identity.revoke()

    def totals(self) -> dict[str, object]:
        """What happened so far, as `GET /emulator/totals` shows it.

        Requests and statuses are those of synchronous completions; `by_route` has those of every
        method that was asked. The status "aborted" is a connection that was broken without an answer,
        and 499 a client that left before its request was read. What was billed is of both modes.
        """
        billed, statuses = self.ledger.totals(), dict(self._statuses[COMPLETION])
        activity = self.ledger.activity()
        return {
            "requests": sum(statuses.values()),
            "billed_requests": billed.requests,
            "undelivered": billed.undelivered,
            "input_tokens": billed.input_tokens,
            "completion_tokens": billed.completion_tokens,
            "total_tokens": billed.total_tokens,
            "too_many_requests": statuses.get(429, 0),
            "by_status": _named(statuses),
            "max_concurrent": self._admission.peak,
            "async_billed_requests": self.ledger.totals("async").requests,
            "submissions": activity.submissions,
            "polls": activity.polls,
            "cancels": activity.cancels,
            "iam_tokens": activity.iam_tokens,
            "operations": len(self._asynchronous.operations),
            "by_route": {route: _named(dict(counted)) for route, counted in self._statuses.items() if counted},
        }

    def close(self) -> None:
        """Bill the operations that are done by now, abandon the others, and close the ledger's file."""
        self._asynchronous.close()
        self.ledger.close()

    def _routes(self) -> list[Route]:
        """Every path of the emulator; a method of the API is one line here."""
        later, identity, of = self._asynchronous, self._identity, self._answered
        return [
            Route(f"{API}/completion", of(COMPLETION, self._completion), methods=["POST"]),
            Route(f"{API}/completionAsync", of(ASYNC, later.submit), methods=["POST"]),
            # Before the next one, whose id would take the colon and what follows.
            Route("/operations/{id}:cancel", of("cancel", later.cancel), methods=["GET"]),
            Route("/operations/{id}", of("operations", later.get), methods=["GET"]),
            Route(f"{API}/tokenize", of("tokenize", self._tokenize), methods=["POST"]),
            Route(f"{API}/tokenizeCompletion", of("tokenizeCompletion", self._count_prompt), methods=["POST"]),
            Route("/iam/v1/tokens", of("tokens", identity.exchange), methods=["POST"]),
            Route(METADATA, of("metadata", identity.metadata), methods=["GET"]),
            Route("/emulator/totals", self._show_totals),
            Route("/emulator/ledger", self._show_ledger),
        ]

    def _answered(
        self, route: str, method: Callable[[Call], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A counted endpoint out of a method of the API: identifiers, faults, credentials and refusals."""
        plan, statuses = self._plans[route], self._statuses[route]

        async def respond(request: Request) -> Response:
            identifier = UUID(int=self._identifiers.getrandbits(128), version=4)
            # The fault is drawn on arrival, so that a script follows the order of arrival.
            strikes = plan.next() if self._outage is None else FAULTS[self._outage]
            try:
                call = await read(route, request, identifier, strikes)
            except ClientDisconnect:
                return Response(status_code=CLOSED_BY_CLIENT)
            if self.config.capture:
                self.captured.append(Captured(request.url.path, call.sent, call.body))
            if strikes is not None and not strikes.billed:
                return strikes.respond(self._situation(call, b""))
            try:
                self._authorise(call)
                response = await method(call)
            except Rejected as rejected:
                return self._refused(call, rejected)
            if strikes is not None and response.status_code == HTTPStatus.OK:
                return strikes.respond(self._situation(call, bytes(response.body)))
            return response

        async def endpoint(request: Request) -> Response:
            response = await respond(request)
            statuses[response.status_code] += 1
            return response

        return endpoint

    def _authorise(self, call: Call) -> None:
        """Check the credentials of a call, of whose method some are needed."""
        if call.route in WITHOUT_CREDENTIALS:
            return
        authorise(
            call.sent.get("authorization"),
            api_key=self.config.api_key,
            iam_token=self.config.iam_token,
            request_id=call.request_id,
            strict=self.config.strict,
            issued=self._identity.accepts,
        )

    def _refused(self, call: Call, rejected: Rejected) -> Response:
        located = rejected.located(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            folder=self.config.folder or call.sent.get("x-folder-id", ""),
        )
        return refusal(located, call.headers)

    async def _completion(self, call: Call) -> Response:
        request = checked_request(self.config, call)
        input_tokens = checked_length(self.config, request)
        self._admission.enter()
        try:
            seconds = self.config.latency.draw(self._durations)
            if seconds > 0:
                await self._sleep(seconds)
            answer = generate(
                request,
                input_tokens=input_tokens,
                seed=self.config.seed,
                lengths=self.config.completion_tokens,
                context_tokens=self.config.context_tokens,
            )
        finally:
            self._admission.leave()
        return self._bill(call, request, answer)

    def _bill(self, call: Call, request: CompletionRequest, answer: Answer) -> Response:
        """Enter the generation in the ledger, then answer: whatever is received was billed."""
        self._asynchronous.operations.settle()
        charge = Charge(
            client_request_id=call.client_request_id,
            idempotency_key=call.sent.get("idempotency-key"),
            attempt=call.sent.get("x-retry-attempt"),
            model_uri=request.model.text,
            input_tokens=answer.input_tokens,
            completion_tokens=answer.completion_tokens,
            delivered=call.fault is None and self.connections.listens(call.scope),
            digest=digest(request),
        )
        self.ledger.bill(charge, self._time())
        version, wrapped = self.config.model_version, self.config.wrap_result
        if call.fault is None and request.stream:
            return Frames(replies.frames(answer, model_version=version, wrapped=wrapped), call.headers)
        body = replies.completion(answer, model_version=version, wrapped=wrapped)
        return Response(body, headers=call.headers, media_type="application/json")

    async def _tokenize(self, call: Call) -> Response:
        request = parse_tokenize(call.body)
        check_model(self.config, call, request.model)
        self._admission.enter_tokenizer()
        body = replies.tokens(text_tokens(request.text), model_version=self.config.model_version)
        return Response(body, headers=call.headers, media_type="application/json")

    async def _count_prompt(self, call: Call) -> Response:
        request = checked_request(self.config, call)
        self._admission.enter_tokenizer()
        body = replies.tokens(prompt(request), model_version=self.config.model_version)
        return Response(body, headers=call.headers, media_type="application/json")

    def _situation(self, call: Call, answer: bytes) -> Situation:
        return Situation(
            route=call.route,
            request_id=call.request_id,
            headers=call.headers,
            answer=answer,
            stall_seconds=self.config.stall_seconds,
            sleep=self._sleep,
            connections=self.connections,
            folder=self.config.folder or "",
            too_many=refusals(self._admission.quotas, call.route),
        )

    async def _show_totals(self, _request: Request) -> Response:
        return Response(orjson.dumps(self.totals()), media_type="application/json")

    async def _show_ledger(self, _request: Request) -> Response:
        return Frames((entry.line() for entry in self.ledger.entries()), {})


def _plans(config: Config) -> dict[str, FaultPlan]:
    """What goes wrong on each route; each has dice of its own, so that one does not disturb another."""
    scripts = config.scripts_by_route()
    return {
        route: FaultPlan(
            config.faults,
            scripts.get(route, ()),
            random.Random(f"{config.seed} faults" + (f" {route}" if route != COMPLETION else "")),
            route,
        )
        for route in ROUTES
    }


def _named(statuses: dict[int, int]) -> dict[str, int]:
    """Counts of statuses, as the totals show them."""
    return {
        "aborted" if status == ABORTED_STATUS else str(status): number
        for status, number in sorted(statuses.items())
    }


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await refusal(gateway_error("Not Found", NOT_FOUND), {})(scope, receive, send)
