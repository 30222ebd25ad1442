"""Pictures of a lens side by side, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.charts.axes import RIGHT, Figure, axes_of, nth, subplots
from mvm.lenses import Layer, Picture
from mvm.look.lenses import QUIET_LAYERS, colour_of_layer
from mvm.look.palette import SEQUENTIAL, rgba

__all__ = ["lens_chart"]


def lens_chart(pictures: Sequence[Picture], *, step: int) -> Figure:
    """Pictures in a row, with one legend.

    Args:
        pictures: of one reading.
        step: of the points.
    """
    layout = subplots([picture.title for picture in pictures])
    layout |= {"margin": {"l": 60, "r": RIGHT, "t": 30, "b": 84}, "meta": {"step": step}, "showlegend": True}
    layout["legend"] = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
    traces: list[dict[str, Any]] = []
    named: set[str] = set()
    for column, picture in enumerate(pictures):
        x, y = layout[nth("xaxis", column)], layout[nth("yaxis", column)]
        x |= {"title": {"text": picture.x}, "zeroline": False}
        y |= {"title": {"text": picture.y if column == 0 or picture.y != pictures[0].y else ""}, "zeroline": False}
        if picture.log:
            x |= {"type": "log", "tickmode": "auto", "dtick": "D2"}
        if not picture.x:
            x |= {"showticklabels": False, "showgrid": False}
            y |= {"showticklabels": False, "showgrid": False}
        if picture.equal:
            y |= {"scaleanchor": nth("x", column), "scaleratio": 1}
            x |= {"constrain": "domain"}
            y |= {"constrain": "domain"}
        for layer in picture.layers:
            shown = layer.name not in named and layer.values is None
            named.add(layer.name)
            traces += [{"legendgroup": layer.name, "showlegend": shown} | axes_of(column) | _trace(layer)]
    if not any(trace["showlegend"] for trace in traces):
        layout["margin"]["b"] = 44
    return {"data": traces, "layout": layout}


def _trace(layer: Layer) -> dict[str, Any]:
    colour, quiet = colour_of_layer(layer.name), layer.name in QUIET_LAYERS
    points = layer.points.astype(np.float32)
    if layer.kind == "arrows":
        ends = points.reshape(-1, 2, 2)
        points = np.concatenate([ends, np.full((len(ends), 1, 2), np.nan)], axis=1).reshape(-1, 2)
    trace = {"type": "scatter", "name": layer.name, "x": points[:, 0], "y": points[:, 1]}
    if layer.kind == "dots":
        marker: dict[str, Any] = {"size": 9 if layer.name in ("nearest", "point") else 4, "color": colour}
        if layer.values is not None:
            stops = np.linspace(0, 1, len(SEQUENTIAL)).tolist()
            scale = [[stop, shade] for stop, shade in zip(stops, SEQUENTIAL, strict=True)]
            marker |= {"color": layer.values, "colorscale": scale, "cmin": 0, "cmax": 1}
        hover = "skip" if layer.name == "real" else "x+y"
        return trace | {"mode": "markers", "marker": marker, "hoverinfo": hover}
    width = 2.5 if layer.name == "longest edge" else 1.2 if layer.kind == "arrows" else 1.8
    line = {"color": rgba(colour, 0.9), "width": width} | ({"dash": "dash"} if quiet else {})
    ends = {"marker": {"symbol": "circle", "size": 3, "color": colour, "maxdisplayed": 0}}
    return trace | {"mode": "lines", "line": line, "connectgaps": False} | (ends if layer.kind == "arrows" else {})
