"""Charts as inline SVG that follow the page's colours; the one home of matplotlib.

Only numbers and times that we formatted ourselves are drawn: names from data stand in HTML legends. Colours are
drawn as stand-ins and become the page's CSS variables, so that one SVG is right in light and in dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.errors import UsageError
from batch.report.html import Safe, joined, tag
from batch.report.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from batch.report.scale import Scale, Tick

# The page's CSS variables that charts use, and what stands for them while matplotlib draws.
COLOURS = (
    "ink", "muted", "grid", "axis", "page",
    "answers", "lost", "unknown", "input", "output", "limit", "median", "high",
    "kind-1", "kind-2", "kind-3", "kind-4", "kind-5",
)  # fmt: skip
WIDTH, HEIGHT = 480, 220  # in the SVG's own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 44
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_STAND_IN = re.compile(r"#0a00([0-9a-f]{2})")
_FONT = re.compile(r"font(?:-size|-family)?: [^;\"]*;? ?")
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
_HEAD = re.compile(r"^.*?<svg [^>]*?>", re.DOTALL)
_FURNITURE = re.compile(
    r"<metadata>.*?</metadata>|<style [^>]*>.*?</style>|<!--.*?-->|<defs>\s*</defs>", re.DOTALL
)


def require_library() -> None:
    """Raise `UsageError` where matplotlib is not installed."""
    try:
        import matplotlib.backends.backend_svg
        import matplotlib.figure  # noqa: F401  # that it can be imported is the question
    except ImportError as error:
        raise UsageError(
            f"--html draws with matplotlib, which is not installed ({error}).",
            hint="Install it: pip install 'chatbatch[report]'.",
        ) from error


def colour(name: str) -> str:
    """Return what stands for one of `COLOURS` while it is drawn."""
    return f"#0a00{COLOURS.index(name):02x}"


@dataclass(frozen=True, slots=True)
class Spot:
    """A stretch of the x axis that says something when it is pointed at."""

    start: float
    end: float
    text: str


def picture(
    name: str,
    label: str,
    draw: Callable[[Axes], None],
    *,
    span: tuple[float, float],
    spots: Sequence[Spot] = (),
    height: int = HEIGHT,
) -> Safe:
    """Return a chart over `span` of the x axis; `name` makes its ids unique, `label` is read aloud."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = mpl.rc_context(
        {
            "svg.fonttype": "none",  # text stays text, in the page's font
            "svg.hashsalt": "chatbatch",  # the same data give the same bytes
            "svg.image_inline": True,
            "font.size": 11,
            "axes.linewidth": 1,
            "path.simplify": False,
            "text.parse_math": False,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
        }
    )
    with style:
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(figure)
        inner = (WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
        box = (_LEFT / WIDTH, _BOTTOM / height, inner[0] / WIDTH, inner[1] / height)
        axes = figure.add_axes(box)
        _plain(axes)
        draw(axes)
        axes.set_xlim(*span)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=_NO_METADATA)
    return _inline(drawn.getvalue(), name, label, _hovering(spots, span, inner), height)


def _plain(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colour("axis"))
    axes.tick_params(axis="both", length=0, colors=colour("muted"), pad=6)
    axes.tick_params(axis="x", pad=10)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.grid(visible=True, color=colour("grid"), linewidth=1)
    axes.set_axisbelow(True)


def time_axis(axes: Axes, scale: Scale, ticks: Sequence[Tick]) -> None:
    """Mark the times, and where hours in which nothing ran were cut out."""
    axes.set_xticks([tick.position for tick in ticks], [tick.label for tick in ticks])
    for tick in ticks:  # a text of two lines would not be centred in the page's font
        place = (tick.position, -0.165)
        axes.text(
            *place, tick.date, transform=axes.get_xaxis_transform(), ha="center", va="top", color=colour("muted")
        )
    for middle in scale.breaks:
        axes.axvspan(middle - 0.9, middle + 0.9, facecolor=colour("page"), edgecolor="none", zorder=5)
        for edge in (middle - 0.9, middle + 0.9):
            axes.axvline(edge, color=colour("axis"), linewidth=1, linestyle=(0, (2, 2)), zorder=6)


def _hovering(spots: Sequence[Spot], span: tuple[float, float], inner: tuple[int, int]) -> Safe:
    unit = inner[0] / (span[1] - span[0])
    return joined(
        *(
            tag(
                "rect",
                tag("title", spot.text),
                x=round(_LEFT + (spot.start - span[0]) * unit, 2),
                y=_TOP,
                width=round((spot.end - spot.start) * unit, 2),
                height=inner[1],
            )
            for spot in spots
        )
    )


def _inline(drawn: str, name: str, label: str, hovering: Safe, height: int) -> Safe:
    body = _FURNITURE.sub("", _HEAD.sub("", drawn, count=1)).removesuffix("\n").removesuffix("</svg>")
    body = _REFERENCE.sub(rf"\g<1>{name}-", body)
    body = _STAND_IN.sub(lambda found: f"var(--{COLOURS[int(found[1], 16)]})", body)
    body = _FONT.sub("", body)
    hover = tag("g", hovering, class_="hover")
    return tag(
        "svg",
        Safe(body),
        hover,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=label,
        class_="chart",
        id=f"chart-{name}",
    )
