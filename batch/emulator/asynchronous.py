"""The asynchronous mode: submissions, readings and cancellations of operations.

The methods take a `Call` and give a response; faults, credentials and counting are around
them in `app`. What an operation is and when it ends is in `operations`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from batch.emulator import replies
from batch.emulator.answers import Answer, digest, generate
from batch.emulator.calls import Call
from batch.emulator.checks import checked_length, checked_request
from batch.emulator.config import Config
from batch.emulator.connections import Connections
from batch.emulator.ledger import Charge, Ledger
from batch.emulator.operations import Operation, Operations
from batch.emulator.quotas import Admission
from batch.emulator.rejections import INVALID_ARGUMENT, NOT_FOUND, Rejected, cloud_error, model_error
from batch.emulator.wire import CompletionRequest, parse_completion

_LETTERS: Final = "0123456789abcdefghijklmnopqrstuv"
#: The beginning of the recorded identifiers, whose 20 characters are all of `_LETTERS`.
_PREFIX: Final = "d7q"


class Asynchronous:
    """The three methods.

    Args:
        config: the emulator's behaviour.
        ledger: what operations cost, and how often they were asked about.
        admission: the quotas of submitting and of reading.
        connections: tell whether a client still listens.
        time: seconds of the emulator's clock.
        epoch: is to be added to them to make seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        admission: Admission,
        connections: Connections,
        time: Callable[[], float],
        epoch: float,
    ) -> None:
        """Begin with no operation; from now on the ledger is up to date whenever it is read."""
        self._config = config
        self._ledger = ledger
        self._admission = admission
        self._connections = connections
        self._time = time
        self._epoch = epoch
        self._delays = random.Random(f"{config.seed} operations")
        self._script = deque(config.operation_delays)
        self._closed = False
        # Not seeded: a client that comes back to another emulator must not find somebody else's operation.
        self._identifiers = random.SystemRandom()
        self.operations = Operations(time, config.keep_operations_s, self._charge)
        ledger.settled_by(self.operations.settle)

    async def submit(self, call: Call) -> Response:
        """`completionAsync`: accept an operation and answer at once."""
        request = checked_request(self._config, call)
        if request.stream:
            raise model_error(INVALID_ARGUMENT, "stream is not supported in asynchronous mode", in_session=True)
        input_tokens = checked_length(self._config, request)
        self._admission.enter_submission()
        operation = self._accepted(call, input_tokens)
        # Written before anybody, in whichever thread, can end it.
        response = self._shown(call, operation, None)
        self._ledger.note_submission(call.client_request_id, digest(request))
        self.operations.accept(operation)
        return response

    async def get(self, call: Call) -> Response:
        """`operations/{id}`: show an operation as it is."""
        self._admission.enter_poll()
        identifier = _identifier(call)
        self._ledger.note_poll(identifier)
        return self._found(call, identifier, self.operations.find(identifier))

    async def cancel(self, call: Call) -> Response:
        """`operations/{id}:cancel`: end an operation that is not done."""
        identifier = _identifier(call)
        operation = self.operations.cancel(identifier)
        if operation is not None:
            self._ledger.note_cancel()
        return self._found(call, identifier, operation)

    def close(self) -> None:
        """Bill what is done by now, and abandon what is not; safe to repeat, later changes nothing."""
        if not self._closed:
            self._closed = True
            self.operations.settle()
            self._ledger.settled_by(None)

    def _accepted(self, call: Call, input_tokens: int) -> Operation:
        config, fault, now = self._config, call.fault, self._time()
        drawn = config.operation_latency.draw(self._delays)
        delay = self._script.popleft() if self._script else drawn
        operation = Operation(
            id=_PREFIX + "".join(self._identifiers.choices(_LETTERS, k=20 - len(_PREFIX))),
            body=call.body,
            input_tokens=input_tokens,
            client_request_id=call.client_request_id,
            idempotency_key=call.sent.get("idempotency-key"),
            attempt=call.sent.get("x-retry-attempt"),
            told=(fault is None or fault.outcome is not None) and self._connections.listens(call.scope),
            accepted_at=now,
            starts_at=now + delay * config.operation_queue_share,
            done_at=now + delay,
        )
        if fault is not None and fault.outcome is not None:
            operation.outcome = fault.outcome
        return operation

    def _found(self, call: Call, identifier: str, operation: Operation | None) -> Response:
        if operation is None:
            raise _unknown(identifier, call.request_id)
        answer = self._answer(operation)[1] if operation.readable else None
        return self._shown(call, operation, answer)

    def _shown(self, call: Call, operation: Operation, answer: Answer | None) -> Response:
        created, version = operation.accepted_at + self._epoch, self._config.model_version
        body = replies.operation(operation, created, answer, model_version=version)
        return Response(body, headers=call.headers, media_type="application/json")

    def _answer(self, operation: Operation) -> tuple[CompletionRequest, Answer]:
        """The request of an operation and its answer, made again: it depends on nothing else."""
        config, request = self._config, parse_completion(operation.body)
        answer = generate(
            request,
            input_tokens=operation.input_tokens,
            seed=config.seed,
            lengths=config.completion_tokens,
            context_tokens=config.context_tokens,
        )
        return request, answer

    def _charge(self, operation: Operation) -> None:
        request, answer = self._answer(operation)
        charge = Charge(
            client_request_id=operation.client_request_id,
            idempotency_key=operation.idempotency_key,
            attempt=operation.attempt,
            model_uri=request.model.text,
            input_tokens=answer.input_tokens,
            completion_tokens=answer.completion_tokens,
            delivered=operation.told and operation.readable,
            digest=digest(request),
            mode="async",
            operation_id=operation.id,
        )
        self._ledger.bill(charge, operation.done_at)


def _identifier(call: Call) -> str:
    return str(call.scope["path_params"]["id"])


def _unknown(identifier: str, request_id: str) -> Rejected:
    return cloud_error(NOT_FOUND, f"Operation {identifier} not found", request_id=request_id)
