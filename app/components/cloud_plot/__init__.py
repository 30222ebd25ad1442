"""Point clouds, a panel per variant, redrawn many times a second on one plain canvas.

Plotly needs 50 to 350 ms of a core to redraw a row of three clouds where there is no GPU; where a training, its app and
the browser share two cores, that is one or two pictures a second. A canvas needs a few milliseconds, and has what a
cloud needs: axes in two dimensions with pan and zoom, an orbit in three that all panels share; both survive every
update, because only the browser holds them. Curves and spectra stay with Plotly.

Points may stand for pictures: hovering one shows its picture beside the cursor, clicking it picks it. The pictures
travel as one sheet.

    points      dots, or rings        with `values` coloured by a scale, NaN grey
    line        a path                broken at NaN; with `values`, each piece by its first
    arrows      from, to              side by side in a row of points
    image       a field               behind the rest, of flat panels only
    letters     rings with a letter
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app.components.component import component
from app.components.picture_grid import Picked, encode, picked_of

__all__ = ["cloud_plot"]

_component = component(Path(__file__).parent)


def cloud_plot(
    panels: Sequence[dict[str, Any]],
    *,
    key: str,
    height: int,
    alt: str,
    step: int,
    pictures: np.ndarray | None = None,
    ringed: Picked | None = None,
    pickable: bool = False,
) -> Picked | None:
    """Draw the panels in place of the last ones of this key.

    Args:
        panels: one dict each, from `app.charts.clouds`: title; span, one visible [low, high] per axis; ticks, whether
            axes have labels; layers, each with a name, a colour, points `(n, 2 or 3)`, and optionally
            line: points form a path that NaN rows break, `wide` pixels wide, with dashes `dash`;
            ring: points are rings;
            first: index of its first point among all that can be picked;
            values `(n,)` and scale: colours, the scale with title, stops (hex, with or without alpha), low and high;
            arrows: points are tails and tips `(n, 2·d)`, drawn faint if `faint`;
            image: values `(rows, columns)`, top row first, over `extent`;
            letters: one letter per point.
        key: the chart's identity on the page, constant over updates.
        height: in pixels, at most: in a narrow column the panels are smaller.
        alt: what the chart shows, in words, for screen readers.
        step: the training step shown; becomes the node's `data-step`.
        pictures: `(n, size, size, 3)` uint8 that points stand for.
        ringed: the point to draw a ring around.
        pickable: points of layers with first can be clicked without pictures, too.

    Returns:
        The point that was clicked last.
    """
    encoded = [panel | {"layers": [_layer(layer) for layer in panel["layers"]]} for panel in panels]
    data = {"panels": encoded, "key": key, "height": height, "alt": alt, "step": step, "pickable": pickable}
    if pictures is not None:
        data |= {"sheet": _sheet(pictures.tobytes(), pictures.shape), "size": pictures.shape[1]}
        data |= {"ringed": None if ringed is None else asdict(ringed)}
    return picked_of(
        _component(key=key, height="content", data=data, default={"picked": None}, on_picked_change=lambda: None)
    )


@lru_cache(maxsize=4)
def _sheet(content: bytes, shape: tuple[int, ...]) -> str:
    """The same pictures come again and again while a run is at rest, or its projection is."""
    return encode(np.frombuffer(content, dtype=np.uint8).reshape(shape), quality=85)


def _layer(layer: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: _encode(layer[name]) for name in ("points", "values") if name in layer}
    shape = dict(zip(("rows", "columns"), layer["values"].shape, strict=True)) if layer.get("image") else {}
    return layer | arrays | shape


def _encode(points: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(points, dtype="<f4").tobytes()).decode()
