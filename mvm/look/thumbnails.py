"""Small drawings of point clouds, on no ground, for a choice among them: one SVG of a dot per point.

Three dimensions are seen from the front and from above; the farther half is fainter.
"""

from __future__ import annotations

import base64

import numpy as np

__all__ = ["thumbnail"]

SIDE = 60
DOT = 1.4
YAW, PITCH = 0.35, 0.45


def thumbnail(*layers: tuple[np.ndarray, str], dot: float = DOT) -> str:
    """Draw layers of points `(n, 2 or 3)`, each in its hex colour; returns the data URL of an SVG.

    The first layer fills the frame of 60 by 60, in which a dot is `dot` wide; of the others, points outside of it or
    not finite are left out.
    """
    first = layers[0][0]
    centre = (first.min(0) + first.max(0)) / 2
    scale = (SIDE / 2 - dot) / (np.abs(_seen(first - centre)[0]).max() or 1)
    paths = ""
    for points, colour in layers:
        places, depth = _seen(points - centre)
        places = places * scale * [1, -1] + SIDE / 2
        inside = ((places >= 0) & (places <= SIDE)).all(1)
        for half, opacity in ((depth > 0, 0.45), (depth <= 0, 0.9)):
            dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places[half & inside])
            paths += f'<path d="{dots}" stroke="{colour}" opacity="{opacity}"/>' if dots else ""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE}" viewBox="0 0 {SIDE} {SIDE}" '
        f'stroke-width="{dot}" stroke-linecap="round">{paths}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _seen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places `(n, 2)` of points around the origin as they are seen, and their distance `(n,)` behind it."""
    if points.shape[1] < 3:
        return points, np.zeros(len(points))
    x, y, z = points.T
    away = np.cos(YAW) * y - np.sin(YAW) * x
    places = np.stack([np.cos(YAW) * x + np.sin(YAW) * y, np.sin(PITCH) * away + np.cos(PITCH) * z], axis=1)
    return places, np.cos(PITCH) * away - np.sin(PITCH) * z
