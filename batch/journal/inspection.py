"""What only those ask of a journal who look at it from outside, while a run may be going on: never a write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from batch.journal.connection import sentences
from batch.journal.entries import Unjudged
from batch.journal.queries import UNJUDGED, Records, Spent, as_float, as_int, as_spent, as_text, as_unjudged
from batch.journal.schema import MICROS

_CONTRADICTIONS = {
    "row {} has an answer without a receipt": "SELECT r.row_key FROM results r LEFT JOIN receipts c "
    "USING (attempt) WHERE r.status = 'ok' AND c.attempt IS NULL",
    "attempt {} has a receipt and was never sent": "SELECT c.attempt FROM receipts c LEFT JOIN attempts a "
    "USING (attempt) WHERE a.attempt IS NULL",
    "row {} was answered and has no result": "SELECT DISTINCT a.row_key FROM attempts a LEFT JOIN results r "
    "USING (row_key) WHERE a.outcome = 'answered' AND r.row_key IS NULL",
    "row {} has the result of a request that was never sent": "SELECT r.row_key FROM results r LEFT JOIN "
    "attempts a USING (attempt) WHERE r.attempt > 0 AND a.attempt IS NULL",
    "row {} has two open operations": "SELECT a.row_key FROM attempts a LEFT JOIN receipts c USING (attempt) "
    "WHERE a.outcome IS NULL AND a.operation_id IS NOT NULL AND c.attempt IS NULL "
    "GROUP BY a.row_key HAVING count(*) > 1",
    "operation {} is that of two requests": "SELECT operation_id FROM attempts WHERE operation_id IS NOT NULL "
    "GROUP BY operation_id HAVING count(*) > 1",
}


@dataclass(frozen=True, slots=True)
class OpenSum:
    """The operations whose end nobody has seen: how many, when the oldest was submitted (seconds since 1970),
    and how many belong to rows that failed before.
    """

    count: int
    oldest: float | None
    failed_before: int


_OPEN = (
    "SELECT count(*), min(a.submitted_at), count(r.row_key) FROM attempts a LEFT JOIN receipts c USING (attempt) "
    "LEFT JOIN results r USING (row_key) "
    "WHERE a.outcome IS NULL AND a.operation_id IS NOT NULL AND c.attempt IS NULL"
)

# A request belongs to the run that sent it, whoever judges it; an operation to the run that saw its end. When that
# was, the row's result says, or where the row was asked again, the reply, or that later request. Receipts are
# looked at for few: their pages hold all replies.
_ENDED_AT = (
    "coalesce((SELECT r.finished_at FROM results r WHERE r.row_key = a.row_key AND r.attempt = a.attempt), "
    "(SELECT c.received_at FROM receipts c WHERE c.attempt = a.attempt), "
    "(SELECT min(b.sent_at) FROM attempts b WHERE b.row_key = a.row_key AND b.number > a.number))"
)
_REPLIED = "EXISTS (SELECT 1 FROM receipts c WHERE c.attempt = a.attempt)"
_OF_RUN = (
    f"SELECT model, mode, CASE WHEN outcome IS NULL AND NOT {_REPLIED} THEN 'unknown' ELSE outcome END, "
    "currency, charged_micros IS NULL, count(*), coalesce(sum(charged_input), 0), "
    "coalesce(sum(charged_output), 0), coalesce(sum(charged_micros), 0) "
    "FROM attempts a WHERE CASE WHEN operation_id IS NULL THEN run = :run "
    f"WHEN run > :run OR (outcome IS NULL AND NOT {_REPLIED}) THEN 0 "
    f"ELSE {_ENDED_AT} >= :began AND {_ENDED_AT} < :following END GROUP BY 1, 2, 3, 4, 5"
)


class Inspection(Records):
    """A journal that is looked at; `snapshot` encloses whatever has to fit together."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Enclose questions that are all answered as of one moment, whatever another process writes meanwhile."""
        with sentences(self.path):
            self._connection.execute("BEGIN")
        try:
            self._all("SELECT count(*) FROM facts")  # the moment is that of the first question
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def waiting(self) -> Iterator[Unjudged]:
        """Yield all receipts that nobody judged yet, in the order in which they were asked for."""
        after = 0
        while found := self._all(
            f"SELECT {UNJUDGED} FROM attempts a JOIN receipts c USING (attempt) "
            "WHERE a.outcome IS NULL AND a.attempt > ? ORDER BY a.attempt LIMIT 500",
            (after,),
        ):
            for item in map(as_unjudged, found):
                after = item.attempt
                yield item

    def open_requests(self) -> list[tuple[str, float, str | None]]:
        """Return the requests whose end nobody saw: row key, sent at, the row's status by an earlier request."""
        found = self._all(
            "SELECT a.row_key, a.sent_at, r.status FROM attempts a LEFT JOIN receipts c USING (attempt) "
            "LEFT JOIN results r USING (row_key) WHERE a.outcome IS NULL AND c.attempt IS NULL "
            "AND a.operation_id IS NULL ORDER BY a.attempt"
        )
        return [(str(key), float(str(sent)), as_text(status)) for key, sent, status in found]

    def open_sum(self) -> OpenSum:
        """Return the open operations in sum."""
        count, oldest, failed = self._all(_OPEN)[0]
        return OpenSum(as_int(count), as_float(oldest), as_int(failed))

    def expired(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield the operations whose end nobody will see: row key, operation, the row's status now."""
        question = (
            "SELECT a.row_key, a.operation_id, r.status FROM attempts a LEFT JOIN results r USING (row_key) "
            "WHERE a.outcome = 'expired' ORDER BY a.attempt"
        )
        with sentences(self.path):
            for key, operation, status in self._connection.execute(question):
                yield str(key), str(operation), as_text(status)

    def costs(self) -> dict[str, Decimal]:
        """Return what the answers cost, by currency."""
        found = self._all(
            "SELECT currency, sum(cost_micros) FROM results WHERE status = 'ok' AND cost_micros IS NOT NULL "
            "AND currency IS NOT NULL GROUP BY currency"
        )
        return {str(currency): Decimal(as_int(micros)) / MICROS for currency, micros in found}

    def sent_in(self, run: int) -> tuple[int, float | None]:
        """Return how many requests a run has sent, and when it sent the last one."""
        count, last = self._all("SELECT count(*), max(sent_at) FROM attempts WHERE run = ?", (run,))[0]
        return as_int(count), as_float(last)

    def spending_of(self, run: int) -> list[Spent]:
        """Return what requests and operations came to in a run that has ended, so that runs add up to all.

        The outcome `unknown` stands also for requests whose end nobody saw, None for replies not judged yet.
        """
        started = {record.run: record.started_at for record in self.runs()}
        if run not in started:
            return []
        following = min((at for other, at in started.items() if other > run), default=float("inf"))
        found = self._all(_OF_RUN, {"run": run, "began": started[run], "following": following})
        return [as_spent(columns) for columns in found]

    def last_finished(self) -> float | None:
        """Return when the last row came to its end."""
        return as_float(self._all("SELECT max(finished_at) FROM results")[0][0])

    def lines(self) -> dict[str, int]:
        """Return how many entries there are of each kind that replaces no other, by the tape's words."""
        counts = {"run": "runs", "ended": "runs WHERE ended_at IS NOT NULL", "intent": "attempts"}
        counts |= {
            "receipt": "receipts",
            "submitted": "attempts WHERE operation_id IS NOT NULL",
            "limit": "limits",
        }
        return {kind: as_int(self._all("SELECT count(*) FROM " + what)[0][0]) for kind, what in counts.items()}

    def contradictions(self) -> Iterator[str]:
        """Yield what the tables say against each other, one clause each."""
        for clause, question in _CONTRADICTIONS.items():
            with sentences(self.path):
                for (what,) in self._connection.execute(question):
                    yield clause.format(what)
