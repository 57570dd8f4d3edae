"""What every chart comes in: a title, what it found in words, a legend, and the helpers that charts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import TYPE_CHECKING

from batch.report.drawing import Spot, colour
from batch.report.html import Safe, tag
from batch.report.words import duration, local

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from batch.report.scale import Scale


@dataclass(frozen=True, slots=True)
class Mark:
    """One entry of a legend: a colour of the page and what it stands for; a `line` is drawn as one."""

    colour: str
    label: str
    line: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart with its words."""

    title: str
    unit: str
    finding: str
    chart: Safe
    legend: Sequence[Mark] = field(default=())

    def shown(self) -> Safe:
        """Return the panel as a figure."""
        legend = tag(
            "ul",
            *(
                tag("li", tag("i", class_=f"of-{mark.colour}" + (" line" if mark.line else "")), mark.label)
                for mark in self.legend
            ),
            class_="legend",
        )
        words = tag(
            "div",
            tag("h3", self.title, tag("small", self.unit)),
            tag("p", self.finding, class_="finding"),
            legend if self.legend else None,
        )
        return tag("figure", words, self.chart)


def per_slice(scale: Scale) -> str:
    """Return the width of a slice in words, such as `5 min`."""
    return duration(scale.width)


def dense(scale: Scale, values: Mapping[int, float]) -> list[float]:
    """Return a value for every slice, 0 where there is none; what lies outside of all periods counts at an end."""
    at = {position: 0.0 for _, position in scale.slices()}
    for piece, value in values.items():
        at[scale.position(piece)] += value
    return list(at.values())


def stacked(axes: Axes, scale: Scale, layers: Iterable[tuple[str, Sequence[float]]]) -> None:
    """Draw layers of values, one per slice, on top of each other; nothing is drawn between periods."""
    base = [0.0] * len(scale.slices())
    for name, values in layers:
        top = [low + value for low, value in zip(base, values, strict=True)]
        for first, last, start in pieces(scale):
            edges = [start + n for n in range(last - first + 1)]
            axes.stairs(
                top[first:last], edges, baseline=base[first:last], fill=True, color=colour(name), linewidth=0
            )
        base = top


def pieces(scale: Scale) -> list[tuple[int, int, float]]:
    """Return of each period the places of its slices in a dense list, and its position."""
    found, place = [], 0
    for n, (first, last) in enumerate(scale.periods):
        count = last - first + 1
        found.append((place, place + count, scale.start_of(n)))
        place += count
    return found


def spots(scale: Scale, zone: tzinfo | None, texts: Sequence[str]) -> list[Spot]:
    """Return what each slice says when it is pointed at: its time, and its text where there is one."""
    form = "%d %b %H:%M" if scale.width >= 60 else "%d %b %H:%M:%S"
    return [
        Spot(position, position + 1, f"{local(scale.times(piece)[0], zone, form)}: {text}")
        for (piece, position), text in zip(scale.slices(), texts, strict=True)
        if text
    ]
