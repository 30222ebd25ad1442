"""Intrinsic dimension of a point cloud against scale: noise fills the space at small scales, so no number is the one.

    mle     1 / m(k) = mean over points of  1/(k − 1) Σ_{j<k} ln(T_k / T_j)       T_j: distance to the j-th neighbour
    two_nn  slope through the origin of −ln(1 − F(μ)) against ln μ,  μ = T_2 / T_1,  F its empirical distribution

Sources: Levina & Bickel, NeurIPS 2004, with the mean over inverses of MacKay & Ghahramani, 2005; Facco et al.,
Scientific Reports 2017 (TwoNN), without the tenth of the points with the largest μ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["DimensionAtScale", "dimension_mle", "dimension_two_nn"]

KEPT = 0.9  # share of the points, those with the smallest ratios, that TwoNN fits


@dataclass(frozen=True)
class DimensionAtScale:
    """Intrinsic dimension estimated from some number of neighbours.

    Attributes:
        neighbours: k.
        radius: mean distance to the k-th neighbour, the scale.
        dimension: the estimate.
    """

    neighbours: int
    radius: float
    dimension: float


def dimension_mle(points: Tensor, neighbours: Sequence[int]) -> list[DimensionAtScale]:
    """Maximum-likelihood estimates from points `(n, D)`, one for each k of `neighbours` (2 ≤ k < n)."""
    distances = _neighbour_distances(points, max(neighbours))
    logs = np.log(distances)
    found = []
    for k in neighbours:
        inverse = (logs[:, k - 1 : k] - logs[:, : k - 1]).mean()
        found.append(DimensionAtScale(k, float(distances[:, k - 1].mean()), float(1 / inverse)))
    return found


def dimension_two_nn(points: Tensor) -> float:
    """TwoNN estimate from points `(n, D)`."""
    distances = _neighbour_distances(points, 2)
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = int(KEPT * len(ratios))
    x, y = ratios[:kept], -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    return float((x @ y) / (x @ x))


def _neighbour_distances(points: Tensor, k: int) -> np.ndarray:
    """Distances to the k nearest other points, `(n, k)` float64; coinciding points count as one."""
    from sklearn.neighbors import NearestNeighbors

    distinct = np.unique(points.double().numpy(), axis=0)
    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(distinct).kneighbors(distinct)
    return np.asarray(distances[:, 1:])
