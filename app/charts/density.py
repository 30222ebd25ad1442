"""Density along the manifold, as Plotly figures: steps beside a band for curves, maps for surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.charts.axes import RIGHT, Figure, axes_of, nth, subplots
from mvm.look.palette import DIVERGING, QUIET, REAL, rgba
from mvm.scoring.density import MOST_OVER, ChartDensity, Density

__all__ = ["density_chart"]

GAP = 0.06  # between components, as a share of the whole length


def density_chart(found: Sequence[Density], *, titles: Sequence[str], step: int, colours: Sequence[str]) -> Figure:
    """Points over expected points along the manifold, a subplot for each variant.

    Args:
        found: of each variant, on one manifold.
        titles, colours: of the variants.
        step: of the points.
    """
    surface = len(found[0].charts[0].axes) == 2
    layout = subplots(titles) | {"margin": {"l": 56, "r": RIGHT, "t": 30, "b": 44}, "meta": {"step": step}}
    layout["showlegend"] = False
    traces: list[dict[str, Any]] = []
    for column, (density, colour) in enumerate(zip(found, colours, strict=True)):
        x, y = layout[nth("xaxis", column)], layout[nth("yaxis", column)]
        x |= {"title": {"text": density.charts[0].axes[0]}, "zeroline": False, "showgrid": False}
        y |= {"zeroline": False, "showgrid": False}
        if surface:
            traces += [trace | axes_of(column) for trace in _map(density.charts[0], last=column == len(found) - 1)]
            continue
        y |= {"range": [0, min(2.0**MOST_OVER, _highest(found))]}
        traces += [trace | axes_of(column) for trace in _steps(density, colour)]
    label = found[0].charts[0].axes[1] if surface else "fakes / data's density"
    layout["yaxis"] |= {"title": {"text": label}}
    if surface:
        layout["margin"]["r"] += 70  # of the colour bar
    return {"data": traces, "layout": layout}


def _highest(found: Sequence[Density]) -> float:
    ratios = [max(chart.ratio.max(), chart.over(chart.high).max()) for each in found for chart in each.charts]
    return 1.05 * float(max(ratios))


def _steps(density: Density, colour: str) -> list[dict[str, Any]]:
    """The components one after another: the band of real samples, the law, and the fakes."""
    traces: list[dict[str, Any]] = []
    whole = sum(chart.edges[0][-1] - chart.edges[0][0] for chart in density.charts)
    start = density.charts[0].edges[0][0]
    for chart in density.charts:
        edges = chart.edges[0] - chart.edges[0][0] + start
        x = np.repeat(edges, 2)[1:-1]
        ratio, low, high = (np.repeat(chart.over(each), 2) for each in (chart.count, chart.low, chart.high))
        outline = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]]), "mode": "lines"}
        fill = {"fill": "toself", "fillcolor": rgba(REAL, 0.18), "line": {"width": 0}, "hoverinfo": "skip"}
        traces.append({"type": "scatter", "name": "95 % of real samples"} | outline | fill)
        law = {"mode": "lines", "line": {"color": QUIET, "width": 1.2, "dash": "dash"}, "hoverinfo": "skip"}
        traces.append({"type": "scatter", "x": edges[[0, -1]], "y": np.ones(2), "name": "data"} | law)
        line = {"mode": "lines", "line": {"color": colour, "width": 1.8}}
        hover = f"{chart.title or chart.axes[0]}: %{{y:.2f}} of the data's density<extra></extra>"
        traces.append({"type": "scatter", "x": x, "y": ratio, "name": chart.title, "hovertemplate": hover} | line)
        start = edges[-1] + GAP * whole
    return traces


def _map(chart: ChartDensity, *, last: bool) -> list[dict[str, Any]]:
    """Colours of log₂ of the ratio, with a cross in each cell below the band."""
    with np.errstate(divide="ignore"):
        shade = np.clip(np.log2(chart.ratio), -MOST_OVER, MOST_OVER)
    stops = [
        [place, colour] for place, colour in zip(np.linspace(0, 1, len(DIVERGING)).tolist(), DIVERGING, strict=True)
    ]
    bar = {
        "tickvals": list(range(-MOST_OVER, MOST_OVER + 1)),
        "ticktext": ["≤ ¼", "½", "1", "2", "≥ 4"],
        "thickness": 12,
    }
    scale = {"zmin": -MOST_OVER, "zmax": MOST_OVER, "colorscale": stops, "showscale": last, "colorbar": bar}
    hover = "%{customdata:.2f} of the data's density<extra></extra>"
    cells = {"type": "heatmap", "x": chart.edges[0], "y": chart.edges[1], "z": shade.T, "customdata": chart.ratio.T}
    x, y = np.meshgrid(*((edge[1:] + edge[:-1]) / 2 for edge in chart.edges), indexing="ij")
    missed = chart.verdict < 0
    mark = {"symbol": "x-thin", "size": 6, "line": {"color": "white", "width": 1.5}}
    crosses = {
        "type": "scatter",
        "mode": "markers",
        "x": x[missed],
        "y": y[missed],
        "marker": mark,
        "hoverinfo": "skip",
    }
    return [cells | scale | {"hovertemplate": hover}, crosses]
