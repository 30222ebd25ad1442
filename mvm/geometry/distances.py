"""Distances between the rows of point sets.

    d(x, y) = ‖x − y‖₂          squared form: d²(x, y) = ‖x‖² + ‖y‖² − 2⟨x, y⟩

All functions take point sets `(..., n, dim)`; leading dimensions are independent variants.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["directed_hausdorff", "pairwise"]

CHUNK = 2**24  # entries of a distance block held at once where only its minima are needed


def pairwise(x: Tensor, y: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """Distances between every row of `x` and every row of `y` (of `x` itself when `y` is None).

    Args:
        x: points `(..., n, dim)`.
        y: points `(..., m, dim)`.
        squared: return d² (one matrix product, finite gradient everywhere) instead of d.

    Returns:
        `(..., n, m)`, never negative; the diagonal of `pairwise(x)` is exactly zero. The gradient of d at coinciding
        points is zero.
    """
    if not squared:
        return torch.cdist(x, x if y is None else y, compute_mode="donot_use_mm_for_euclid_dist")
    other = x if y is None else y
    square = x.square().sum(-1, keepdim=True) + other.square().sum(-1).unsqueeze(-2)
    square = (square - 2 * x @ other.mT).clamp_min(0)
    if y is None:
        eye = torch.eye(x.shape[-2], dtype=torch.bool, device=x.device)
        square = square.masked_fill(eye, 0)
    return square


def directed_hausdorff(x: Tensor, y: Tensor) -> Tensor:
    """Largest distance of a row of `x` to its nearest row of `y`, computed in blocks of bounded memory.

    Args:
        x: points `(..., n, dim)`.
        y: points `(..., m, dim)`.

    Returns:
        `(...)`.
    """
    variants = max(1, x[..., 0, 0].numel())
    rows = max(1, CHUNK // (variants * y.shape[-2]))
    nearest = [pairwise(block, y).amin(-1) for block in x.split(rows, dim=-2)]
    return torch.cat(nearest, dim=-1).amax(-1)
