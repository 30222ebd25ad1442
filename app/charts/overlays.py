"""Several runs in one chart, as Plotly figures: curves, branches of a fork, the ablation matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.charts.axes import RIGHT, Figure, axes_of, log_axis, nth, subplots, vertical_line
from app.text import plotly_text
from mvm.look.palette import QUIET, RATIOS, VARIANTS, rgba, variant_colours
from mvm.look.scales import quality_shade
from mvm.studies.compare import Curve, Series, in_words, is_gain

__all__ = ["ablation", "branches", "overlay"]

COLOURS = (*VARIANTS[:4], VARIANTS[5])  # without grey, the colour of the baseline
DASHES = ("solid", "dash", "dot", "dashdot")
FORK = {"color": VARIANTS[1], "dash": "dot"}  # vertical line at a fork
TOP, BOTTOM = 34, 48  # margins in pixels
ROOM = 8  # pixels above the legend
LINE = 22  # pixels of a line of the legend
WIDE, ENTRY, LETTER = 900, 45, 6  # widths in pixels: a narrow page's row, a legend's entry without text, a letter


def overlay(
    panels: dict[str, list[Curve]],
    *,
    axis: str,
    log: bool,
    baseline: dict[str, list[Curve]] | None = None,
    marks: Sequence[float] = (),
) -> Figure:
    """Quantities side by side: the median of every series, and a ribbon between the quartiles of its seeds.

    Colours are variants and dashes are series of a variant; with too many of either, each series has its own pair.

    Args:
        panels: curves by the label of the quantity.
        axis: label of x.
        log: whether y is logarithmic.
        baseline: curves of the baseline run, drawn grey and dashed.
        marks: places on x with a vertical line, such as forks.
    """
    traces: list[dict] = []
    named: set[str] = set()
    look = _look([curve.series for drawn in panels.values() for curve in drawn])
    for column, (label, drawn) in enumerate(panels.items()):
        for curve in (baseline or {}).get(label, []):
            title = f"baseline: {curve.series.title}"
            traces += _lines(curve, title, QUIET, "longdash", column, log=log, legend=title not in named)
            named.add(title)
        for curve in drawn:
            title = curve.series.title
            traces += _lines(curve, title, *look[title], column, log=log, legend=title not in named)
            named.add(title)
    layout = _row(list(panels), entries=sorted(named))
    for column, (label, drawn) in enumerate(panels.items()):
        known = [line for curve in [*drawn, *(baseline or {}).get(label, [])] for line in (curve.low, curve.high)]
        layout[nth("xaxis", column)] |= {"title": {"text": axis, "standoff": 6}}
        layout[nth("yaxis", column)] |= log_axis(known) if log else {"rangemode": "tozero"}
    layout["shapes"] = [vertical_line(x, column, **FORK) for x in marks for column in range(len(panels))]
    return {"data": traces, "layout": layout}


def branches(
    steps: np.ndarray, distance: np.ndarray, *, variants: Sequence[str], titles: Sequence[str], at: int
) -> Figure:
    """Distance between fakes of a fork and of its run for equal noise, `(s, variants)`, over steps `(s,)`."""
    colours = variant_colours(variants)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": steps,
            "y": distance[:, column],
            "name": title,
            "line": {"color": colours[column], "width": 1.8},
        }
        for column, title in enumerate(titles)
    ]
    layout = _row([""], entries=titles)
    layout["xaxis"] |= {"title": {"text": "training step", "standoff": 6}}
    layout["yaxis"] |= {"title": {"text": "mean distance / 2-diameter of the reals"}, "rangemode": "tozero"}
    layout["shapes"] = [vertical_line(at, 0, **FORK)]
    layout["annotations"] = [
        {"x": at, "y": 1, "yref": "y domain", "text": "fork", "showarrow": False, "xanchor": "left", "yanchor": "top"}
    ]
    return {"data": traces, "layout": layout}


def ablation(table: pd.DataFrame) -> Figure:
    """`mvm.studies.compare.matrix` as a heat map: colour and text by the median, with the extremes below it."""
    rows, columns = list(dict.fromkeys(table["what"])), list(dict.fromkeys(table["data"]))
    cells, keys = table.set_index(["what", "data"]), dict(zip(table["data"], table["score"], strict=True))
    medians = [[cells["median"].get((what, data), np.nan) for data in columns] for what in rows]
    texts = [[_cell(cells, what, data) for data in columns] for what in rows]
    trace = {
        "type": "heatmap",
        "x": list(map(plotly_text, columns)),
        "y": list(map(plotly_text, rows)),
        "z": quality_shade(np.array(medians, dtype=float), [is_gain(keys[data]) for data in columns]).tolist(),
        "text": texts,
        "texttemplate": "%{text}",
        "textfont": {"color": "#1F2933"},
        "colorscale": RATIOS,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 3,
        "ygap": 3,
        "hovertemplate": "%{y} on %{x}<br>%{text}<extra></extra>",
    }
    layout = {
        "margin": {"l": 8, "r": 8, "t": 30, "b": 8},
        "xaxis": {"side": "top", "showgrid": False, "fixedrange": True, "type": "category"},
        "yaxis": {
            "autorange": "reversed", "showgrid": False, "fixedrange": True, "automargin": True, "type": "category",
        },
    }  # fmt: skip
    return {"data": [trace], "layout": layout}


def _cell(cells: pd.DataFrame, what: str, data: str) -> str:
    if (what, data) not in cells.index:
        return ""
    cell = cells.loc[(what, data)]
    low, median, high = (in_words(x, cell["score"]) for x in cell[["low", "median", "high"]])
    spread = f"<br>{low} to {high}, {cell['n']:.0f} seeds" if cell["n"] > 1 else "<br>one seed"
    return f"<b>{median}</b>{spread}"


def _look(series: Sequence[Series]) -> dict[str, tuple[str, str]]:
    """Colour and dash of each series, by title."""
    variants = list(dict.fromkeys(item.variant for item in series))
    titles = list(dict.fromkeys(item.title for item in series))
    if len(variants) <= len(COLOURS) and max((item.number for item in series), default=0) < len(DASHES):
        colours = dict(zip(variants, variant_colours(variants, of=COLOURS), strict=True))
        return {item.title: (colours[item.variant], DASHES[item.number]) for item in series}
    return {
        title: (COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])
        for place, title in enumerate(titles)
    }


def _lines(curve: Curve, title: str, colour: str, dash: str, column: int, *, log: bool, legend: bool) -> list[dict]:
    """Traces of the median and, with several seeds, of a ribbon."""
    low, middle, high = (np.where(y > 0, y, np.nan) if log else y for y in (curve.low, curve.middle, curve.high))
    axes = axes_of(column) | {"legendgroup": title, "name": plotly_text(title)}
    traces: list[dict] = []
    if curve.members > 1:
        known = np.isfinite(low) & np.isfinite(high)
        x, low, high = curve.x[known], low[known], high[known]
        ribbon = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]])}
        ribbon |= {"fill": "toself", "fillcolor": rgba(colour, 0.16), "line": {"width": 0}, "mode": "lines"}
        traces.append({"type": "scatter", "hoverinfo": "skip", "showlegend": False} | ribbon | axes)
    line = {"color": colour, "width": 1.8, "dash": dash}
    median = {"type": "scatter", "mode": "lines", "x": curve.x, "y": middle, "line": line, "showlegend": legend}
    return [*traces, median | axes]


def _row(titles: Sequence[str], *, entries: Sequence[str]) -> Figure:
    """Layout of a row of subplots, with room below for a legend of these entries."""
    lines, used = 1, 0
    for entry in entries:
        width = ENTRY + LETTER * len(entry)
        lines, used = (lines + 1, width) if used and used + width > WIDE else (lines, used + width)
    return subplots(titles) | {
        "margin": {"l": 52, "r": RIGHT, "t": TOP, "b": BOTTOM + ROOM + LINE * lines},
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    }
