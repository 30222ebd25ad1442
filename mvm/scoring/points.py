"""How good is a fake point cloud? Every score beside its floor: the same score between two real samples.

With real points x_i, fake points y_j (n each), r_i the distance of x_i to its k-th nearest real, k = 5:

    w2          (min over pairings π of mean ‖x_i − y_π(i)‖²)^½        exact, by network simplex
    sliced_w2   the same in 128 fixed random directions, squares averaged: in 1-D, sorting finds the pairing
    mmd         mean_{i≠j} κ(x_i, x_j) + mean_{i≠j} κ(y_i, y_j) − 2·mean κ(x_i, y_j): unbiased, can be < 0
                κ = mean over s = ¼ ½ 1 2 4 of exp(−d²/2(sσ)²), σ the median distance of the reals
    c2st        leave-one-out 1-nearest-neighbour accuracy in telling real from fake; a tie counts one half
    precision   share of fakes within r_i of some real x_i          recall: the same, roles exchanged
    density     mean over fakes of (1/k)·#{i : ‖x_i − y_j‖ < r_i}   coverage: share of reals, a fake in r_i
    chamfer     mean distance of a real point to its nearest fake
    distance_*  exact distance of the fakes to the manifold: mean and 99th percentile
    ks_max      largest Kolmogorov–Smirnov statistic over the intrinsic coordinates of the projected points
    geodesic_*  Spearman correlation of a distance with the true geodesic over random pairs of real points

A score depends on n, so that a number alone says nothing: the floor is measured in the same call, on as many
points. Exact matching of many points uses POT: 0.7 to 1.4 s at n = 2000 whatever the fakes look like, where
`scipy.optimize.linear_sum_assignment` needs 1 s near the target and up to 12 s away from it. Of few points it uses
the latter: at n = 512 both need 20 to 110 ms, and importing POT costs 2.7 s.

Sources: precision and recall, Kynkäänniemi et al. 2019; density and coverage, Naeem et al. 2020; MMD, Gretton
et al. 2012; C2ST, Lopez-Paz & Oquab 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise

if TYPE_CHECKING:
    from toy_manifolds.base import Manifold

__all__ = [
    "SCORES",
    "SCORE_KEYS",
    "Reference",
    "Score",
    "kolmogorov_smirnov",
    "score_points",
    "spearman",
    "wasserstein",
]

NEIGHBOURS = 5  # the k of precision, recall, density and coverage
SMALL = 1000  # points that scipy matches
PROJECTIONS = 128  # directions of the sliced distance
FAR = 3  # floors from the points' mean to the points, that W₂ may choose between generators
PAIRS = 1024  # of real points, for the geodesic correlation; a numerical geodesic costs 10 ms each
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernel mixture, in units of the median distance
LARGEST = 1e150  # squares of larger coordinates overflow: such a cloud counts as non-finite


@dataclass(frozen=True)
class Score:
    """What a score says, for tables and tooltips.

    Attributes:
        label: short name.
        meaning: one line.
        direction: which way is better. "floor": the closer to its floor (to 1 for a ratio) the better, on
            either side.
        floor: key of the floor, None where a floor has no sense.
    """

    label: str
    meaning: str
    direction: Literal["lower", "higher", "floor"]
    floor: str | None = None


SCORES: dict[str, Score] = {
    "w2": Score("W₂", "exact 2-Wasserstein distance between fake and real points", "lower", "w2_floor"),
    "w2_ratio": Score("W₂ / floor", "W₂ in units of its floor: 1 is as near as a second real sample", "floor"),
    "sliced_w2": Score(
        "sliced W₂", f"2-Wasserstein distance over {PROJECTIONS} fixed directions", "lower", "sliced_w2_floor"
    ),
    "sliced_w2_ratio": Score("sliced W₂ / floor", "sliced W₂ in units of its floor", "floor"),
    "mmd": Score("MMD²", "unbiased squared maximum mean discrepancy, five Gaussian kernels", "lower", "mmd_floor"),
    "c2st": Score(
        "C2ST",
        "1-nearest-neighbour, real or fake: .5 cannot tell, 0 copies the reals",
        "floor",
        "c2st_floor",
    ),
    "distance_mean": Score(
        "off-manifold", "mean exact distance of the fakes to the manifold", "lower", "distance_mean_floor"
    ),
    "distance_p99": Score(
        "off-manifold p99",
        "99th percentile of the fakes' exact distance to the manifold",
        "lower",
        "distance_p99_floor",
    ),
    "precision": Score(
        "precision", "share of fakes that lie within the reals' neighbourhoods", "higher", "precision_floor"
    ),
    "recall": Score("recall", "share of reals that lie within the fakes' neighbourhoods", "higher", "recall_floor"),
    "density": Score(
        "density",
        "real neighbourhoods that a fake is in, over k; high: crowded modes",
        "floor",
        "density_floor",
    ),
    "coverage": Score(
        "coverage",
        "share of reals with a fake in their neighbourhood; equal laws: .969",
        "floor",
        "coverage_floor",
    ),
    "chamfer": Score("chamfer", "mean distance of a real point to its nearest fake", "lower", "chamfer_floor"),
    "ks_max": Score(
        "KS",
        "Kolmogorov–Smirnov, intrinsic coordinates: missing or crowded arcs",
        "lower",
        "ks_max_floor",
    ),
    "geodesic_spearman": Score(
        "geodesic ρ", "Spearman correlation of the learned distance with the true geodesic", "higher"
    ),
    "geodesic_spearman_initial": Score("geodesic ρ, untrained", "the same for the metric before training", "higher"),
    "geodesic_spearman_euclidean": Score(
        "geodesic ρ, Euclidean",
        "the same for the plain Euclidean distance: what a learned metric must beat",
        "higher",
    ),
}

SCORE_KEYS: tuple[str, ...] = tuple(
    key for name, score in SCORES.items() for key in (name, score.floor) if key is not None
)


def score_points(
    fake: Tensor,
    real: Tensor,
    floor_sample: Tensor,
    *,
    manifold: Manifold | None = None,
    real_coordinates: Tensor | None = None,
    embed: Callable[[Tensor], Tensor] | None = None,
    initial_embed: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
) -> dict[str, float | None]:
    """All scores of one fake cloud. To score many against the same reals, keep a `Reference`.

    Args: see `Reference` and `Reference.score`.

    Returns:
        {key: value} for every key of `SCORE_KEYS`; None where a score has no meaning.
    """
    reference = Reference(real, floor_sample, manifold=manifold, real_coordinates=real_coordinates, seed=seed)
    return reference.score(fake, embed=embed, initial_embed=initial_embed)


class Reference:
    """Two real samples, prepared once, that any number of fake clouds are scored against.

    Args:
        real: `(n, D)`, in the manifold's own units.
        floor_sample: `(n, D)`, a second, independent real sample.
        manifold: ground truth; without it the scores that need one are None.
        real_coordinates: `(n, intrinsic_dim)` of `real`, for the geodesics; projected from `real` when None.
        seed: of the projections, the geodesic pairs and every subsample: equal input, equal scores.
        size: points taken of each sample; as many as the smaller one has when None. Larger clouds, fake ones
            too, are thinned to it at random.

    Attributes:
        floors: {floor key: value}, each a real sample scored as if it were fake.

    Raises:
        ValueError: a sample is not `(n, D)`, not finite, or has fewer than 6 points; dimensions disagree.
    """

    def __init__(
        self,
        real: Tensor,
        floor_sample: Tensor,
        *,
        manifold: Manifold | None = None,
        real_coordinates: Tensor | None = None,
        seed: int = 0,
        size: int | None = None,
    ):
        for name, points in (("real", real), ("floor_sample", floor_sample)):
            _check_shape(name, points, dim=real.shape[-1])
            if not _usable(points):
                raise ValueError(f"{name} has non-finite (or absurdly large) coordinates")
        self.size = min(len(real), len(floor_sample)) if size is None else size
        self.seed = seed
        self.manifold = manifold
        self._full = (real, floor_sample, real_coordinates)
        self._smaller: dict[int, Reference] = {}
        kept = _subset(len(real), self.size, seed)
        self.points = real[kept]
        self._real_coordinates = None if real_coordinates is None else real_coordinates[kept]
        self._directions = _directions(real.shape[-1], seed)
        self._real = _Cloud(self.points, self._directions)
        self._bandwidth = _median_distance(self._real.points)
        self._real_kernel = _mean_kernel(self._real.within, self._bandwidth, self.size)
        self._coordinates = self._project(self._real.points)
        measured = self._measure(floor_sample)
        self.floors = {score.floor: measured.get(name) for name, score in SCORES.items() if score.floor is not None}

    @property
    def criterion(self) -> str:
        """The score that the best generator has least of: W₂, or sliced W₂ where points have many dimensions.

        There two real samples are nearly as far apart as their points are from their mean, and of two generators W₂
        prefers the one that is too narrow.
        """
        spread = (self.points - self.points.mean(0)).square().sum(-1).mean().sqrt()
        return "w2" if spread > FAR * self.floors["w2_floor"] else "sliced_w2"

    def score(
        self,
        fake: Tensor,
        *,
        embed: Callable[[Tensor], Tensor] | None = None,
        initial_embed: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, float | None]:
        """All scores of one fake cloud.

        Args:
            fake: `(n, D)`. With fewer points than the reference, the floors are those of that many points.
            embed: the learned metric, points `(n, D)` -> embeddings `(n, k)`. Without it the geodesic
                correlations are None: none of them is measured, which on a torus saves seconds (once).
            initial_embed: the same network before training.

        Returns:
            {key: value} for every key of `SCORE_KEYS`. None where a score has no meaning; every score of the
            fakes is None when one of them is not finite.

        Raises:
            ValueError: `fake` is not `(n, D)`, or has fewer than 6 points.
        """
        _check_shape("fake", fake, dim=self.points.shape[-1])
        if len(fake) < self.size:
            return self._at(len(fake)).score(fake, embed=embed, initial_embed=initial_embed)
        scores = dict.fromkeys(SCORE_KEYS) | self.floors
        if _usable(fake):
            scores |= self._measure(fake)
        for key in ("w2", "sliced_w2"):
            scores[f"{key}_ratio"] = _ratio(scores[key], scores[f"{key}_floor"])
        if embed is not None:
            scores["geodesic_spearman"] = self._against_geodesic(embed)
            scores["geodesic_spearman_initial"] = self._against_geodesic(initial_embed)
            scores["geodesic_spearman_euclidean"] = self._euclidean
        return scores

    def _measure(self, points: Tensor) -> dict[str, float | None]:
        real, fake = self._real, _Cloud(points[_subset(len(points), self.size, self.seed)], self._directions)
        across = pairwise(real.points, fake.points)
        inside = across < real.radius[:, None]
        to_fake, to_real = across.amin(1), across.amin(0)
        scores: dict[str, Tensor | float] = {
            "w2": _matching(across),
            "sliced_w2": (real.projections - fake.projections).square().mean().sqrt(),
            "c2st": (_accuracy(real.nearest, to_fake) + _accuracy(fake.nearest, to_real)) / 2,
            "precision": inside.any(0).double().mean(),
            "recall": (across < fake.radius).any(1).double().mean(),
            "density": inside.double().sum() / (NEIGHBOURS * self.size),
            "coverage": (to_fake < real.radius).double().mean(),
            "chamfer": to_fake.mean(),
        }
        if self._bandwidth > 0:
            kernels = [
                _mean_kernel(d, self._bandwidth, diagonal) for d, diagonal in ((fake.within, self.size), (across, 0))
            ]
            scores["mmd"] = self._real_kernel + kernels[0] - 2 * kernels[1]
        if self.manifold is not None:
            coordinates = self._project(fake.points)
            distance = (fake.points - self.manifold.embed(coordinates)).norm(dim=-1)
            scores["distance_mean"] = distance.mean()
            scores["distance_p99"] = distance.quantile(0.99)
            if self.manifold.intrinsic_dim > 0:
                scores["ks_max"] = kolmogorov_smirnov(self._coordinates, coordinates).max()
        return {key: _finite(float(value)) for key, value in scores.items()}

    def _project(self, points: Tensor) -> Tensor | None:
        """Coordinates of the nearest manifold points, noise projected away for real and fake alike."""
        return None if self.manifold is None else self.manifold.project(points)

    @cached_property
    def _geodesics(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Indices i, j into the reals and the geodesic between them, for pairs that a path connects."""
        if self.manifold is None or self.manifold.intrinsic_dim == 0:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        i = torch.randint(self.size, (PAIRS,), generator=generator)
        j = (i + torch.randint(1, self.size, (PAIRS,), generator=generator)) % self.size  # never i itself
        coordinates = self._coordinates if self._real_coordinates is None else self._real_coordinates
        geodesic = self.manifold.geodesic(coordinates[i], coordinates[j]).double().cpu()
        kept = geodesic.isfinite()
        return i[kept], j[kept], geodesic[kept]

    @cached_property
    def _euclidean(self) -> float | None:
        return self._against_geodesic(lambda points: points)

    def _against_geodesic(self, embed: Callable[[Tensor], Tensor] | None) -> float | None:
        if embed is None or self._geodesics is None:
            return None
        i, j, geodesic = self._geodesics
        with torch.no_grad():
            embedding = embed(self.points).detach().double().cpu()
        return spearman((embedding[i] - embedding[j]).norm(dim=-1), geodesic)

    def _at(self, size: int) -> Reference:
        if size not in self._smaller:
            real, floor_sample, coordinates = self._full
            self._smaller[size] = Reference(
                real,
                floor_sample,
                manifold=self.manifold,
                real_coordinates=coordinates,
                seed=self.seed,
                size=size,
            )
        return self._smaller[size]


