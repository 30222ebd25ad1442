"""Parts of drawings: panels, axes, bands, legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mvm.figures.venues import FONTS
from mvm.look.bands import QUARTILES
from mvm.words import mathtext, visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.text import Text

__all__ = [
    "BAR",
    "GAP",
    "LABELS",
    "dot",
    "extent_of",
    "framed",
    "legend",
    "log_axis",
    "page_of",
    "panels_of",
    "place_of",
    "ribbon",
    "ribbon_over",
    "scale_of",
    "settled",
    "size_of",
    "step_axis",
    "tint",
    "wrapped",
]

NARROWEST = 1.0  # width of a panel with axes, inches
LABELS = 0.4  # width of the labels of a vertical axis, inches
BAR = 0.7  # width of a colour bar with its labels, inches
GAP = 0.06  # between the titles of panels, inches
LINE = 0.155  # height of a line of a legend, inches
MOST = 0.25  # share of a figure's height that its legend may take
UNIT = 100  # points at which letters are measured
ENTRY = 0.34  # width of a legend's entry without its text, inches


def panels_of(
    figure: Figure, titles: Sequence[str], *, shape: float, sharey: bool = False, beside: float = LABELS
) -> list[Axes]:
    """Panels in as few rows as the width allows.

    Args:
        figure: of which the width is set.
        titles: of the panels.
        shape: their height over their width.
        sharey: one vertical axis for all, labelled at the left of each row.
        beside: width of what stands beside the panels, inches: labels, a colour bar.
    """
    from matplotlib import rcParams

    width, size = figure.get_figwidth(), rcParams["axes.titlesize"]
    rows = -(-len(titles) // max(1, int(width / NARROWEST)))
    columns = -(-len(titles) // rows)
    height = min(max(shape * width / columns, 1.3), 1.8)
    room = (width - beside) / columns - GAP
    if any(extent_of(word, size) > room for title in titles for word in title.split()):
        size = rcParams["axes.labelsize"]
    texts = [wrapped(title, room, size) for title in titles]
    lines = max(text.count("\n") for text in texts)
    figure.set_figheight(rows * (height + 0.016 * size * lines) + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=rows > 1, sharey=sharey)
    panels = list(grid.flat)
    for axes in panels[len(titles) :]:
        axes.remove()
    for axes, text in zip(panels, texts, strict=False):
        axes.set_title(text, linespacing=0.9, fontsize=size)
    return panels[: len(titles)]


def wrapped(title: str, width: float, size: float) -> str:
    """A title, any text, in as few and as even lines as fit `width` inches at font size `size`; long words are cut."""
    words = visible(title).replace("+", "+ ").split()
    lines = _lines(words, width, size)
    widths = sorted({extent_of(" ".join(words[i:j]), size) for i in range(len(words)) for j in range(i + 1, i + 6)})
    for narrower in widths:  # the least width that needs no more lines
        if narrower < width and len(even := _lines(words, narrower + 1e-6, size)) == len(lines):
            lines = even
            break
    return "\n".join(mathtext(line.replace("+ ", "+")) for line in lines)


def _lines(words: Sequence[str], width: float, size: float) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and extent_of(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
            continue
        rest = word
        while extent_of(rest, size) > width and len(rest) > 1:
            cut = next((n for n in range(len(rest) - 1, 1, -1) if extent_of(rest[:n], size) <= width), 1)
            lines.append(rest[:cut])
            rest = rest[cut:]
        lines.append(rest)
    return lines


def extent_of(text: str, size: float) -> float:
    """Width of one line of text, which is no formula, at a font size; inches."""
    return sum(map(_advance, text)) * size / 72


@lru_cache(maxsize=1024)
def _advance(letter: str) -> float:
    """Width of a letter of the figures' font, in font sizes."""
    from matplotlib.ft2font import LoadFlags

    font = _font()
    return float(font.load_char(ord(letter), flags=LoadFlags.NO_HINTING).linearHoriAdvance) / 65536 / UNIT


@lru_cache(maxsize=1)
def _font() -> FT2Font:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont(FONTS[0]))
    font.set_size(UNIT, 72)
    return font


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
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter

    axes.set_yscale("log")
    axes.autoscale(axis="y")
    low, high = np.log10(axes.get_ylim())
    powers = int(np.floor(high) - np.ceil(low)) + 1
    if powers < 2:
        decades = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
        for subs in ((1, 2, 5), range(1, 10)):
            places = np.log10(np.outer(decades, subs))
            if ((low <= places) & (places <= high)).sum() > 1:
                axes.yaxis.set_major_locator(LogLocator(subs=subs))
                break
        else:
            axes.yaxis.set_major_locator(MaxNLocator(3))
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
    """A legend below all panels; none for a single series. `settled` gives it its columns and its room."""
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower center")


def settled(figure: Figure, footnote: str = "") -> None:
    """Lay the legend out: as many columns as fit, long labels in lines, a footnote, and room for it below the panels.

    It comes last, when every text is final. A long legend makes the panels higher, so that it stays the smaller part.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.legend import Legend

    size, width = size_of(figure.axes[0].xaxis.label), figure.get_figwidth() - 0.1
    room = 0.0
    for old in [each for each in figure.legends if isinstance(each, Legend)]:
        handles, labels = (
            [handle for handle in old.legend_handles if handle],
            [text.get_text() for text in old.get_texts()],
        )
        old.remove()
        labels = [label if "$" in label else wrapped(label, width - ENTRY, size) for label in labels]
        widths = [max(extent_of(line, size) for line in label.split("\n")) + ENTRY for label in labels]
        count = len(labels)
        for columns in range(count, 0, -1):
            rows = -(-count // columns)
            if sum(max(widths[at : at + rows]) for at in range(0, count, rows)) <= width or columns == 1:
                break
        high = sum(max(label.count("\n") + 1 for label in labels[row::rows]) for row in range(rows))
        room = LINE * high + 0.06
        figure.legend(handles, labels, loc="outside lower center", ncols=-(-count // rows), handletextpad=0.4)
    if footnote:
        lines = wrapped(footnote, width, size).split("\n")
        room += 0.16 * len(lines)
        below = figure.legends[-1] if figure.legends else figure.legend([], [], loc="outside lower center")
        below.set_title("\n".join(map(mathtext, lines)), prop=FontProperties(size=size))
    height = figure.get_figheight() + room
    figure.set_figheight(max(height, room / MOST))


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
