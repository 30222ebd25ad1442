"""Point clouds, one panel per variant, redrawn many times per second on one canvas.

Without a GPU, Plotly takes 50 to 350 ms of a core to redraw three clouds: one or two frames per second where a
training, the app and the browser share two cores. A canvas takes a few milliseconds. It has axes with pan and zoom in
two dimensions, and an orbit that all panels share in three; the browser alone holds the view, so that updates do not
change it. Curves and spectra are drawn by Plotly.

Points may stand for pictures, which are sent as one sheet: hovering a point shows its picture, clicking picks it.

Charts of one group mark the same points, in the browser alone: the one under the cursor, and those inside a loop drawn
with Shift or after a click on Select. Real points are the same in all panels; fakes of one index have the same noise.

    points      dots or rings         with `values`: coloured by a scale, grey for NaN
    line        path                  broken at NaN; with `values`: a segment has the colour of its start
    arrows      tails and tips        side by side in each row of points; with `factor`: a length stands in the legend
    image       field of values       behind all other layers, in two dimensions only
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

SAME = {"real": "the same point", "fake": "the same noise z"}  # what rows of one index share in linked charts

_component = component(Path(__file__).parent, "heads")


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
    linked: str | None = None,
) -> Picked | None:
    """Draw the panels, in place of the previous panels of this key.

    Args:
        panels: one dict each, from `app.charts.clouds`: title; span, one visible [low, high] per axis; ticks, whether
            axes have labels; optionally axes, names of x and y in the plane; optionally scores and best, from
            `app.columns.scored`; layers, each with a name, a colour, points `(n, 2 or 3)`, and optionally
            line: points form a path that NaN rows break, `wide` pixels wide, with dashes `dash`;
            ring: points are rings;
            radius: of its dots, in pixels;
            offset: index of its first point among all that can be picked;
            values `(n,)` and scale: colours, the scale with title, stops (hex, with or without alpha), low and high;
            arrows: points are tails and tips `(n, 2·d)`, drawn faint if `faint`, `factor` times their own length;
            image: values `(rows, columns)`, top row first, over `extent`;
            letters: one letter per point.
        key: identity of the chart, constant over updates.
        height: most pixels of a row of panels; panels are smaller in a narrow column, and stacked in a narrower one.
        alt: description for screen readers.
        step: the shown training step; becomes the node's `data-step`.
        pictures: pictures of the points, `(n, size, size, 3)` uint8.
        ringed: point to draw a ring around.
        pickable: whether points of layers with an offset can be clicked without pictures.
        linked: name of its group of charts, whose layers named in `SAME` have corresponding rows.

    Returns:
        The last clicked point; None before the first click.
    """
    encoded = [panel | {"layers": [_layer(layer) for layer in panel["layers"]]} for panel in panels]
    data = {"panels": encoded, "key": key, "height": height, "alt": alt, "step": step, "pickable": pickable}
    data |= {"linked": linked, "same": SAME}
    if pictures is not None:
        data |= {"sheet": _sheet(pictures.tobytes(), pictures.shape), "size": pictures.shape[1]}
        data |= {"ringed": None if ringed is None else asdict(ringed)}
    return picked_of(
        _component(key=key, height="content", data=data, default={"picked": None}, on_picked_change=lambda: None)
    )


@lru_cache(maxsize=4)
def _sheet(content: bytes, shape: tuple[int, ...]) -> str:
    """Encode pictures, once for all reruns that show the same ones."""
    return encode(np.frombuffer(content, dtype=np.uint8).reshape(shape), quality=85)


def _layer(layer: dict[str, Any]) -> dict[str, Any]:
    double = layer["points"].dtype == np.float64 if "points" in layer else False  # numbers far from zero
    arrays = {"points": _encode(layer["points"], "<f8" if double else "<f4")} if "points" in layer else {}
    arrays |= {"values": _encode(layer["values"])} if "values" in layer else {}
    shape = dict(zip(("rows", "columns"), layer["values"].shape, strict=True)) if layer.get("image") else {}
    return layer | arrays | shape | {"double": double}


def _encode(points: np.ndarray, dtype: str = "<f4") -> str:
    return base64.b64encode(np.ascontiguousarray(points, dtype=dtype).tobytes()).decode()
