"""The charts of how the time went: money, tokens, rows, requests at once, errors, waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import accumulate
from typing import TYPE_CHECKING

from batch.events import Spending
from batch.journal.timeline import LimitSeen
from batch.report.drawing import Spot, colour, picture, time_axis
from batch.report.facts import Facts, Series
from batch.report.html import Safe
from batch.report.panels import Mark, Panel, dense, per_slice, pieces, spots, stacked
from batch.report.words import decimal, duration, local, money, number, seconds, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

AT_ONCE = "requests at once"
_KINDS = 4  # kinds of errors with a colour of their own; the others share the last


@dataclass(frozen=True, slots=True)
class OverTime:
    """Draws the charts that share one time axis."""

    facts: Facts
    series: Series
    zone: tzinfo | None

    def panels(self) -> list[Panel]:
        """Return every chart that has something to show."""
        made = [self._cost(n, line) for n, line in enumerate(self.facts.spending) if line.currency]
        made.append(self._tokens())
        made.append(self._rows())
        made.append(self._at_once())
        made += [self._waited()] if self.series.waited else []
        made += [self._errors()] if self.series.lost else []
        return made

    def _picture(self, name: str, label: str, draw: Callable[[Axes], None], texts: Sequence[str]) -> Safe:
        scale = self.series.scale

        def whole(axes: Axes) -> None:
            draw(axes)
            axes.set_ylim(bottom=0)
            time_axis(axes, scale, scale.ticks(self.zone))

        said: list[Spot] = spots(scale, self.zone, texts)
        return picture(name, label, whole, span=(0, scale.end), spots=said)

    def _cost(self, place: int, line: Spending) -> Panel:
        scale, currency = self.series.scale, line.currency
        layers = {}
        for outcome in ("answered", "lost", "unknown"):
            taken: dict[int, float] = defaultdict(float)
            for item in self.series.charged:
                if item.cost.currency == currency and item.outcome == outcome:
                    taken[item.slice] += float(item.cost.amount)  # a height on paper: no sum of money
            layers[outcome] = list(accumulate(dense(scale, taken)))
        total = [sum(column) for column in zip(*layers.values(), strict=True)]
        cap = self.facts.max_cost
        near = cap is not None and cap.currency == currency and float(cap.amount) <= 2.5 * float(line.total)

        def draw(axes: Axes) -> None:
            colours = ("answers", "lost", "unknown")
            stacked(axes, scale, zip(colours, layers.values(), strict=True))
            if near and cap is not None:
                axes.axhline(float(cap.amount), color=colour("limit"), linewidth=1.5, linestyle=(0, (4, 3)))

        finding = f"{money(line.total, currency)} in all, at most"
        lost = line.lost + line.unknown
        if lost:
            finding += f"; {share(float(lost), float(line.total))} of it went to requests without a usable answer"
        if cap is not None and cap.currency == currency:
            finding += f". The cap of {money(cap.amount, currency)} was used to "
            finding += share(float(line.total), float(cap.amount))
        legend = [Mark("answers", "answers")]
        legend += [Mark("lost", "lost, at most")] if line.lost else []
        legend += [Mark("unknown", "end unseen, at most")] if line.unknown else []
        legend += [Mark("limit", "cap", line=True)] if near else []
        texts = [f"{decimal(value, 2)} {currency} so far" for value in total]
        chart = self._picture(f"cost-{place}", "Cost over time", draw, texts)
        return Panel("Cost", f"{currency}, added up", finding + ".", chart, legend)

    def _tokens(self) -> Panel:
        scale, facts = self.series.scale, self.facts
        given = dense(scale, {item.slice: item.input_tokens for item in self.series.finished})
        taken = dense(scale, {item.slice: item.completion_tokens for item in self.series.finished})

        def draw(axes: Axes) -> None:
            stacked(axes, scale, (("input", given), ("output", taken)))

        finding = "The service stated no tokens."
        if facts.ok and facts.input_tokens + facts.completion_tokens:
            finding = (
                f"{number(facts.input_tokens)} tokens in and {number(facts.completion_tokens)} out: "
                f"{decimal(facts.input_tokens / facts.ok)} and {decimal(facts.completion_tokens / facts.ok)} "
                "per answer on average."
            )
        texts = [
            f"{number(int(a))} in, {number(int(b))} out" if a or b else ""
            for a, b in zip(given, taken, strict=True)
        ]
        chart = self._picture("tokens", "Tokens over time", draw, texts)
        legend = [Mark("input", "input"), Mark("output", "answers")]
        return Panel("Tokens", f"per {per_slice(scale)}", finding, chart, legend)

    def _rows(self) -> Panel:
        scale, facts = self.series.scale, self.facts
        ok = dense(scale, {item.slice: item.ok for item in self.series.finished})
        failed = dense(scale, {item.slice: item.failed for item in self.series.finished})

        def draw(axes: Axes) -> None:
            stacked(axes, scale, (("answers", ok), ("lost", failed)))

        finding = "No row was answered."
        if (rate := facts.rows_per_hour) is not None:
            finding = f"{number(round(rate))} rows an hour over {duration(facts.duration_s)} of running"
            best = max(self.series.finished, key=lambda item: item.ok)
            finding += f"; {number(best.ok)} in the best {per_slice(scale)}, "
            finding += f"at {local(scale.times(best.slice)[0], self.zone, '%H:%M')}."
        texts = [
            f"{number(int(a))} answered" + (f", {number(int(b))} failed" if b else "") if a or b else ""
            for a, b in zip(ok, failed, strict=True)
        ]
        chart = self._picture("rows", "Rows over time", draw, texts)
        legend = [Mark("answers", "answered"), *([Mark("lost", "failed")] if any(failed) else [])]
        return Panel("Rows", f"per {per_slice(scale)}", finding, chart, legend)

    def _at_once(self) -> Panel:
        scale = self.series.scale
        mean = self._carried()
        limit = _Limit.over(scale.slices(), [item for item in self.series.limits if item.name == AT_ONCE])

        def draw(axes: Axes) -> None:
            stacked(axes, scale, [("answers", mean)])
            for first, last, start in pieces(scale):
                places = [start + n + 0.5 for n in range(last - first)]
                low, high = limit.lowest[first:last], limit.highest[first:last]
                axes.fill_between(places, low, high, color=colour("limit"), alpha=0.25, linewidth=0, step="mid")
                axes.step(places, limit.last[first:last], where="mid", color=colour("limit"), linewidth=1.5)

        texts = [
            f"{decimal(value, 1)} in flight" + (f", limit {top:.0f}" if top == top else "")
            for value, top in zip(mean, limit.last, strict=True)
        ]
        chart = self._picture("at-once", "Requests at once over time, and their limit", draw, texts)
        legend = [Mark("answers", "in flight, on average")]
        legend += [Mark("limit", "limit", line=True)] if limit.seen else []
        return Panel(
            "Requests at once", f"average per {per_slice(scale)}", self._at_once_finding(mean), chart, legend
        )

    def _at_once_finding(self, mean: Sequence[float]) -> str:
        limits = [item for item in self.series.limits if item.name == AT_ONCE]
        finding = f"Up to {decimal(max(mean), 1)} requests were in flight at once, on average over a slice"
        if limits:
            lowest, highest = min(item.lowest for item in limits), max(item.highest for item in limits)
            finding += f"; the limit went between {number(lowest)} and {number(highest)}"
            finding += f", and stood at {number(limits[-1].last)} in the end"
        others = {item.name: item.last for item in self.series.limits if item.name != AT_ONCE}
        said = "".join(f" The service stated {number(value)} {name}." for name, value in others.items())
        return f"{finding}.{said}"

    def _carried(self) -> list[float]:
        """Return requests in flight in every slice: one in which none began or ended is as the one before."""
        scale = self.series.scale
        seen = {item.slice: item for item in self.series.underway}
        level, means = 0, []
        for piece, _ in scale.slices():
            item = seen.get(piece)
            means.append(item.mean if item else float(level))
            level = item.after if item else level
        return means

    def _waited(self) -> Panel:
        scale = self.series.scale
        known = {item.slice: item for item in self.series.waited}
        nothing = float("nan")
        median = [known[piece].median if piece in known else nothing for piece, _ in scale.slices()]
        high = [known[piece].p95 if piece in known else nothing for piece, _ in scale.slices()]

        def draw(axes: Axes) -> None:
            for first, last, start in pieces(scale):
                places = [start + n + 0.5 for n in range(last - first)]
                dot = "o" if last - first == 1 else None
                for values, name in ((high, "high"), (median, "median")):
                    line = values[first:last]
                    axes.plot(places, line, color=colour(name), linewidth=1.5, marker=dot, markersize=4)

        worst = max(self.series.waited, key=lambda item: item.median)
        finding = (
            f"At its slowest, at {local(scale.times(worst.slice)[0], self.zone, '%H:%M')}, half of the answers "
            f"took longer than {seconds(worst.median)}."
        )
        texts = [
            f"half within {seconds(known[piece].median)}, 95 % within {seconds(known[piece].p95)}"
            if piece in known
            else ""
            for piece, _ in scale.slices()
        ]
        chart = self._picture("waited", "Seconds until the answer, over time", draw, texts)
        legend = [Mark("median", "median", line=True), Mark("high", "95th percentile", line=True)]
        return Panel("Waiting", "seconds until the answer", finding, chart, legend)

    def _errors(self) -> Panel:
        scale, facts = self.series.scale, self.facts
        kinds: dict[str, int] = defaultdict(int)
        for loss in facts.losses:
            kinds[loss.error_code] += loss.attempts
        named = sorted(kinds, key=lambda code: (-kinds[code], code))[: _KINDS if len(kinds) > _KINDS + 1 else None]
        by_kind: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for item in self.series.lost:
            by_kind[item.error_code if item.error_code in named else ""][item.slice] += item.attempts
        layers = [
            (f"kind-{n}", dense(scale, by_kind[code]))
            for n, code in enumerate([*named, ""], start=1)
            if by_kind[code]
        ]

        def draw(axes: Axes) -> None:
            stacked(axes, scale, layers)

        legend = [Mark(f"kind-{n}", f"{code} ({number(kinds[code])})") for n, code in enumerate(named, start=1)]
        others = sum(count for code, count in kinds.items() if code not in named)
        legend += [Mark("kind-5", f"{len(kinds) - len(named)} other kinds ({number(others)})")] if others else []
        total = [sum(column) for column in zip(*(values for _, values in layers), strict=True)]
        finding = (
            f"{number(facts.lost)} of {number(facts.requests)} requests ({share(facts.lost, facts.requests)}) "
        )
        finding += "brought no usable answer"
        slices = scale.slices()
        worst = max(range(len(total)), key=total.__getitem__)
        finding += f"; most of them, {number(int(total[worst]))} in {per_slice(scale)}, at "
        finding += f"{local(scale.times(slices[worst][0])[0], self.zone, '%H:%M')}."
        texts = [f"{number(int(value))} requests lost" if value else "" for value in total]
        chart = self._picture("errors", "Requests without a usable answer, over time", draw, texts)
        return Panel("Errors", f"requests per {per_slice(scale)}", finding, chart, legend)


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit in every slice: lowest, highest, last; not a number before it was seen."""

    lowest: list[float]
    highest: list[float]
    last: list[float]
    seen: bool

    @classmethod
    def over(cls, slices: Sequence[tuple[int, float]], values: Sequence[LimitSeen]) -> _Limit:
        by_slice = {item.slice: item for item in values}
        lowest: list[float] = []
        highest: list[float] = []
        last: list[float] = []
        value = float("nan")
        for piece, _ in slices:
            item = by_slice.get(piece)
            lowest.append(item.lowest if item else value)
            highest.append(item.highest if item else value)
            value = item.last if item else value
            last.append(value)
        return cls(lowest, highest, last, bool(values))