def wasserstein(x: Tensor, y: Tensor) -> float:
    """Exact 2-Wasserstein distance between two equally large point sets `(n, D)`, equal weights.

    Raises:
        ValueError: the sets are not equally large.
    """
    if len(x) != len(y):
        raise ValueError(f"exact matching needs equally many points, got {len(x)} and {len(y)}")
    return _matching(pairwise(x.detach().double().cpu(), y.detach().double().cpu()))


def kolmogorov_smirnov(x: Tensor, y: Tensor) -> Tensor:
    """Two-sample Kolmogorov–Smirnov statistic of each column: largest gap between the empirical laws.

    Args:
        x: `(n, c)`.
        y: `(m, c)`.

    Returns:
        `(c,)` in [0, 1].
    """
    x, y = (v.double().mT.contiguous().sort().values for v in (x, y))
    values = torch.cat([x, y], dim=-1)
    below = [torch.searchsorted(v, values, right=True).double() / v.shape[-1] for v in (x, y)]
    return (below[0] - below[1]).abs().amax(-1)


def spearman(x: Tensor, y: Tensor) -> float | None:
    """Spearman correlation of two vectors `(n,)`, mean ranks for ties; None if one is constant or NaN."""
    if len(x) < 3 or not (x.isfinite().all() and y.isfinite().all()):
        return None
    x, y = (_ranks(v) for v in (x, y))
    x, y = x - x.mean(), y - y.mean()
    scale = x.norm() * y.norm()
    return float(x @ y / scale) if scale > 0 else None


