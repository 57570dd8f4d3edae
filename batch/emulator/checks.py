"""What the service checks of a completion before it takes it: form, folder, model, length.

The same for both modes and for the tokenizer. Knows nothing of quotas, money or answers.
"""

from __future__ import annotations

from batch.emulator.answers import prompt
from batch.emulator.calls import Call
from batch.emulator.config import Config
from batch.emulator.rejections import INVALID_ARGUMENT, NOT_FOUND, model_error
from batch.emulator.wire import CompletionRequest, ModelUri, parse_completion


def checked_request(config: Config, call: Call) -> CompletionRequest:
    """The request of a call, well-formed and for a model and a folder that exist.

    Raises:
        Rejected: 400 or 404.
    """
    request = parse_completion(call.body)
    check_model(config, call, request.model)
    return request


def checked_length(config: Config, request: CompletionRequest) -> int:
    """The input tokens of a request; raises `Rejected` (400) where they are too many."""
    input_tokens, limit = len(prompt(request)), config.context_tokens
    if input_tokens > limit:
        message = f"number of input tokens must be no more than {limit}, got {input_tokens}"
        raise model_error(INVALID_ARGUMENT, message, in_session=True)
    return input_tokens


def check_model(config: Config, call: Call, model: ModelUri) -> None:
    """Refuse another account's folder (400) and a model that does not exist (404), as `Rejected`."""
    own = config.folder
    for folder in (model.folder, call.sent.get("x-folder-id")):
        if own is not None and folder is not None and folder != own:
            raise model_error(
                INVALID_ARGUMENT,
                f"Specified folder ID '{folder}' does not match with service account folder ID '{own}'",
            )
    models = config.models
    if models is not None and not models & {model.name, f"{model.name}/{model.version}"}:
        raise model_error(NOT_FOUND, f"Failed to get model {model.text}: not found")
