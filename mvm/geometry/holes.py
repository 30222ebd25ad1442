"""Holes of a point cloud: persistent homology of its alpha complex, in two and three dimensions.

    birth, death     scales between which a component (H₀), a loop (H₁) or a void (H₂) exists: radii of balls around the
                     points, in units of the data
    bottleneck       largest distance between matched features of two clouds; unmatched ones count half their lifetime
    Betti numbers    features that exist at a scale r_k and still at 3/2 r_k:  r_k = s_k · (radius at which 99 % of the
                     points have joined their component),  s = 2, 2, 3½: loops close late, voids later

The scale follows the spacing of the sample, so that gaps between samples are no holes. A hole smaller than some
spacings is not counted. Computed by GUDHI.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

__all__ = ["MOST_DIMENSIONS", "betti_numbers", "bottleneck", "diagrams"]

SPACINGS = (2.0, 2.0, 3.5)  # s_k
LASTING = 1.5
JOINED = 0.99
MOST_DIMENSIONS = 3  # of the points: an alpha complex of more takes minutes


def diagrams(points: Tensor) -> list[np.ndarray]:
    """Births and deaths `(features, 2)` for H₀ … H_{D − 1} of points `(n, D)`, D at most 3; a death may be inf.

    Raises:
        ValueError: the points have more than three dimensions.
    """
    import gudhi  # takes a second to import

    if points.shape[-1] > MOST_DIMENSIONS:
        raise ValueError(f"alpha complexes are for at most {MOST_DIMENSIONS} dimensions, not {points.shape[-1]}")
    tree = gudhi.AlphaComplex(points=points.double().numpy()).create_simplex_tree()
    tree.compute_persistence(persistence_dim_max=False)
    squares = [np.asarray(tree.persistence_intervals_in_dimension(k)) for k in range(points.shape[-1])]
    return [np.sqrt(np.maximum(intervals.reshape(-1, 2), 0)) for intervals in squares]


def bottleneck(first: np.ndarray, second: np.ndarray) -> float:
    """Bottleneck distance of two diagrams of one dimension, `(features, 2)` each."""
    import gudhi

    return float(gudhi.bottleneck_distance(first, second))


def betti_numbers(found: Sequence[np.ndarray]) -> list[int]:
    """Betti numbers at the scale of the sample's spacing, from births and deaths by dimension."""
    deaths = found[0][:, 1]
    spacing = np.quantile(deaths[np.isfinite(deaths)], JOINED)
    return [
        int(((diagram[:, 0] <= s * spacing) & (diagram[:, 1] > LASTING * s * spacing)).sum())
        for s, diagram in zip(SPACINGS, found, strict=False)
    ]
