"""Lenses that lay the clouds out flat, and say how far distances on the map are those along the data.

correlation  Spearman's, of distances on the map with true geodesics between the points' nearest points on the
             manifold, over random pairs; without a manifold, with graph geodesics
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.geometry.graphs import diffusion_map, graph_geodesics, isomap
from mvm.lenses.lens import Layer, Number, Picture, Reading, Subject
from mvm.scoring.points import spearman
from toy_manifolds.base import Manifold

__all__ = ["measure_diffusion_map", "measure_isomap", "true_distances"]

PAIRS = 200  # a numerical geodesic takes up to 10 ms


def measure_isomap(subject: Subject) -> Reading:
    """Isomap of each cloud."""
    return _measure(subject, isomap, "Isomap")


def measure_diffusion_map(subject: Subject) -> Reading:
    """Diffusion map of each cloud."""
    return _measure(subject, diffusion_map, "diffusion map")


def _measure(subject: Subject, flatten: Callable[[Tensor], np.ndarray], title: str) -> Reading:
    maps: dict[str, np.ndarray] = {}
    ways = {"map": f"distances on the {title}", "graph": "graph geodesics", "euclid": "straight lines"}
    found: dict[str, dict[str, float]] = {key: {} for key in ways}
    exact = subject.manifold is not None and subject.manifold.intrinsic_dim > 0
    for name, points in subject.clouds.items():
        flat, graph = flatten(points), graph_geodesics(points)
        maps[name] = flat if name == "real" else _aligned(flat, points, maps["real"], subject.clouds["real"])
        i, j = pairs_of(len(points))
        true = true_distances(subject.truth, points, i, j) if exact else graph[i, j]
        kept = np.isfinite(true)
        lengths = {
            "map": np.linalg.norm(flat[i] - flat[j], axis=1),
            "graph": graph[i, j],
            "euclid": torch.linalg.vector_norm(points[i] - points[j], dim=1).numpy(),
        }
        for key, values in lengths.items():
            usable = kept & np.isfinite(values)
            found[key][name] = _correlation(values[usable], true[usable])
    along = "true geodesics" if exact else "graph geodesics"
    numbers = {
        key: Number(f"{ways[key]}: rank correlation with {along}", of["fake"], of["baseline"])
        for key, of in found.items()
        if exact or key != "graph"
    }
    pictures = tuple(
        Picture(name, (Layer(name, flat, values=_colours(subject, name)),), equal=True) for name, flat in maps.items()
    )
    return Reading(numbers, pictures)


def pairs_of(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Fixed random pairs of different points of n."""
    random = np.random.default_rng(0)
    i = random.integers(n, size=PAIRS)
    return i, (i + random.integers(1, n, size=PAIRS)) % n


def true_distances(manifold: Manifold, points: Tensor, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """True geodesics between the nearest points of points i and j on the manifold; inf between components."""
    coordinates = manifold.project(points)
    return manifold.geodesic(coordinates[i], coordinates[j]).double().numpy()


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 3:
        return float("nan")
    found = spearman(torch.from_numpy(a), torch.from_numpy(b))
    return float("nan") if found is None else float(found)


def _aligned(flat: np.ndarray, points: Tensor, onto: np.ndarray, real: Tensor) -> np.ndarray:
    """A map turned or reflected so that each point lies near its nearest real on the reals' map."""
    from scipy.linalg import orthogonal_procrustes

    target = onto[pairwise(points, real).argmin(1).numpy()]
    rotation, _ = orthogonal_procrustes(flat - flat.mean(0), target - target.mean(0))
    return np.asarray((flat - flat.mean(0)) @ rotation + target.mean(0))


def _colours(subject: Subject, name: str) -> np.ndarray | None:
    """First coordinate of each point on its component's chart, between 0 and 1; None without a manifold."""
    if subject.manifold is None or not subject.manifold.charts:
        return None
    coordinates = subject.manifold.project(subject.clouds[name])
    shade = np.full(len(coordinates), np.nan)
    for chart in subject.manifold.charts:
        place = (chart.place(coordinates)[:, 0].numpy() - chart.low[0]) / (chart.high[0] - chart.low[0])
        shade = np.where(np.isnan(place), shade, place)
    return shade
