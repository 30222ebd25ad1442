"""The points nearest to a point: under the learned metric, in space, and along the data.

Along a manifold, a geodesic is at least as long as a straight line. Points are tried in the order of their straight
distance until that exceeds the k-th geodesic found: so few geodesics are computed, and none that matters is left out.
Without a manifold, distances along the data are graph geodesics.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.geometry.graphs import graph_geodesics
from mvm.lenses.lens import Layer, Number, Picture, Reading, Subject, plane_of
from toy_manifolds.base import Manifold

__all__ = ["NEAREST", "WAYS", "measure_nearest", "nearest_along", "nearest_points"]

NEAREST = 10
WAYS = {"metric": "nearest under the learned metric", "euclid": "nearest in space", "along": "nearest along the data"}
ASKED = 16  # points whose neighbours are compared
BATCH = 16  # geodesics at a time


def nearest_points(
    query: Tensor,
    points: Tensor,
    *,
    embed: Callable[[Tensor], Tensor] | None,
    manifold: Manifold | None,
    k: int = NEAREST,
) -> dict[str, np.ndarray]:
    """Indices of the k points nearest to a query by each of `WAYS`, the nearest first.

    Args:
        query: `(D,)`; a point that equals it is not counted among its nearest.
        points: `(n, D)`.
        embed: the learned metric, to `(n, d)`; that way is left out when None.
        manifold: for true geodesics; graph geodesics when None.
        k: number of points.
    """
    points, query = points.double(), query.double()
    other = torch.nonzero((points != query).any(1))[:, 0]
    rest, k = points[other], min(k, len(other))
    found = {}
    if embed is not None:
        found["metric"] = pairwise(embed(query[None]).double(), embed(rest).double())[0].argsort()[:k]
    found["euclid"] = pairwise(query[None], rest)[0].argsort()[:k]
    if manifold is not None and manifold.intrinsic_dim > 0:
        found["along"] = nearest_along(manifold, query, rest, k=k)
    else:
        lengths = graph_geodesics(torch.cat([query[None], rest]))[0, 1:]
        found["along"] = torch.from_numpy(lengths).argsort()[:k]
    return {way: other[index].numpy() for way, index in found.items()}


def nearest_along(manifold: Manifold, query: Tensor, points: Tensor, *, k: int = NEAREST) -> Tensor:
    """Indices of the k points `(n, D)` nearest to a query `(D,)` along the manifold, the nearest first."""
    coordinates = manifold.project(torch.cat([query[None], points]).double())
    places = manifold.embed(coordinates)
    straight = torch.linalg.vector_norm(places[1:] - places[0], dim=-1)
    order = straight.argsort()
    lengths = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        if start >= k and straight[some[0]] > lengths.sort().values[k - 1]:
            break
        lengths[some] = manifold.geodesic(coordinates[:1].expand(len(some), -1), coordinates[1 + some]).double()
    return lengths.argsort()[:k]


def measure_nearest(subject: Subject) -> Reading:
    """Share of nearest points along the data that are nearest under the metric; baseline: in space."""
    real, networks = subject.clouds["real"], subject.networks
    shared: dict[str, list[float]] = {"metric": [], "euclid": []}
    for i in range(0, len(real), max(1, len(real) // ASKED)):
        found = nearest_points(real[i], real, embed=networks.embed, manifold=subject.manifold)
        for way, values in shared.items():
            if way in found:
                values.append(len(np.intersect1d(found[way], found["along"])) / len(found["along"]))
    mean = {way: float(np.mean(values)) if values else float("nan") for way, values in shared.items()}
    label = f"share of the {NEAREST} nearest along the data that the metric finds (baseline: straight lines)"
    numbers = {"shared": Number(label, mean["metric"], mean["euclid"])}
    plane, own = plane_of(real)
    flat, point = plane(real), min(subject.point, len(real) - 1)
    found = nearest_points(real[point], real, embed=networks.embed, manifold=subject.manifold)
    words = ("x", "y") if own else ("first principal axis", "second")
    pictures = tuple(
        Picture(
            WAYS[way],
            (Layer("real", flat), Layer("nearest", flat[index]), Layer("point", flat[[point]])),
            *words,
            equal=True,
        )
        for way, index in found.items()
    )
    return Reading(numbers, pictures)
