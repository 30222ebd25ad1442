"""Clouds of points on a flat page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mvm.look.palette import FAKE, REAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MARGIN", "NARROWEST_CLOUD", "draw_points", "flat", "look_at", "span_of"]

NARROWEST_CLOUD = 0.72  # inches, of a panel without axes
MARGIN = 0.35  # of the reals' size: how far beyond them the fakes are shown
VIEW = np.array([[0.5, -0.866, 0.0], [0.433, 0.25, 0.866]]).T  # from azimuth -60°, elevation 30°, as Plotly's


def draw_points(axes: Axes, real: np.ndarray, fake: np.ndarray, *, around: np.ndarray, margin: float) -> None:
    """Both clouds as pixels, with equal units; says which share of the fakes lies outside, or is no number."""
    size = min(2.0, 30 / len(fake) ** 0.5)
    for points, colour in ((real, REAL), (fake, FAKE)):
        style = {"marker": "o", "markersize": size, "markeredgewidth": 0, "linestyle": "none", "alpha": 0.7}
        axes.plot(points[:, 0], points[:, 1], color=colour, rasterized=True, **style)
    look_at(axes, span_of(around, margin), fake)


def span_of(around: np.ndarray, margin: float) -> np.ndarray:
    """A square about points `(n, 2)`: its lower and upper ends `(2, 2)`, one row for each axis."""
    whole = around[np.isfinite(around).all(1)]
    low, high = (whole.min(0), whole.max(0)) if len(whole) else (np.zeros(2), np.ones(2))
    centre, reach = (low + high) / 2, (1 + margin) * (float((high - low).max()) / 2 or 1.0)
    return np.stack([centre - reach, centre + reach], axis=1)


def look_at(axes: Axes, span: np.ndarray, fake: np.ndarray) -> None:
    """Show a square, and say which share of the fakes lies outside it."""
    axes.set_aspect("equal")
    axes.set_xlim(*span[0])
    axes.set_ylim(*span[1])
    inside = (fake >= span[:, 0]) & (fake <= span[:, 1])
    out = float((~inside.all(1)).mean())
    if out >= 0.005:
        place = {"transform": axes.transAxes, "ha": "right", "va": "bottom", "fontsize": axes.xaxis.label.get_size()}
        behind = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        axes.text(0.98, 0.02, f"{100 * out:.0f} % outside", bbox=behind, **place)


def flat(points: np.ndarray, real: np.ndarray) -> np.ndarray:
    """What a flat page shows of points: 2-D as they are, 3-D as seen from a corner, more on the reals' main axes."""
    if points.shape[1] == 2:
        return points
    if points.shape[1] == 3:
        return points @ VIEW.astype(points.dtype)
    axes = np.linalg.svd(real - real.mean(0), full_matrices=False)[2][:2].T
    return (points - real.mean(0)) @ axes
