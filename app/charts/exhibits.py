"""A panel of an exhibit as a Plotly figure."""

from __future__ import annotations

from typing import Any

from app.charts.axes import RIGHT, Figure
from mvm.look.palette import FAKE, QUIET, REAL, VARIANTS
from mvm.studies.exhibits import Panel, Series

__all__ = ["exhibit_chart"]

COLOURS = {"real": REAL, "fake": FAKE, "quiet": QUIET} | dict(zip(("first", "second", "third"), VARIANTS, strict=False))


def exhibit_chart(panel: Panel) -> Figure:
    """Curves, or clouds in equal scales, with a legend above; the panel's title is left to the page."""
    axis: dict[str, Any] = {"zeroline": False}
    layout: Figure = {
        "xaxis": axis | {"title": {"text": panel.x}} | _scale("x" in panel.log),
        "yaxis": axis | {"title": {"text": panel.y}} | _scale("y" in panel.log),
        "margin": {"l": 52, "r": RIGHT, "t": 8, "b": 40},
        "showlegend": any(series.name for series in panel.series),
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
    }
    if panel.is_cloud:
        layout["yaxis"]["scaleanchor"] = "x"
        layout["margin"] |= {"l": 34, "b": 24}
    return {"data": [_trace(series) for series in panel.series], "layout": layout}


def _trace(series: Series) -> dict[str, Any]:
    colour = COLOURS[series.colour]
    trace = {"type": "scatter", "x": series.x, "y": series.y, "name": series.name, "showlegend": bool(series.name)}
    if series.mark == "points":
        size = 4 if len(series.x) > 1 else 10
        return trace | {"mode": "markers", "marker": {"color": colour, "size": size, "opacity": 0.75}}
    dash = {"dash": "dash"} if series.mark == "dashed" else {}
    return trace | {"mode": "lines", "line": {"color": colour, "width": 2} | dash}


def _scale(log: bool) -> dict[str, Any]:
    return {"type": "log", "exponentformat": "power", "dtick": 1} if log else {}
