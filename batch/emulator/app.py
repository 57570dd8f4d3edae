"""The emulator: an ASGI application that behaves like the service.

Brings the parts together in the order in which the service meets a request: credentials,
form, quotas, generation, bill, answer. Knows nothing of sockets and of how it is served.
"""

from __future__ import annotations

import random
import time as clock
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from uuid import UUID

import anyio
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from batch.emulator import replies
from batch.emulator.answers import Answer, digest, generate, prompt
from batch.emulator.calls import Call, Captured, read
from batch.emulator.config import Config
from batch.emulator.connections import ABORTED_STATUS, Connections, Frames
from batch.emulator.credentials import authorise
from batch.emulator.faults import FAULTS, Fault, FaultKind, FaultPlan, Situation, known, refusal
from batch.emulator.ledger import Charge, Ledger
from batch.emulator.quotas import Admission, Quotas
from batch.emulator.rejections import INVALID_ARGUMENT, NOT_FOUND, Rejected, gateway_error, model_error
from batch.emulator.tokenizer import text_tokens
from batch.emulator.wire import CompletionRequest, ModelUri, parse_completion, parse_tokenize

API = "/foundationModels/v1"
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
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        time: Callable[[], float] = clock.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
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
        self._plan = FaultPlan(config.faults, config.script, random.Random(f"{config.seed} faults"))
        self._admission = Admission(config.quotas, time)
        self._statuses: Counter[int] = Counter()
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
        """The faults in force after the script's end."""
        return self._plan.faults

    @faults.setter
    def faults(self, faults: tuple[Fault, ...]) -> None:
        self._plan.faults = faults

    @property
    def quotas(self) -> Quotas:
        """The quotas in force."""
        return self._admission.quotas

    @quotas.setter
    def quotas(self, quotas: Quotas) -> None:
        self._admission.quotas = quotas

    def totals(self) -> dict[str, object]:
        """What happened so far, as `GET /emulator/totals` shows it.

        Requests and statuses are those of completions; the status "aborted" is a connection
        that was broken without an answer, and 499 a client that left before its request was read.
        """
        billed, statuses = self.ledger.totals(), dict(self._statuses)
        return {
            "requests": sum(statuses.values()),
            "billed_requests": billed.requests,
            "undelivered": billed.undelivered,
            "input_tokens": billed.input_tokens,
            "completion_tokens": billed.completion_tokens,
            "total_tokens": billed.total_tokens,
            "too_many_requests": statuses.get(429, 0),
            "by_status": {
                "aborted" if status == ABORTED_STATUS else str(status): number
                for status, number in sorted(statuses.items())
            },
            "max_concurrent": self._admission.peak,
        }

    def close(self) -> None:
        """Close the ledger's file."""
        self.ledger.close()

    def _routes(self) -> list[Route]:
        """Every path of the emulator; a method of the API is one line here."""
        completion = self._counted(self._answered(self._completion, self._fault))
        tokenize = self._answered(self._tokenize, self._in_outage)
        tokenize_completion = self._answered(self._count_prompt, self._in_outage)
        return [
            Route(f"{API}/completion", completion, methods=["POST"]),
            Route(f"{API}/tokenize", tokenize, methods=["POST"]),
            Route(f"{API}/tokenizeCompletion", tokenize_completion, methods=["POST"]),
            Route("/emulator/totals", self._show_totals),
            Route("/emulator/ledger", self._show_ledger),
        ]

    def _answered(
        self, method: Callable[[Call], Awaitable[Response]], fault: Callable[[], FaultKind | None]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint out of a method of the API: identifiers, faults, credentials and refusals."""

        async def endpoint(request: Request) -> Response:
            identifier = UUID(int=self._identifiers.getrandbits(128), version=4)
            # The fault is drawn on arrival, so that a script follows the order of arrival.
            strikes = fault()
            try:
                call = await read(request, identifier, strikes)
            except ClientDisconnect:
                return Response(status_code=CLOSED_BY_CLIENT)
            if self.config.capture:
                self.captured.append(Captured(request.url.path, call.sent, call.body))
            if strikes is not None and not strikes.billed:
                return strikes.respond(self._situation(call, b""))
            try:
                self._authorise(call)
                return await method(call)
            except Rejected as rejected:
                return self._refused(call, rejected)

        return endpoint

    def _counted(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint whose requests the totals count."""

        async def counted(request: Request) -> Response:
            response = await endpoint(request)
            self._statuses[response.status_code] += 1
            return response

        return counted

    def _in_outage(self) -> FaultKind | None:
        """The outage, if there is one."""
        outage = self._outage
        return None if outage is None else FAULTS[outage]

    def _fault(self) -> FaultKind | None:
        """The outage, or else what the plan has for the next completion."""
        return self._in_outage() or self._plan.next()

    def _authorise(self, call: Call) -> None:
        authorise(
            call.sent.get("authorization"),
            api_key=self.config.api_key,
            iam_token=self.config.iam_token,
            request_id=call.request_id,
        )

    def _refused(self, call: Call, rejected: Rejected) -> Response:
        located = rejected.located(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            folder=self.config.folder or call.sent.get("x-folder-id", ""),
        )
        return refusal(located, call.headers)

    async def _completion(self, call: Call) -> Response:
        request = self._parsed(call)
        input_tokens = len(prompt(request))
        limit = self.config.context_tokens
        if input_tokens > limit:
            message = f"number of input tokens must be no more than {limit}, got {input_tokens}"
            raise model_error(INVALID_ARGUMENT, message, in_session=True)
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
                context_tokens=limit,
            )
        finally:
            self._admission.leave()
        return self._bill(call, request, answer)

    def _bill(self, call: Call, request: CompletionRequest, answer: Answer) -> Response:
        """Enter the generation in the ledger, then answer: whatever is received was billed."""
        fault = call.fault
        charge = Charge(
            client_request_id=call.client_request_id,
            idempotency_key=call.sent.get("idempotency-key"),
            attempt=call.sent.get("x-retry-attempt"),
            model_uri=request.model.text,
            input_tokens=answer.input_tokens,
            completion_tokens=answer.completion_tokens,
            delivered=fault is None and self.connections.listens(call.scope),
            digest=digest(request),
        )
        self.ledger.bill(charge, self._time())
        version, wrapped = self.config.model_version, self.config.wrap_result
        if fault is None and request.stream:
            return Frames(replies.frames(answer, model_version=version, wrapped=wrapped), call.headers)
        body = replies.completion(answer, model_version=version, wrapped=wrapped)
        if fault is not None:
            return fault.respond(self._situation(call, body))
        return Response(body, headers=call.headers, media_type="application/json")

    async def _tokenize(self, call: Call) -> Response:
        request = parse_tokenize(call.body)
        self._check_model(call, request.model)
        self._admission.enter_tokenizer()
        body = replies.tokens(text_tokens(request.text), model_version=self.config.model_version)
        return Response(body, headers=call.headers, media_type="application/json")

    async def _count_prompt(self, call: Call) -> Response:
        request = self._parsed(call)
        self._admission.enter_tokenizer()
        body = replies.tokens(prompt(request), model_version=self.config.model_version)
        return Response(body, headers=call.headers, media_type="application/json")

    def _parsed(self, call: Call) -> CompletionRequest:
        request = parse_completion(call.body)
        self._check_model(call, request.model)
        return request

    def _check_model(self, call: Call, model: ModelUri) -> None:
        own = self.config.folder
        for folder in (model.folder, call.sent.get("x-folder-id")):
            if own is not None and folder is not None and folder != own:
                raise model_error(
                    INVALID_ARGUMENT,
                    f"Specified folder ID '{folder}' does not match with service account folder ID '{own}'",
                )
        models = self.config.models
        if models is not None and not models & {model.name, f"{model.name}/{model.version}"}:
            raise model_error(NOT_FOUND, f"Failed to get model {model.text}: not found")

    def _situation(self, call: Call, answer: bytes) -> Situation:
        quotas = self._admission.quotas
        return Situation(
            request_id=call.request_id,
            headers=call.headers,
            answer=answer,
            stall_seconds=self.config.stall_seconds,
            sleep=self._sleep,
            connections=self.connections,
            folder=self.config.folder or "",
            allowed=quotas.concurrent or 10,
            allowed_per_hour=quotas.per_hour or 100,
        )

    async def _show_totals(self, _request: Request) -> Response:
        return Response(orjson.dumps(self.totals()), media_type="application/json")

    async def _show_ledger(self, _request: Request) -> Response:
        return Frames((entry.line() for entry in self.ledger.entries()), {})


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await refusal(gateway_error("Not Found", NOT_FOUND), {})(scope, receive, send)
