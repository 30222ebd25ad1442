"""Density along a manifold: how many points lie where, against the law of the data.

A chart of the manifold is cut into K cells of equal mass under the data's law, or nearly so: a curve by arc length, a
surface along both axes of its map. A point counts in the cell of its nearest point of the manifold. Of n points,

    expected_k = n p_k                                      p_k: mass of cell k, Σ p_k = 1 over all charts
    [low_k, high_k]: quantiles α/2K and 1 − α/2K of Binomial(n, p_k), exact
    missed = Σ p_k over the cells with fewer than low_k     0 for at least 1 − α of real samples of this size

The band is simultaneous: a real sample lies in it, in all cells at once, with probability 1 − α or more (Bonferroni).
Without noise, p_k is an integral (Gauss–Legendre). With noise, the nearest points of noisy samples gather at the ends
of a curve and inside of its bends, and p_k is counted on `DRAWS` of them.

The total variation of the counts and the law, with the share that lies on no part as a cell of its own, is

    ½ (Σ |count_k / n − p_k| + |far share − (1 − Σ p_k)|)           0 to 1; of a real sample about √(K / 2πn)

A model with a density q needs no sample: q on the manifold, normalised along it, is compared with the law p by

    ½ ∫ |q / ∫ q − p|,   a mean over `nodes_of` places that are uniform in volume           0 exactly for q ∝ p

Points farther from the manifold than `FAR` times its radius, and than noise explains, lie on no part of it: they count
in no cell, and their share is given apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from toy_manifolds.base import Chart, Manifold

__all__ = [
    "ALPHA", "MOST_OVER", "ChartDensity", "Density", "density_along", "nodes_of", "variation_of_counts",
    "variation_of_density",
]  # fmt: skip

ALPHA = 0.05  # share of real samples that may leave the band
FAR = 0.1  # distance from the manifold beyond which a point belongs to no part of it, in root mean square radii
DEVIATIONS = 3  # of the noise, by which real points may lie farther
PER_BIN, PER_CELL = 16, 8  # expected points in a bin of a curve, and in a cell of a map
MOST_BINS, MOST_CELLS = 64, 256
FINE = (4096, 256)  # grid on which edges are sought, by the number of axes
MOST_OVER = 2  # log₂ of the largest ratio that a map's colours tell apart
NODES = 8  # of the quadrature in each cell, along each axis
PLACES = {1: 512, 2: 2048}  # on a manifold, at which a model's density is compared with the law, by its dimension
DRAWS, KNOWN = 20_000, 8192  # noisy samples that stand for the law, and points of the manifold to find theirs among


@dataclass(frozen=True)
class ChartDensity:
    """Counts on one chart.

    Attributes:
        title: of the component; empty if there is one alone.
        axes: names of the axes.
        edges: of the cells, `(K_i + 1,)` for each axis.
        aspect: length over width of the component.
        count, expected: points in each cell, and what the law expects, `(K_1,)` or `(K_1, K_2)`.
        low, high: ends of the band, of the same shape.
    """

    title: str
    axes: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    aspect: float
    count: np.ndarray
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """Counted over expected points; NaN in a cell where the law has none."""
        return self.over(self.count)

    def over(self, values: np.ndarray) -> np.ndarray:
        """Values over the expected points; NaN in a cell where the law has none."""
        ratio = np.divide(values, self.expected, out=np.full(self.expected.shape, np.nan), where=self.expected > 0)
        return np.asarray(ratio)

    @property
    def verdict(self) -> np.ndarray:
        """−1 in cells below the band, 1 above it, else 0."""
        return (self.count > self.high).astype(int) - (self.count < self.low)


@dataclass(frozen=True)
class Density:
    """Counts along a manifold.

    Attributes:
        charts: one for each component.
        n: number of points, the far ones included.
        far: share of points that are too far from the manifold to count, or no number.
    """

    charts: tuple[ChartDensity, ...]
    n: int
    far: float

    @property
    def missed(self) -> float:
        """Share of the law's mass in cells below the band."""
        return self._mass(-1)

    @property
    def crowded(self) -> float:
        """Share of the law's mass in cells above the band."""
        return self._mass(1)

    def _mass(self, verdict: int) -> float:
        return float(sum(chart.expected[chart.verdict == verdict].sum() for chart in self.charts) / max(1, self.n))


