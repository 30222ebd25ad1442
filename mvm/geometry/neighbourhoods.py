"""How honest is a projection at each point? Neighbours that it invents, and neighbours that it tears apart.

    trustworthiness  T_i = 1 − 2/(k(2n − 3k − 1)) Σ_{j in U_i} (r(i, j) − k)
    continuity       C_i = the same, the two spaces exchanged

r(i, j): the place of j among i's neighbours in the space itself, 1 the nearest. U_i: those of i's k nearest in the
projection that are not among its k nearest in the space. 1 is perfect; the means over i are the published scores.

Source: Venna & Kaski 2001.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise

__all__ = ["Honesty", "continuity", "honesty", "neighbours", "trustworthiness"]


def neighbours(n: int) -> int:
    """How many of each of n points are looked at: 15, or what so few points allow."""
    return min(15, (n - 1) // 2)


def trustworthiness(points: Tensor, projected: Tensor, *, k: int = 15) -> Tensor:
    """T_i: 1 where every point shown next to point i is its neighbour, too.

    Points that coincide are ranked by their row, in both spaces alike.

    Args:
        points: `(n, dim)`, such as embeddings.
        projected: `(n, 2)`, the same rows.
        k: neighbours, fewer than n/2.

    Returns:
        `(n,)` float64, at most 1; all NaN if a point of either space is not finite, for every rank depends on it.

    Raises:
        ValueError: k is not in [1, n/2), or the rows are not as many.
    """
    return honesty(points, projected, k=k).trustworthiness


def continuity(points: Tensor, projected: Tensor, *, k: int = 15) -> Tensor:
    """C_i: 1 where every neighbour of point i is shown next to it. Arguments as for `trustworthiness`."""
    return honesty(points, projected, k=k).continuity


@dataclass(frozen=True)
class Honesty:
    """Both scores of each point, `(n,)` float64 as `trustworthiness` gives them."""

    trustworthiness: Tensor
    continuity: Tensor


def honesty(points: Tensor, projected: Tensor, *, k: int = 15) -> Honesty:
    """T_i and C_i at the cost of one. Arguments as for `trustworthiness`."""
    n = len(points)
    if len(projected) != n:
        raise ValueError(f"points and projected must be the same rows, got {n} and {len(projected)}")
    if not 1 <= k < n / 2:
        raise ValueError(f"k must be at least 1 and less than n/2 = {n / 2:g}, got {k}")
    if not (points.isfinite().all() and projected.isfinite().all()):
        unknown = torch.full((n,), torch.nan, dtype=torch.float64, device=points.device)
        return Honesty(unknown, unknown)
    near, shown = _neighbours(points), _neighbours(projected)
    return Honesty(_score(near, shown, k), _score(shown, near, k))


def _score(order: Tensor, other: Tensor, k: int) -> Tensor:
    """1 − 2/(k(2n − 3k − 1)) Σ (r − k) over the k first of `other`, r: their places in `order`, both `(n, n)`."""
    n = len(order)
    ranks = torch.empty_like(order).scatter_(1, order, torch.arange(1, n + 1, device=order.device).expand(n, n))
    excess = (ranks.gather(1, other[:, :k]) - k).clamp_min(0).sum(1)
    return 1 - 2 / (k * (2 * n - 3 * k - 1)) * excess.double()


def _neighbours(points: Tensor) -> Tensor:
    """Rows by distance from each row, nearest first and itself last, `(n, n)`."""
    return pairwise(points.double()).fill_diagonal_(torch.inf).argsort(dim=1, stable=True)
