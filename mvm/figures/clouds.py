"""Point clouds on a flat page: their tables, and drawings of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.look.palette import FAKE, REAL
from mvm.look.scales import span_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "NARROWEST_CLOUD",
    "clouds_table",
    "columns_of",
    "draw_points",
    "flat",
    "kinds_of",
    "look_at",
    "shows_clouds",
]

NARROWEST_CLOUD = 0.72  # inches, of a panel without axes
VIEW = np.array([[0.5, -0.866, 0.0], [0.433, 0.25, 0.866]]).T  # from azimuth -60°, elevation 30°, as Plotly's


def kinds_of(reals: int, fakes: int) -> dict[str, Any]:
    """Columns `kind` and `point` of so many real points followed by so many fake ones."""
    return {"kind": ["real"] * reals + ["fake"] * fakes, "point": [*range(reals), *range(fakes)]}


def columns_of(points: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Columns name1, name2, ... of points `(n, D)` in up to three dimensions; none of more: a table has no room."""
    return {f"{name}{axis + 1}": points[:, axis] for axis in range(points.shape[1]) if points.shape[1] <= 3}


def shows_clouds(snapshot: Mapping[str, np.ndarray]) -> bool:
    """Whether a snapshot shows points, fakes `(V, n, D)`, rather than pictures `(V, n, size, size, 3)`."""
    return snapshot["fake"].ndim == 3


def clouds_table(real: np.ndarray, fake: np.ndarray) -> pd.DataFrame:
    """Both clouds `(n, D)` and `(m, D)`, in their own coordinates and on a flat page."""
    own = np.concatenate([real, fake])
    return pd.DataFrame(kinds_of(len(real), len(fake)) | columns_of(own, "x") | columns_of(flat(own, real), "plane"))


def draw_points(axes: Axes, real: np.ndarray, fake: np.ndarray, *, around: np.ndarray, margin: float) -> None:
    """Both clouds as pixels with equal units; a note gives the share of fakes outside, if there are any.

    Fakes are smaller than the reals below them, so that a real with a fake on it is still seen.
    """
    size = min(2.0, 30 / len(fake) ** 0.5)
    for points, colour, share in ((real, REAL, 1.4), (fake, FAKE, 0.7)):
        style: dict[str, Any] = {"marker": "o", "markersize": share * size, "markeredgewidth": 0}
        style["linestyle"] = "none"
        axes.plot(points[:, 0], points[:, 1], color=colour, rasterized=True, alpha=0.7, **style)
    look_at(axes, span_of(around, margin), fake)


def look_at(axes: Axes, span: np.ndarray, fake: np.ndarray) -> None:
    """Show a square `(2, 2)`, with a note of the share of fakes outside it."""
    axes.set_aspect("equal")
    axes.set_xlim(*span[0])
    axes.set_ylim(*span[1])
    inside = (fake >= span[:, 0]) & (fake <= span[:, 1])
    out = float((~inside.all(1)).mean())
    if out >= 0.005:
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
        behind = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        size = axes.xaxis.label.get_fontsize()
        axes.text(0.98, 0.02, f"{100 * out:.0f} % outside", bbox=behind, fontsize=size, **place)


def flat(points: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Points `(n, D)` as `(n, 2)` on a page: 2-D as they are, 3-D seen from a corner, more on the reals' main axes."""
    if points.shape[1] == 2:
        return points
    if points.shape[1] == 3:
        axes, middle = VIEW.astype(points.dtype), 0
    else:
        axes, middle = np.linalg.svd(real - real.mean(0), full_matrices=False)[2][:2].T, real.mean(0)
    shown: np.ndarray = (points - middle) @ axes
    return shown
