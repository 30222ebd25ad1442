"""Parts of drawings: panels, axes, bands, legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mvm.look.bands import QUARTILES
from mvm.words import mathtext, visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.text import Text

__all__ = [
    "dot",
    "framed",
    "legend",
    "log_axis",
    "page_of",
    "panels_of",
    "place_of",
    "ribbon",
    "ribbon_over",
    "scale_of",
    "size_of",
    "step_axis",
    "tint",
    "wrapped",
]

NARROWEST = 1.0  # width of a panel with axes, inches


def panels_of(figure: Figure, titles: Sequence[str], *, shape: float, sharey: bool = False) -> list[Axes]:
    """Panels in as few rows as the width allows; `shape` is their height over their width."""
    width = figure.get_figwidth()
    rows = -(-len(titles) // max(1, int(width / NARROWEST)))
    columns = -(-len(titles) // rows)
    height = min(max(shape * width / columns, 1.3), 1.8)
    figure.set_figheight(rows * height + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=rows > 1, sharey=sharey)
    panels = list(grid.flat)
    for axes in panels[len(titles) :]:
        axes.remove()
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(wrapped(title, width / columns, size_of(axes.title)), linespacing=0.9)
    return panels[: len(titles)]


def wrapped(title: str, width: float, size: float) -> str:
    """A title, any text, in lines that fit `width` inches at font size `size`; words too long are cut."""
    import textwrap

    letters = max(8, int(width * 72 / (0.47 * size)))
    lines = textwrap.wrap(visible(title).replace("+", "+ "), letters)
    return "\n".join(mathtext(line.replace("+ ", "+")) for line in lines)


def place_of(axes: Axes) -> SubplotSpec:
    """A panel's place in the grid of its figure."""
    place = axes.get_subplotspec()
    if place is None:
        raise ValueError("the axes are in no grid")
    return place


def page_of(axes: Axes) -> Figure:
    """The figure that a panel is on."""
    page = axes.get_figure(root=True)
    if page is None:
        raise ValueError("the axes are on no figure")
    return page


def size_of(text: Text) -> float:
    """Font size of a text, pt."""
    return float(text.get_fontsize())


def step_axis(axes: Axes, steps: Iterable[float]) -> None:
    """A horizontal axis of training steps from 0 to the last, labelled in the last row only."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = float(max(steps))
    axes.set_xlim(0, last)
    place = place_of(axes)
    if place.is_last_row():
        axes.set_xlabel("training step")
    narrow = page_of(axes).get_figwidth() / place.get_gridspec().ncols < 1.5
    axes.xaxis.set_major_locator(MaxNLocator(2 if narrow else 4, steps=[1, 2, 2.5, 5, 10], integer=True))
    if last >= 10_000:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step else "0"))


def log_axis(axes: Axes) -> None:
    """A logarithmic vertical scale with enough tick labels to read values off."""
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.autoscale(axis="y")
    low, high = np.log10(axes.get_ylim())
    powers = int(np.floor(high) - np.ceil(low)) + 1
    if powers < 2:
        axes.yaxis.set_major_locator(LogLocator(subs=range(1, 10) if high - low < 0.5 else (1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    else:
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_major_formatter(LogFormatterMathtext())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", labelleft=False)  # no text to lay out


def ribbon(
    axes: Axes, x: Any, values: Any, *, colour: str, label: str, log: bool, several: bool, dash: Any = "-"
) -> None:
    """A median curve, with a band between the quartiles if there are several seeds.

    Args:
        axes: to draw in.
        x: places `(n,)`.
        values: lower quartile, median and upper quartile, `(3, n)`.
        colour, label, dash: of the curve.
        log: leave out values that a logarithmic scale cannot show.
        several: draw the band.
    """
    low, middle, high = (np.asarray(part, dtype=float) for part in values)
    if log:
        low, middle, high = (np.where(part > 0, part, np.nan) for part in (low, middle, high))
    if several:
        axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(x, middle, color=colour, label=label, linestyle=dash)


def ribbon_over(axes: Axes, part: pd.DataFrame, column: str, **look: Any) -> None:
    """`ribbon` of a column of a table over training steps; `look` holds its other arguments."""
    by_step = part.groupby("step")[column]
    values = [by_step.quantile(q) for q in QUARTILES]
    ribbon(axes, values[0].index, values, **look)


def legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend below all panels, in as many columns as fit; none for a single series."""
    if len(labels) < 2:
        return
    size = size_of(figure.axes[0].xaxis.label)
    widths = [len(label) * 0.46 * size / 72 + 0.42 for label in labels]
    fits = sum(widths) < figure.get_figwidth()
    columns = len(labels) if fits else max(1, int(figure.get_figwidth() / max(widths)))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.16 * rows)
    figure.legend(handles, labels, loc="outside lower center", ncols=-(-len(labels) // rows))


def framed(axes: Axes) -> None:
    """A thin frame without ticks, for axes whose units mean nothing."""
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(True)


def dot(colour: str) -> Any:
    """Legend handle of points in a colour."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker="o", markersize=4, markeredgewidth=0, linestyle="none")


def scale_of(stops: Sequence[str], low: float, high: float) -> tuple[Colormap, Normalize]:
    """A colour scale of the palette, mixed with white."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    shades = [tint(stop[:7], int(stop[7:] or "FF", 16) / 255) for stop in stops]
    return LinearSegmentedColormap.from_list("scale", shades), Normalize(low, high)


def tint(colour: str, share: float) -> tuple[float, ...]:
    """A hex colour mixed with white, `share` of it the colour."""
    return tuple(1 - share * (1 - int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
