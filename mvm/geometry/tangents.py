"""Points beside the true manifold: directions against its tangents, and how far off it they lie.

tangent angle    largest principal angle between the true tangent space at the nearest point and the one that local
                 PCA finds: the leading directions of the k nearest points
normal part      of x − nearest point; for noise of standard deviation σ its root mean square is σ √codimension
tangential part  of the same; zero but beyond an edge, where the nearest point is on the edge
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.geometry.neighbourhoods import neighbours
from toy_manifolds.base import Manifold

__all__ = ["Displacement", "displacement", "local_tangents", "tangent_angles", "true_tangents"]


@dataclass(frozen=True)
class Displacement:
    """Lengths of the two parts of x − nearest point, `(n,)` each."""

    normal: Tensor
    tangential: Tensor


def true_tangents(manifold: Manifold, coordinates: Tensor) -> Tensor:
    """Orthonormal tangents at points with these coordinates, `(n, k)` to `(n, D, intrinsic_dim)`, float64.

    A coordinate that names a component moves no point, and adds no tangent.
    """

    def embed(one: Tensor) -> Tensor:
        return manifold.embed(one[None])[0]

    jacobian = torch.func.vmap(torch.func.jacfwd(embed))(coordinates.double())
    tangents: Tensor = torch.linalg.svd(jacobian, full_matrices=False).U[..., : manifold.intrinsic_dim]
    return tangents


def local_tangents(points: Tensor, at: Tensor, dim: int, *, k: int | None = None) -> Tensor:
    """Orthonormal leading directions of the k points nearest to each place: `(n, D)`, `(m, D)` to `(m, D, dim)`.

    Args:
        points: the cloud.
        at: places.
        dim: number of directions.
        k: number of neighbours; `neighbours(n)` when None.
    """
    k = k or neighbours(len(points))
    nearest = pairwise(at.double(), points.double()).topk(k, largest=False).indices
    patches = points.double()[nearest]
    centred = patches - patches.mean(1, keepdim=True)
    directions: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh[:, :dim].mT
    return directions


def tangent_angles(manifold: Manifold, points: Tensor, *, k: int | None = None) -> Tensor:
    """Largest principal angle between true and local tangents at each point, `(n, D)` to `(n,)`, in degrees."""
    true = true_tangents(manifold, manifold.project(points))
    local = local_tangents(points, points, true.shape[-1], k=k)
    cosines = torch.linalg.svdvals(true.mT @ local).clamp(max=1)
    return torch.rad2deg(torch.arccos(cosines[:, -1]))


def displacement(manifold: Manifold, points: Tensor) -> Displacement:
    """Split x − nearest point of points `(n, D)`, in units of the manifold's coordinates."""
    coordinates = manifold.project(points)
    offset = points.double() - manifold.embed(coordinates.double())
    tangents = true_tangents(manifold, coordinates)
    along = (tangents.mT @ offset[..., None])[..., 0]
    normal = offset - (tangents @ along[..., None])[..., 0]
    return Displacement(torch.linalg.vector_norm(normal, dim=-1), torch.linalg.vector_norm(along, dim=-1))
