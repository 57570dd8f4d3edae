"""Those who listen to a run: what the report needs of it, and caps that are counted from the news."""

from __future__ import annotations

from dataclasses import dataclass

from batch.clock import Clock
from batch.errors import ExitCode
from batch.events import Event, LimitChanged, News, Notice, RowFinished, Stopping
from batch.journal import Commits, Journal, LimitSet
from batch.parsing import FailureLimit
from batch.records import Charge, Status
from batch.stopping import Stop


@dataclass(frozen=True, slots=True)
class EndOfCollecting:
    """Ends the collecting of operations with the run, except where a budget or a quota ended that.

    What is open is paid, and looking at it takes nothing of either.
    """

    collecting: Stop

    def note(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, Stopping) and event.exit_code not in (ExitCode.BUDGET, ExitCode.QUOTA):
            self.collecting.request(event.reason, event.exit_code)


@dataclass(slots=True)
class Chronicle:
    """Writes into the journal how the limits changed, for the report."""

    commits: Commits
    journal: Journal
    clock: Clock

    def note(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, LimitChanged):
            self.commits.defer(LimitSet(self.journal.run, self.clock.time(), event.limit, event.value))


@dataclass(slots=True)
class FailureCap:
    """Asks the run to end once more rows have failed than are allowed."""

    allowed: FailureLimit
    rows: int
    stop: Stop
    _failed: int = 0

    def note(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, RowFinished) and event.status is Status.FAILED:
            self._failed += 1
            if self.allowed.exceeded(self._failed, self.rows):
                reason = f"--max-failures {self.allowed} is exceeded: {self._failed:,} rows have failed"
                self.stop.request(reason, ExitCode.BUDGET)


@dataclass(slots=True)
class Overcharged:
    """Says, once, that the service billed more than the bound that a cap relies on."""

    news: News
    _told: bool = False

    def note(self, charged: Charge, bound: Charge) -> None:
        """Take in a charge and the bound that it exceeds."""
        if not self._told:
            self._told = True
            self.news.publish(
                Notice(
                    f"The service billed {charged.tokens:,} tokens for a request that could take "
                    f"{bound.tokens:,} at most by our count; a cap may be exceeded by the difference."
                )
            )
