"""What a report asks of a journal: how the time went, distributions, and the rows that stand out.

SQLite adds everything up; what comes back is bounded by the number of slices, bins and kinds, not by the rows.
A slice is a whole number of `width` seconds since 1970: slice n holds the times from n * width to (n + 1) * width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from batch.journal.inspection import Inspection
from batch.journal.queries import as_float, as_int, as_text
from batch.journal.schema import as_money
from batch.parsing import Money

# What of answered rows has a distribution: seconds until the answer, and tokens of the answer.
Measure: TypeAlias = Literal["latency_s", "completion_tokens"]


@dataclass(frozen=True, slots=True)
class Finished:
    """Rows that came to their end in one slice, and the tokens that the service stated for them."""

    slice: int
    ok: int
    failed: int
    input_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Charged:
    """What the requests that were sent in one slice were charged, or may have been at most.

    `outcome` is `answered`, `lost`, or `unknown` where nobody saw the end.
    """

    slice: int
    outcome: str
    cost: Money


@dataclass(frozen=True, slots=True)
class Lost:
    """Requests sent in one slice that brought no usable answer, by what went wrong."""

    slice: int
    error_code: str
    attempts: int


@dataclass(frozen=True, slots=True)
class RunEnd:
    """When a run ended, or was last heard of, and how long it waited for an answer (None: for ever)."""

    run: int
    until: float
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Underway:
    """Requests in flight in one slice, on average and at its end.

    Exact where a reply was kept, or where the row failed for good. Of other requests the journal has no time of
    their end. A time-out took as long as the run waits; a connection that broke is taken to have lasted as long as
    answers did on average; neither longer than until the row was asked again. Where nobody saw the end, it was in
    flight until the run was last heard of. Refusals and errors that the service stated are taken to have come at
    once, so there may have been a few more than this.
    """

    slice: int
    mean: float
    after: int


@dataclass(frozen=True, slots=True)
class LimitSeen:
    """A limit in one slice: its lowest, highest and last value."""

    slice: int
    name: str
    lowest: int
    highest: int
    last: int


@dataclass(frozen=True, slots=True)
class Waited:
    """How long the answers that came in one slice took: the median and the 95th percentile, in seconds."""

    slice: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What one kind of failure did: requests lost, those of them whose row was asked again, rows given up.

    `outcome` says whether they were billed, in the words of the journal.
    """

    error_code: str
    outcome: str
    attempts: int
    asked_again: int
    rows_failed: int


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a histogram: values from `start` to below `end`; `end` is None for everything longer."""

    start: float
    end: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class Notable:
    """A row that stands out, without its texts."""

    row_key: str
    attempts: int
    input_tokens: int | None
    completion_tokens: int | None
    cost: Money | None
    latency_s: float | None
    error_code: str | None
    error_message: str | None


class Timeline(Inspection):
    """A journal that is asked how the time went; everything within one `snapshot` fits together."""

    def last_finished_between(self, since: float, until: float) -> float | None:
        """Return when the last row within a time came to its end."""
        question = "SELECT max(finished_at) FROM results WHERE finished_at >= ? AND finished_at < ?"
        return as_float(self._all(question, (since, until))[0][0])

    def requests(self) -> tuple[int, int]:
        """Return how many requests were sent, and how many of them asked a row again."""
        asked, again = self._all("SELECT count(*), coalesce(sum(number > 1), 0) FROM attempts")[0]
        return as_int(asked), as_int(again)

    def answers_cost(self) -> list[Money]:
        """Return the cost of all rows that have a result, by currency."""
        found = self._all("SELECT sum(cost_micros), currency FROM results WHERE currency IS NOT NULL GROUP BY 2")
        return [cost for micros, currency in found if (cost := _money(micros, currency)) is not None]

    def finished(self, width: float) -> list[Finished]:
        """Return the rows that came to their end, by slice; slices without any are left out."""
        found = self._all(
            "SELECT cast(finished_at / ? AS INTEGER), sum(status = 'ok'), sum(status <> 'ok'), "
            "coalesce(sum(input_tokens), 0), coalesce(sum(completion_tokens), 0) FROM results "
            "GROUP BY 1 ORDER BY 1",
            (width,),
        )
        return [Finished(*(as_int(number) for number in columns)) for columns in found]

    def charged(self, width: float) -> list[Charged]:
        """Return what requests were charged by the slice in which they were sent; the unpriced are left out."""
        found = self._all(
            "SELECT cast(sent_at / ? AS INTEGER), CASE WHEN outcome = 'answered' THEN 'answered' "
            "WHEN outcome IS NULL OR outcome = 'unknown' THEN 'unknown' ELSE 'lost' END, currency, "
            "sum(charged_micros) FROM attempts WHERE charged_micros > 0 AND currency IS NOT NULL "
            "GROUP BY 1, 2, 3 ORDER BY 1",
            (width,),
        )
        priced = ((at, outcome, _money(micros, currency)) for at, outcome, currency, micros in found)
        return [Charged(as_int(at), str(outcome), cost) for at, outcome, cost in priced if cost is not None]

    def lost(self, width: float) -> list[Lost]:
        """Return the requests that brought no usable answer, by the slice in which they were sent and by kind."""
        found = self._all(
            f"SELECT cast(sent_at / ? AS INTEGER), {_CODE}, count(*) FROM attempts WHERE {_LOST} "
            "GROUP BY 1, 2 ORDER BY 1",
            (width,),
        )
        return [Lost(as_int(at), str(code), as_int(attempts)) for at, code, attempts in found]

    def losses(self) -> list[Loss]:
        """Return the same by kind, the most frequent first, with rows that were given up for it."""
        found = self._all(
            f"SELECT {_CODE}, outcome, count(*), sum(EXISTS (SELECT 1 FROM attempts b "
            "WHERE b.row_key = a.row_key AND b.attempt > a.attempt)), "
            "sum(EXISTS (SELECT 1 FROM results r WHERE r.attempt = a.attempt AND r.row_key = a.row_key "
            f"AND r.status = 'failed')) FROM attempts a WHERE {_LOST} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
        )
        return [
            Loss(str(code), str(outcome), *(as_int(number) for number in numbers))
            for code, outcome, *numbers in found
        ]

    def underway(self, width: float, runs: Sequence[RunEnd]) -> list[Underway]:
        """Return requests in flight by slice, on average; slices in which none began or ended are left out."""
        if not runs:
            return []
        values = [value for run in runs for value in (run.run, run.until, run.timeout_s)]
        found = self._all(_UNDERWAY.replace("$RUNS", ",".join(["(?,?,?)"] * len(runs))), (width, *values))
        level, seen = 0, []
        for at, step, weighted in found:
            mean, level = level + float(str(weighted)) / width, level + as_int(step)
            seen.append(Underway(as_int(at), max(0.0, mean), max(0, level)))
        return seen

    def limits(self, width: float) -> list[LimitSeen]:
        """Return the values that limits took, by slice."""
        found = self._all(_LIMITS, (width,))
        return [LimitSeen(as_int(at), str(name), *(as_int(n) for n in values)) for at, name, *values in found]

    def waited(self, width: float) -> list[Waited]:
        """Return how long answers took, by the slice in which they came."""
        found = self._all(_WAITED, (width,))
        return [Waited(as_int(at), float(str(half)), float(str(most))) for at, half, most in found]

    def quantiles(self, measure: Measure, fractions: Sequence[float]) -> list[float] | None:
        """Return the values below which these fractions of the answers lie (nearest rank); None without any."""
        count = as_int(self._all(f"SELECT count({measure}) FROM results WHERE {_OK}")[0][0])
        if not count:
            return None
        ranks = [min(count - 1, int(fraction * count)) for fraction in fractions]
        marks = ",".join("?" * len(ranks))
        found = self._all(
            f"SELECT n, value FROM (SELECT {measure} AS value, row_number() OVER (ORDER BY {measure}) - 1 AS n "
            f"FROM results WHERE {_OK} AND {measure} IS NOT NULL) WHERE n IN ({marks})",
            ranks,
        )
        by_rank = {as_int(rank): float(str(value)) for rank, value in found}
        return [by_rank[rank] for rank in ranks]

    def histogram(self, measure: Measure, width: float, bins: int) -> list[Bin]:
        """Return the answers in bins of this width from 0, and one for all beyond; empty ones in between too."""
        found = self._all(
            f"SELECT min(cast({measure} / ? AS INTEGER), ?), count(*) FROM results "
            f"WHERE {_OK} AND {measure} IS NOT NULL GROUP BY 1",
            (width, bins),
        )
        counts = {as_int(number): as_int(rows) for number, rows in found}
        shown = [Bin(n * width, (n + 1) * width, counts.get(n, 0)) for n in range(bins)]
        return [*shown, Bin(bins * width, None, counts[bins])] if bins in counts else shown

    def expensive(self, most: int) -> list[Notable]:
        """Return the rows that cost most, so many of each currency; by tokens where no price was known."""
        found = self._all(
            f"SELECT {_NOTABLE} FROM (SELECT *, row_number() OVER (PARTITION BY currency "
            "ORDER BY cost_micros DESC, total_tokens DESC, row_key) AS place FROM results WHERE status = 'ok') "
            "WHERE place <= ? ORDER BY currency IS NULL, currency, place",
            (most,),
        )
        return [_notable(columns) for columns in found]

    def failed(self, most: int) -> list[Notable]:
        """Return the rows that failed first."""
        found = self._all(
            f"SELECT {_NOTABLE} FROM results WHERE status = 'failed' ORDER BY finished_at, row_key LIMIT ?",
            (most,),
        )
        return [_notable(columns) for columns in found]


_OK = "status = 'ok'"
_CODE = "coalesce(error_code, outcome)"
_LOST = "outcome IS NOT NULL AND outcome <> 'answered'"
_NOTABLE = (
    "row_key, attempts, input_tokens, completion_tokens, cost_micros, currency, latency_s, error_code, "
    "error_message"
)
# Each request begins and ends: a step up and one down, each weighted by what is left of its slice.
_UNDERWAY = """
WITH width (s) AS (VALUES (?)), ends (run, until, timeout_s) AS (VALUES $RUNS), usual (s) AS (
    SELECT avg(latency_s) FROM results WHERE status = 'ok'
), silent AS (
    SELECT a.sent_at AS began, a.outcome, a.error_code, r.finished_at, ends.until,
    coalesce(ends.timeout_s, 9e9) AS timeout_s, coalesce((
        SELECT min(b.sent_at) FROM attempts b WHERE b.row_key = a.row_key AND b.attempt > a.attempt
    ), 9e99) AS again
    FROM attempts a JOIN ends USING (run) LEFT JOIN receipts c USING (attempt)
    LEFT JOIN results r ON r.row_key = a.row_key AND r.attempt = a.attempt AND r.status = 'failed'
    WHERE c.attempt IS NULL AND a.operation_id IS NULL AND a.outcome IS NOT 'answered'
), sent (began, ended) AS (
    SELECT finished_at - latency_s, finished_at FROM results WHERE status = 'ok' AND latency_s IS NOT NULL
    UNION ALL
    SELECT c.received_at - c.latency_s, c.received_at FROM attempts a JOIN receipts c USING (attempt)
    WHERE a.outcome <> 'answered'
    UNION ALL
    SELECT began, CASE
        WHEN outcome IS NULL OR outcome = 'unknown' THEN max(began, min(until, began + timeout_s))
        WHEN finished_at IS NOT NULL THEN max(began, finished_at)
        WHEN error_code = 'READ_TIMEOUT' THEN min(began + timeout_s, again)
        WHEN error_code IN ('CONNECTION_LOST', 'ANSWER_CUT', 'PROTOCOL_ERROR')
        THEN min(began + coalesce(usual.s, timeout_s), again)
        ELSE began
    END FROM silent, usual
), edges (at, step) AS (
    SELECT began, 1 FROM sent UNION ALL SELECT ended, -1 FROM sent WHERE ended IS NOT NULL
)
SELECT cast(at / width.s AS INTEGER) AS slice, sum(step),
sum(step * ((cast(at / width.s AS INTEGER) + 1) * width.s - at))
FROM edges, width GROUP BY 1 ORDER BY 1
"""
_LIMITS = """
WITH seen AS (SELECT cast(at / ? AS INTEGER) AS slice, name, value, rowid AS place FROM limits)
SELECT slice, name, lowest, highest, value FROM (
    SELECT *, min(value) OVER one AS lowest, max(value) OVER one AS highest,
    row_number() OVER (PARTITION BY slice, name ORDER BY place DESC) AS back
    FROM seen WINDOW one AS (PARTITION BY slice, name)
) WHERE back = 1 ORDER BY name, slice
"""
_WAITED = """
WITH answers AS (
    SELECT cast(finished_at / ? AS INTEGER) AS slice, latency_s FROM results
    WHERE status = 'ok' AND latency_s IS NOT NULL
), ranked AS (
    SELECT slice, latency_s, row_number() OVER (PARTITION BY slice ORDER BY latency_s) - 1 AS place,
    count(*) OVER (PARTITION BY slice) AS rows FROM answers
)
SELECT slice, max(CASE WHEN place = rows / 2 THEN latency_s END),
max(CASE WHEN place = rows * 95 / 100 THEN latency_s END) FROM ranked GROUP BY 1 ORDER BY 1
"""


def _money(micros: object, currency: object) -> Money | None:
    return None if micros is None else as_money(as_int(micros), as_text(currency))


def _notable(columns: Sequence[object]) -> Notable:
    key, attempts, given, taken, micros, currency, latency_s, code, message = columns
    return Notable(
        str(key),
        as_int(attempts),
        None if given is None else as_int(given),
        None if taken is None else as_int(taken),
        _money(micros, currency),
        as_float(latency_s),
        as_text(code),
        as_text(message),
    )
