"""Charts of a sweep: all trainings in parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.charts.axes import Figure
from app.text import plotly_text
from mvm.look.palette import SEQUENTIAL
from mvm.look.scales import limits
from mvm.sweeps.parallel import parallel_axes
from mvm.sweeps.results import Result
from mvm.words import capital

__all__ = ["parallel_coordinates"]

LONGEST = 14  # letters of a tick


def parallel_coordinates(results: Sequence[Result]) -> Figure:
    """A line for each training over its settings, the last axis its score, which colours it: the best ones yellow."""
    losses = np.array([result.loss for result in results])
    known = losses[np.isfinite(losses)]
    finite = np.where(np.isfinite(losses), losses, known.max() if len(known) else 0.0)
    low, high = limits([finite])
    dimensions = []
    for axis in parallel_axes(results):
        places, texts = zip(*axis.ticks, strict=True)
        dimensions.append({
            "label": plotly_text(capital(axis.title)), "values": list(axis.places), "range": [0, 1],
            "tickvals": list(places), "ticktext": [plotly_text(_short(text)) for text in texts],
        })  # fmt: skip
    line = {
        "color": (-finite).tolist(), "cmin": -high, "cmax": -low,
        "colorscale": [[i / (len(SEQUENTIAL) - 1), colour] for i, colour in enumerate(SEQUENTIAL)],
    }  # fmt: skip
    trace = {"type": "parcoords", "dimensions": dimensions, "line": line, "labelside": "top",
        "labelfont": {"size": 13}, "tickfont": {"size": 12}, "rangefont": {"size": 1, "color": "rgba(0,0,0,0)"},
    }  # fmt: skip
    return {"data": [trace], "layout": {"margin": {"l": 70, "r": 60, "t": 70, "b": 20}}}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