def density_along(manifold: Manifold, points: Tensor) -> Density | None:
    """Count points along a manifold.

    Args:
        manifold: the law, with its noise.
        points: `(n, ambient_dim)`, in the manifold's own units.

    Returns:
        The counts beside their band; None if the manifold has no charts.
    """
    if not manifold.charts:
        return None
    from scipy.stats import binom

    n, (bins, mass) = len(points), _law(manifold, len(points))
    counts, near = _counted(manifold, bins, points.double())
    cells = sum(part.size for part in mass)
    found = []
    for chart, edges, count, p in zip(manifold.charts, bins, counts, mass, strict=True):
        low, high = (np.asarray(binom.ppf(q, n, p)) for q in (ALPHA / 2 / cells, 1 - ALPHA / 2 / cells))
        found.append(ChartDensity(chart.title, chart.axes, edges, chart.aspect, count, n * p, low, high))
    return Density(tuple(found), n, 1 - near / max(1, n))


def variation_of_counts(manifold: Manifold, points: Tensor, coordinates: Tensor | None = None) -> float | None:
    """Total variation between counts of points along a manifold and the law, far points in a cell of their own.

    Args:
        manifold: the law, with its noise.
        points: `(n, ambient_dim)`, finite, in the manifold's own units.
        coordinates: of the nearest points of the manifold, `(n, k)`; projected here when None.

    Returns:
        A number from 0 to 1; None if the manifold has no charts.
    """
    if not manifold.charts:
        return None
    n, (bins, mass) = len(points), _law(manifold, len(points))
    counts, near = _counted(manifold, bins, points.double(), coordinates)
    apart = sum(float(np.abs(count / n - p).sum()) for count, p in zip(counts, mass, strict=True))
    away, law_away = 1 - near / n, 1 - sum(float(part.sum()) for part in mass)
    return (apart + abs(away - law_away)) / 2


def nodes_of(manifold: Manifold) -> Tensor | None:
    """Coordinates `(m, k)` at which `variation_of_density` takes a density; None for a set of dimension 0."""
    places = PLACES.get(manifold.intrinsic_dim)
    return None if places is None else manifold.evenly(places)


def variation_of_density(manifold: Manifold, log_density: Tensor) -> float:
    """Total variation between a density on the manifold, normalised along it, and the law without noise.

    Args:
        manifold: the law.
        log_density: log of the density at the points of `nodes_of`, up to a constant, `(m,)`.

    Returns:
        A number from 0 to 1; NaN if the density is not a number somewhere.
    """
    nodes = nodes_of(manifold)
    assert nodes is not None
    law = manifold.density(nodes)
    return float((log_density.double().softmax(0) - law / law.sum()).abs().sum() / 2)


Bins = list[tuple[np.ndarray, ...]]


@lru_cache(maxsize=32)
def _law(manifold: Manifold, n: int) -> tuple[Bins, list[np.ndarray]]:
    """Edges of the cells for n points, and the law's mass in each cell, for every chart."""
    charts = manifold.charts
    grids = [_fine_grid(chart) for chart in charts]
    fine = [_mass(chart, grid, nodes=1) for chart, grid in zip(charts, grids, strict=True)]
    whole = sum(part.sum() for part in fine)
    bins = [_edges(*each, n * each[2].sum() / whole) for each in zip(charts, grids, fine, strict=True)]
    if manifold.noise and manifold.intrinsic_dim:
        found = _nearest_of_noisy(manifold)
        return bins, [_count(chart, edges, found) / DRAWS for chart, edges in zip(charts, bins, strict=True)]
    mass = [_mass(chart, edges) for chart, edges in zip(charts, bins, strict=True)]
    return bins, [part / sum(each.sum() for each in mass) for part in mass]


