"""Point clouds, a panel per variant, redrawn many times a second on one plain canvas.

Plotly needs 50 to 350 ms of a core to redraw a row of three clouds where there is no GPU; where a training, its app and
the browser share two cores, that is one or two pictures a second. A canvas needs a few milliseconds, and has what a
cloud needs: axes in two dimensions with pan and zoom, an orbit in three that all panels share; both survive every
update, because only the browser holds them. Curves and spectra stay with Plotly.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.component import component

__all__ = ["cloud_plot"]

_component = component(Path(__file__).parent)


def cloud_plot(panels: Sequence[dict[str, Any]], *, key: str, height: int, alt: str, step: int) -> None:
    """Draw the panels in place of the last ones of this key.

    Args:
        panels: one dict each, as `app.plots.cloud` makes them: title, span (one [low, high] per axis: what is in
            view), ticks (whether axes are labelled), and layers: name, colour, points `(n, 2 or 3)`, and optionally
            line: draw the points as a path that NaN rows interrupt.
        key: the chart's identity on the page, constant over updates.
        height: in pixels; the width follows the column.
        alt: what the chart shows, in words, for screen readers.
        step: the training step shown; becomes the node's `data-step`.
    """
    encoded = [
        panel | {"layers": [layer | {"points": _encode(layer["points"])} for layer in panel["layers"]]}
        for panel in panels
    ]
    _component(key=key, height=height, data={"panels": encoded, "key": key, "height": height, "alt": alt, "step": step})


def _encode(points: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(points, dtype="<f4").tobytes()).decode()