class _Cloud:
    """A point cloud with all that needs no second one: distances, neighbours, sorted projections."""

    def __init__(self, points: Tensor, directions: Tensor):
        self.points = points.detach().double().cpu()
        self.within = pairwise(self.points)
        neighbours = self.within.topk(NEIGHBOURS + 1, largest=False).values  # the first is the point itself
        self.nearest, self.radius = neighbours[:, 1], neighbours[:, NEIGHBOURS]
        self.projections = (directions @ self.points.mT).sort(dim=-1).values


def _matching(across: Tensor) -> float:
    cost = across.square().numpy()
    if len(cost) <= SMALL:
        from scipy.optimize import linear_sum_assignment

        return math.sqrt(cost[linear_sum_assignment(cost)].mean())
    from ot.lp import emd2

    largest = cost.max()
    if largest == 0:
        return 0.0
    weights = torch.full((len(cost),), 1 / len(cost), dtype=torch.float64).numpy()
    # unit scale: the simplex has absolute tolerances. 1e7 iterations: its default stops too early at n = 2000
    return math.sqrt(max(0.0, largest * emd2(weights, weights, cost / largest, numItermax=10**7)))


def _mean_kernel(distances: Tensor, bandwidth: float, diagonal: int) -> Tensor:
    """Mean of κ over the entries, less `diagonal` of them (those of a point with itself, where κ = 1)."""
    if bandwidth == 0:
        return torch.zeros(())
    square = distances.square()
    total = torch.zeros((), dtype=torch.float64)
    for s in BANDWIDTHS:
        total += (square * (-0.5 / (s * bandwidth) ** 2)).exp_().sum()
    return (total / len(BANDWIDTHS) - diagonal) / (distances.numel() - diagonal)


def _accuracy(same: Tensor, other: Tensor) -> Tensor:
    return ((same < other).double() + 0.5 * (same == other).double()).mean()


def _median_distance(points: Tensor) -> float:
    return float(torch.pdist(points).median())


def _directions(dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(PROJECTIONS, dim, generator=generator, dtype=torch.float64)
    return directions / directions.norm(dim=-1, keepdim=True)


def _ranks(x: Tensor) -> Tensor:
    _, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[inverse]


def _subset(total: int, size: int, seed: int) -> Tensor | slice:
    if total == size:
        return slice(None)
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:size].sort().values


def _check_shape(name: str, points: Tensor, *, dim: int) -> None:
    if points.ndim != 2 or points.shape[1] != dim:
        raise ValueError(f"{name} must be (n, {dim}) points, got shape {tuple(points.shape)}")
    if len(points) <= NEIGHBOURS:
        raise ValueError(f"{name} has {len(points)} points: the scores need at least {NEIGHBOURS + 1}")


def _usable(points: Tensor) -> bool:
    return bool((points.detach().double().abs() < LARGEST).all())  # false for NaN too


def _ratio(value: float | None, floor: float | None) -> float | None:
    return None if value is None or not floor else value / floor


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
