"""How well a projection preserves neighbourhoods, point by point: false neighbours shown, true neighbours torn apart.

    trustworthiness  T_i = 1 − 2/(k(2n − 3k − 1)) Σ_{j in U_i} (r(i, j) − k)
    continuity       C_i = the same with the two spaces exchanged

r(i, j): rank of j among i's neighbours in the space itself, 1 the nearest. U_i: members of i's k nearest in the
projection that are not among its k nearest in the space. 1 is perfect; the means over i are the published scores.

`sklearn.manifold.trustworthiness` gives the mean of T_i alone; a screen colours points, and needs each of them.

Source: Venna & Kaski 2001.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise

__all__ = ["Preservation", "continuity", "neighbours", "preservation_of", "trustworthiness"]


def neighbours(n: int) -> int:
    """Default k for n points: 15, or the largest that n allows."""
    return min(15, (n - 1) // 2)


@dataclass(frozen=True)
class Preservation:
    """Scores of each point, `(n,)` float64, at most 1.

    Attributes:
        trustworthiness: T_i, 1 if every point shown next to point i is its neighbour.
        continuity: C_i, 1 if every neighbour of point i is shown next to it.
    """

    trustworthiness: Tensor
    continuity: Tensor


def preservation_of(points: Tensor, projected: Tensor, *, k: int = 15) -> Preservation:
    """T_i and C_i of each point of a projection.

    Points that coincide are ranked by their row, in both spaces alike.

    Args:
        points: `(n, dim)`, such as embeddings.
        projected: `(n, 2)`, the same rows.
        k: neighbours, fewer than n/2.

    Returns:
        Preservation; all NaN if a point of either space is not finite, because every rank depends on it.

    Raises:
        ValueError: k is not in [1, n/2), or the numbers of rows differ.
    """
    n = len(points)
    if len(projected) != n:
        raise ValueError(f"points and projected must be the same rows, got {n} and {len(projected)}")
    if not 1 <= k < n / 2:
        raise ValueError(f"k must be at least 1 and less than n/2 = {n / 2:g}, got {k}")
    if not (points.isfinite().all() and projected.isfinite().all()):
        unknown = torch.full((n,), torch.nan, dtype=torch.float64, device=points.device)
        return Preservation(unknown, unknown)
    true, shown = _order(points), _order(projected)
    return Preservation(_score(true, shown, k), _score(shown, true, k))


def trustworthiness(points: Tensor, projected: Tensor, *, k: int = 15) -> Tensor:
    """T_i of each point, `(n,)`. Arguments as for `preservation_of`, which gives both scores at the cost of one."""
    return preservation_of(points, projected, k=k).trustworthiness


def continuity(points: Tensor, projected: Tensor, *, k: int = 15) -> Tensor:
    """C_i of each point, `(n,)`. Arguments as for `preservation_of`."""
    return preservation_of(points, projected, k=k).continuity


def _score(order: Tensor, other: Tensor, k: int) -> Tensor:
    """1 − 2/(k(2n − 3k − 1)) Σ (r − k) over the first k of `other`; r: their ranks in `order`, both `(n, n)`."""
    n = len(order)
    ranks = torch.empty_like(order).scatter_(1, order, torch.arange(1, n + 1, device=order.device).expand(n, n))
    excess = (ranks.gather(1, other[:, :k]) - k).clamp_min(0).sum(1)
    return 1 - 2 / (k * (2 * n - 3 * k - 1)) * excess.double()


def _order(points: Tensor) -> Tensor:
    """Rows by distance from each row, nearest first and the row itself last, `(n, n)`."""
    return pairwise(points.double()).fill_diagonal_(torch.inf).argsort(dim=1, stable=True)
