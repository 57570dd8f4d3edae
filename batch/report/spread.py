"""The charts of how answers are spread, and of the estimate beside what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batch.events import Estimated
from batch.journal.timeline import Bin
from batch.report.drawing import Spot, colour, picture
from batch.report.facts import Facts, Series, Spread
from batch.report.panels import Mark, Panel
from batch.report.words import decimal, money, number, seconds, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def distributions(facts: Facts, series: Series) -> list[Panel]:
    """Return the distributions of waiting and of the answers' length, and the estimate."""
    made = []
    if facts.latency is not None and series.latency:
        unit = "answers by seconds until they came"
        made.append(_spread("latency", "Latency", unit, "answers", facts.latency, series.latency, seconds))
    if facts.lengths is not None and series.lengths:
        unit = "answers by their tokens"
        panel = _spread("lengths", "Length of answers", unit, "output", facts.lengths, series.lengths, _tokens)
        made.append(panel)
    if facts.estimated is not None:
        made.append(_estimate(facts.estimated))
    return made


def _tokens(value: float) -> str:
    return f"{decimal(value)} tokens"


def _spread(
    name: str, title: str, unit: str, fill: str, spread: Spread, bins: Sequence[Bin], say: Callable[[float], str]
) -> Panel:
    shown = [item for item in bins if item.end is not None]
    beyond = sum(item.rows for item in bins if item.end is None)
    width = shown[0].end or 1.0
    edges = [item.start for item in shown] + [shown[-1].start + width]

    def draw(axes: Axes) -> None:
        axes.stairs([item.rows for item in shown], edges, fill=True, color=colour(fill), linewidth=0)
        for value, style in ((spread.p50, "median"), (spread.p95, "high")):
            if value <= edges[-1]:
                axes.axvline(value, color=colour(style), linewidth=1.5)

    finding = f"Half of the answers: up to {say(spread.p50)}; 95 %: up to {say(spread.p95)}; "
    finding += f"99 %: up to {say(spread.p99)}; the highest {say(spread.highest)}."
    if beyond:
        finding += f" {number(beyond)} beyond the chart."
    texts = [
        Spot(item.start, item.end, f"{say(item.start)} to {say(item.end)}: {number(item.rows)} answers")
        for item in shown
        if item.rows and item.end is not None
    ]
    chart = picture(name, title, draw, span=(0, edges[-1]), spots=texts)
    legend = [Mark("median", f"median {say(spread.p50)}", line=True)]
    legend.append(Mark("high", f"95th percentile {say(spread.p95)}", line=True))
    return Panel(title, unit, finding, chart, legend)


def _estimate(known: Estimated) -> Panel:
    off = known.estimated - known.stated

    def draw(axes: Axes) -> None:
        axes.barh([1, 0], [known.estimated, known.stated], height=0.5, color=[colour("unknown"), colour("input")])
        axes.set_yticks([])
        axes.set_ylim(-0.5, 1.5)
        axes.xaxis.grid(visible=True, color=colour("grid"), linewidth=1)

    how = "exactly what the service stated"
    if off:
        how = f"{share(abs(off), known.stated)} too {'many' if off > 0 else 'few'}"
    finding = (
        f"For {number(known.rows)} answered rows {number(known.estimated)} input tokens were estimated: {how}."
    )
    if known.cost is not None and known.charged is not None:
        before, came = (money(item.amount, item.currency) for item in (known.cost, known.charged))
        finding += f" In money, {before} would have been estimated beforehand, and {came} came."
    most = max(known.estimated, known.stated, 1)
    chart = picture("estimate", "Estimated and stated input tokens", draw, span=(0, most * 1.04), height=130)
    legend = [Mark("unknown", f"estimated {number(known.estimated)}")]
    legend.append(Mark("input", f"stated {number(known.stated)}"))
    return Panel("Estimate and actual", "input tokens", finding, chart, legend)
