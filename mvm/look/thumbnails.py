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


def thumbnail(points: np.ndarray, *, colour: str) -> str:
    """Draw points `(n, 2 or 3)` in a hex colour; returns the data URL of an SVG."""
    points = points - (points.min(0) + points.max(0)) / 2
    depth = np.zeros(len(points))
    if points.shape[1] == 3:
        x, y, z = points.T
        away = np.cos(YAW) * y - np.sin(YAW) * x
        points = np.stack([np.cos(YAW) * x + np.sin(YAW) * y, np.sin(PITCH) * away + np.cos(PITCH) * z], axis=1)
        depth = np.cos(PITCH) * away - np.sin(PITCH) * z
    places = points * (SIDE / 2 - DOT) / np.abs(points).max() * [1, -1] + SIDE / 2
    paths = ""
    for half, opacity in ((depth > 0, 0.45), (depth <= 0, 0.9)):
        dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places[half])
        paths += f'<path d="{dots}" opacity="{opacity}"/>' if dots else ""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" stroke="{colour}" stroke-width="{DOT}" '
        f'stroke-linecap="round">{paths}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