def _nearest_of_noisy(manifold: Manifold) -> Tensor:
    """Coordinates of the points nearest to noisy samples, among `KNOWN` ones: `project` takes ten times as long."""
    from scipy.spatial import cKDTree

    generator = torch.Generator().manual_seed(0)
    coordinates = manifold.draw(KNOWN, generator)
    noisy = manifold.sample(DRAWS, generator).points
    distance, nearest = cKDTree(manifold.embed(coordinates).numpy()).query(noisy.double().numpy())
    return coordinates[np.asarray(nearest)[distance <= _reach(manifold)]]


def _fine_grid(chart: Chart) -> tuple[np.ndarray, ...]:
    intervals = FINE[len(chart.axes) - 1]
    return tuple(np.linspace(low, high, intervals + 1) for low, high in zip(chart.low, chart.high, strict=True))


def _edges(chart: Chart, grid: tuple[np.ndarray, ...], fine: np.ndarray, expected: float) -> tuple[np.ndarray, ...]:
    """Edges along each axis that cut the marginal of the law, `fine` on a grid, into equal parts."""
    edges = []
    for axis, side in enumerate(chart.cells or _sides(chart, expected)):
        marginal = fine.sum(axis=tuple(other for other in range(fine.ndim) if other != axis))
        below = np.concatenate([[0], np.cumsum(marginal)]) / marginal.sum()
        edges.append(np.interp(np.linspace(0, 1, side + 1), below, grid[axis]))
    return tuple(edges)


def _sides(chart: Chart, expected: float) -> tuple[int, ...]:
    """Number of cells along each axis, for so many expected points."""
    if len(chart.axes) == 1:
        return (int(np.clip(expected // PER_BIN, 4, MOST_BINS)),)
    cells = np.clip(expected // PER_CELL, 16, MOST_CELLS)
    across = int(np.clip(round((cells / chart.aspect) ** 0.5), 3, cells // 4))
    return int(cells // across), across


def _mass(chart: Chart, edges: Sequence[np.ndarray], *, nodes: int = NODES) -> np.ndarray:
    """Integral of the density over each cell."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    places, weights = [], []
    for edge in edges:
        half = np.diff(edge)[:, None] / 2
        places.append((edge[:-1, None] + half + half * x).ravel())
        weights.append((half * w).ravel())
    mesh = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
    value = np.ones(mesh.shape[:-1]) if chart.density is None else chart.density(torch.from_numpy(mesh)).numpy()
    for axis, weight in enumerate(weights):
        value = np.moveaxis(np.moveaxis(value, axis, -1) * weight, -1, axis)
    split = [part for edge in edges for part in (len(edge) - 1, nodes)]
    summed: np.ndarray = value.reshape(split).sum(axis=tuple(range(1, 2 * len(edges), 2)))
    return summed


def _counted(
    manifold: Manifold, bins: Bins, points: Tensor, coordinates: Tensor | None = None
) -> tuple[list[np.ndarray], int]:
    """Points in each cell of each chart, and how many points are near enough to count."""
    if coordinates is None:
        points = points[points.isfinite().all(-1)]
        coordinates = manifold.project(points)
    near = torch.linalg.vector_norm(points - manifold.embed(coordinates), dim=-1) <= _reach(manifold)
    counts = [_count(chart, edges, coordinates[near]) for chart, edges in zip(manifold.charts, bins, strict=True)]
    return counts, int(near.sum())


def _count(chart: Chart, edges: Sequence[np.ndarray], coordinates: Tensor) -> np.ndarray:
    """Points in each cell of a chart; the outer cells are open, for places rounded beyond the chart."""
    places = chart.place(coordinates).numpy()
    places = places[np.isfinite(places).all(1)]
    cells = [np.searchsorted(edge[1:-1], places[:, axis], side="right") for axis, edge in enumerate(edges)]
    count = np.zeros([len(edge) - 1 for edge in edges])
    np.add.at(count, tuple(cells), 1)
    return count


@lru_cache(maxsize=32)
def _reach(manifold: Manifold) -> float:
    """Distance from the manifold within which points count."""
    generator = torch.Generator().manual_seed(0)
    known = manifold.embed(manifold.draw(4096, generator))
    radius = (known - known.mean(0)).square().sum(-1).mean().sqrt().item()
    across: float = max(1, manifold.ambient_dim - manifold.intrinsic_dim) ** 0.5 + DEVIATIONS
    return max(FAR * radius, across * manifold.noise)
