"""What can go wrong, and what follows from it.

Errors carry behaviour, not only a name: the floors above decide by attributes (`exit_code`, `retryable`,
`billed`, `stops_run`) and never by the text of a message. Nothing is imported here.

    ChatbatchError                a sentence for the user, an exit code, and a hint how to mend it
    ├── UsageError                2   wrong flags, settings or column mapping
    ├── CredentialsError          4   credentials missing or refused
    ├── ServiceUnavailable        5   the service did not answer for too long
    ├── InputError                6   an input is missing or cannot be read
    ├── QuotaExhausted            7   a quota that will not clear in time, or the account
    ├── BudgetReached             8   a cap on money, tokens, rows or failures
    ├── NothingToDo               9   only with --error-on-empty
    ├── DeadlineReached          10   a deadline or a longest duration
    ├── OutputHeld               11   another run holds this output
    ├── JournalError              1   the journal is damaged, foreign or newer than this version
    ├── RowInvalid                    one row of the input cannot be sent; the row is `invalid`
    └── AttemptFailed                 one request did not bring an answer; behaviours below
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class ExitCode(IntEnum):
    """The process's exit codes; a stable interface for cron, systemd and scripts."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    ROWS_FAILED = 3
    CREDENTIALS = 4
    UNAVAILABLE = 5
    INPUT = 6
    QUOTA = 7
    BUDGET = 8
    NOTHING_TO_DO = 9
    DEADLINE = 10
    HELD = 11
    INTERRUPTED = 130
    TERMINATED = 143


class ChatbatchError(Exception):
    """An error that ends the command with one sentence and an exit code.

    `str(error)` is the sentence; `hint`, where there is one, says how to mend it.
    """

    exit_code = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ChatbatchError):
    """Wrong flags, settings or column mapping."""

    exit_code = ExitCode.USAGE


class CredentialsError(ChatbatchError):
    """Credentials are missing, or the service refused them."""

    exit_code = ExitCode.CREDENTIALS


class ServiceUnavailable(ChatbatchError):
    """The service did not answer for too long; a later run may."""

    exit_code = ExitCode.UNAVAILABLE


class InputError(ChatbatchError):
    """An input is missing or cannot be read."""

    exit_code = ExitCode.INPUT


class QuotaExhausted(ChatbatchError):
    """A quota that will not clear in time, or a blocked account."""

    exit_code = ExitCode.QUOTA


class BudgetReached(ChatbatchError):
    """A cap on money, tokens, rows or failures was reached."""

    exit_code = ExitCode.BUDGET


class NothingToDo(ChatbatchError):
    """Every row has its answer already, and the user asked to be told by an exit code."""

    exit_code = ExitCode.NOTHING_TO_DO


class DeadlineReached(ChatbatchError):
    """The wall-clock deadline or the longest duration was reached."""

    exit_code = ExitCode.DEADLINE


class OutputHeld(ChatbatchError):
    """Another run holds this output."""

    exit_code = ExitCode.HELD


class JournalError(ChatbatchError):
    """The journal is damaged, is no journal of ours, or was written by a newer version."""


class RowInvalid(ChatbatchError):
    """One row of the input cannot be sent; it becomes an output row with status `invalid`."""

    exit_code = ExitCode.ROWS_FAILED


class Billed(Enum):
    """Whether the service may have charged for a request that brought no usable answer."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class StatedQuota:
    """A quota that the service stated: `count` requests per so many `seconds`, or at once where None."""

    count: int
    seconds: int | None


class AttemptFailed(ChatbatchError):
    """One request did not bring a usable answer; its attributes say what follows.

    `code` is a short, stable word for the output column `error_code` (`HTTP_429`, `READ_TIMEOUT`, …);
    `retryable`: asking again may help; `billed`: whether it may have cost something; `slow_down`: the
    service says that we ask too much; `stops_run`: the exit code with which the whole run has to end,
    because the next row would fare no better; `retry_after`: seconds that the service asked us to wait;
    `quota`: the one that was used up, where the service stated it.
    """

    exit_code = ExitCode.ROWS_FAILED

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool = False,
        billed: Billed = Billed.NO,
        slow_down: bool = False,
        stops_run: ExitCode | None = None,
        retry_after: float | None = None,
        quota: StatedQuota | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.billed = billed
        self.slow_down = slow_down
        self.stops_run = stops_run
        self.retry_after = retry_after
        self.quota = quota
