"""Subplots side by side in a Plotly layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.text import plotly_text

__all__ = ["RIGHT", "Figure", "axes_of", "nth", "subplots", "vertical_line"]

Figure = dict[str, Any]
RIGHT = 18  # margin in pixels, for half a tick label
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


def axes_of(column: int) -> dict[str, str]:
    """Axes of a trace in a subplot."""
    return {"xaxis": nth("x", column), "yaxis": nth("y", column)}


def nth(base: str, column: int) -> str:
    """Plotly's name of a subplot's axis: x, x2, x3, ..."""
    return base if column == 0 else f"{base}{column + 1}"
