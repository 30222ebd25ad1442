"""Subplots side by side in a Plotly layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.text import plotly_text

__all__ = ["RIGHT", "Figure", "axes_of", "log_axis", "nth", "subplots", "typeset", "vertical_line"]

Figure = dict[str, Any]
RIGHT = 18  # margin in pixels, for half a tick label
MOST_DECADES = 6  # labels on a logarithmic axis
GAP = 0.06  # between subplots, as a share of the row's width; tick labels of the next subplot lie in it


def subplots(titles: Sequence[str]) -> Figure:
    """Layout of one subplot per title, in a row; a title may contain words from outside."""
    layout: Figure = {"annotations": [], "hovermode": "closest"}
    width = (1 - GAP * (len(titles) - 1)) / max(1, len(titles))
    for column, title in enumerate(titles):
        domain = [column * (width + GAP), column * (width + GAP) + width]
        layout[nth("xaxis", column)] = {"domain": domain, "anchor": nth("y", column)}
        layout[nth("yaxis", column)] = {"domain": [0, 1], "anchor": nth("x", column)}
        text = {"text": plotly_text(title), "showarrow": False, "font": {"size": 13}}
        place = {"x": domain[0], "xanchor": "left", "y": 1.01, "yanchor": "bottom", "xref": "paper", "yref": "paper"}
        layout["annotations"].append(text | place)
    return layout


def vertical_line(x: float, column: int, **line: Any) -> dict[str, Any]:
    """Shape of a vertical line through a subplot."""
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "xref": nth("x", column)}
    return ends | {"type": "line", "yref": f"{nth('y', column)} domain", "line": {"width": 1} | line}


def log_axis(values: Sequence[np.ndarray]) -> dict[str, Any]:
    """A logarithmic axis over whole decades about these values, labelled 10⁻¹, 10⁰, ... and at nothing between."""
    known = np.concatenate([np.ravel(part) for part in values] or [np.ones(1)])
    known = known[np.isfinite(known) & (known > 0)]
    low, high = (np.floor(np.log10(known.min())), np.ceil(np.log10(known.max()))) if len(known) else (0.0, 0.0)
    high = max(high, low + 1)
    axis = {"type": "log", "exponentformat": "power", "showexponent": "all", "tickmode": "linear"}
    every = int(np.ceil((high - low) / MOST_DECADES))
    return axis | {"tick0": 0, "dtick": every, "range": [low, high]}


def typeset(symbol: str) -> str:
    """A symbol with its subscript, such as d_c, in Plotly's text."""
    letter, _, index = symbol.partition("_")
    return f"<i>{letter}</i><sub>{index}</sub>" if index else letter


def axes_of(column: int) -> dict[str, str]:
    """Axes of a trace in a subplot."""
    return {"xaxis": nth("x", column), "yaxis": nth("y", column)}


def nth(base: str, column: int) -> str:
    """Plotly's name of a subplot's axis: x, x2, x3, ..."""
    return base if column == 0 else f"{base}{column + 1}"
