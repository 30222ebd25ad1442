"""Scores of generated point clouds, each beside its baseline: the same score between two real samples.

With real points x_i, fake points y_j (n each), r_i the distance of x_i to its k-th nearest real, k = 5:

    w2          (min over pairings π of mean ‖x_i − y_π(i)‖²)^½        exact, by network simplex, of at most 4,000
    sliced_w2   the same in 128 fixed random directions, squares averaged: in 1-D, sorting finds the pairing
    mmd         mean_{i≠j} κ(x_i, x_j) + mean_{i≠j} κ(y_i, y_j) − 2·mean κ(x_i, y_j): unbiased, can be < 0
                κ = mean over s = ¼ ½ 1 2 4 of exp(−d²/2(sσ)²), σ the median distance of the reals
    c2st        leave-one-out 1-nearest-neighbour accuracy in separating real from fake; a tie counts one half
    precision, recall, density, coverage     as in `mvm.scoring.score`
    chamfer     mean distance of a real point to its nearest fake
    distance_*  exact distance of the fakes to the manifold: mean and 99th percentile
    ks_max      largest Kolmogorov–Smirnov statistic over the intrinsic coordinates of the projected points
    log_likelihood    mean of log q(x_i) in nats, x_i standardised, for a generator with a density q (`log_density`)
    total_variation*  of the fakes' counts along the manifold, or of q on it, to the law of the data: `density.py`
    geodesic_*  Spearman correlation of a distance with the true geodesic over random pairs of real points

A score depends on n and means nothing alone: the baseline is measured in the same call, on as many points. Distances
are held in blocks of 32 MiB, so that memory does not grow with n², and of more than 4,000 points W₂ matches a random
4,000: a pairing of n points takes time n³. Exact matching of many points uses POT: 0.7 to 1.4 s at n = 2000 for any
fakes, where `scipy.optimize.linear_sum_assignment` needs 1 s near the target and up to 12 s away from it. Few points
use the latter: at n = 512 both need 20 to 110 ms, and importing POT costs 2.7 s.

Sources: MMD, Gretton et al. 2012; C2ST, Lopez-Paz & Oquab 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.scoring.density import nodes_of, variation_of_counts, variation_of_density
from mvm.scoring.score import NEIGHBOURS, Coordinates, Score, neighbourhood_scores, ratio, thinned, tie_of

if TYPE_CHECKING:
    from toy_manifolds.base import Manifold

__all__ = ["SCORES", "SCORE_KEYS", "Reference", "spearman"]

SMALL = 1000  # largest sample that scipy matches
MATCHED = 4000  # largest samples that W₂ matches: POT needs 6 s and 0.6 GB for them
BLOCK = 2**22  # entries of a distance block held at once
PROJECTIONS = 128  # directions of the sliced distance
FAR = 3  # W₂ selects between generators only if the data's spread exceeds this many baselines
PAIRS = 1024  # pairs of real points for the geodesic correlation; a numerical geodesic costs 10 ms each
BANDWIDTH_POINTS = 4096  # the median distance of the reals is that of at most so many
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # kernel mixture, in units of the median distance
LARGEST = 1e150  # squares of larger coordinates overflow: such a cloud counts as non-finite

SCORES: dict[str, Score] = {
    "w2": Score("W₂", "exact 2-Wasserstein distance between fake and real points", "lower", "w2_floor"),
    "w2_ratio": Score(
        "W₂ / baseline", "W₂ in units of its baseline: 1 is the distance of a second real sample", "floor"
    ),
    "sliced_w2": Score(
        "sliced W₂", f"2-Wasserstein distance over {PROJECTIONS} fixed directions", "lower", "sliced_w2_floor"
    ),
    "sliced_w2_ratio": Score("sliced W₂ / baseline", "sliced W₂ in units of its baseline", "floor"),
    "mmd": Score(
        "MMD²",
        "unbiased squared maximum mean discrepancy, five Gaussian kernels",
        "lower",
        "mmd_floor",
        about_zero=True,
    ),
    "c2st": Score(
        "C2ST",
        "1-nearest-neighbour, real or fake: .5 cannot tell, 0 copies the reals",
        "floor",
        "c2st_floor",
    ),
    "distance_mean": Score(
        "off-manifold",
        "mean exact distance of the fakes to the manifold",
        "lower",
        "distance_mean_floor",
        about_zero=True,
    ),
    "distance_p99": Score(
        "off-manifold p99",
        "99th percentile of the fakes' exact distance to the manifold",
        "lower",
        "distance_p99_floor",
        about_zero=True,
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
    "total_variation_samples": Score(
        "TV of counts",
        "total variation between the law of the data and counts of fakes in cells along the manifold; off it counts",
        "lower",
        "total_variation_samples_floor",
    ),
    "total_variation": Score(
        "TV of density",
        "total variation between the law of the data and the model's density on the manifold, normalised along it; "
        "0 is exact. If data or model have noise, their densities are blurred by it, the law is not",
        "lower",
        "total_variation_floor",
        about_zero=True,
    ),
    "log_likelihood": Score(
        "log-likelihood",
        "mean log density of held-out reals under the model, in nats, in standardised coordinates (on a manifold "
        "without noise it has no upper bound)",
        "higher",
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


class Reference:
    """Two real samples, prepared once, against which any number of fake clouds are scored.

    Args:
        real: `(n, D)`, in the data's own units.
        floor_sample: `(n, D)`, a second, independent real sample: its scores are the baselines.
        manifold: ground truth; without it, scores that need one are None.
        real_coordinates: intrinsic coordinates of `real` `(n, intrinsic_dim)`, for the geodesics; projected from `real`
            when None.
        seed: seeds the projections, the geodesic pairs and every subsample: equal input gives equal scores.
        size: points used of each sample; the size of the smaller sample when None. Larger clouds, fake ones too, are
            thinned to it at random.
        standardise: maps points to the coordinates that are compared; own units when None.
        on_progress: called with the number of samples measured so far, of the two real ones and of every fake one.

    Attributes:
        floors: baselines {floor key: value}: the second real sample scored as if it were fake.

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
        standardise: Callable[[Tensor], Tensor] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        for name, points in (("real", real), ("floor_sample", floor_sample)):
            _check_shape(name, points, dim=real.shape[-1])
            if not _usable(points):
                raise ValueError(f"{name} has non-finite (or absurdly large) coordinates")
        self.coordinates: Coordinates = "own" if standardise is None else "standardised"
        self.size = min(len(real), len(floor_sample)) if size is None else size
        self.seed = seed
        self.manifold = manifold
        self._full = (real, floor_sample, real_coordinates)
        self._smaller: dict[int, Reference] = {}
        self._standardise, self._on_progress, self._measured = standardise, on_progress, 0.0
        self._counting = Lock()
        self.points = thinned(self._compared(real), self.size, seed)
        self._real_coordinates = None if real_coordinates is None else thinned(real_coordinates, self.size, seed)
        self._directions = _directions(real.shape[-1], seed)
        self._bandwidth = _median_distance(thinned(self.points, BANDWIDTH_POINTS, seed))
        self._tie = tie_of(self.points)
        self._real = self._cloud(self.points)
        self._count(1)
        # real and fake alike: noise is projected away
        self._coordinates = None if manifold is None else manifold.project(self._real.points)
        measured = self._measure(self._compared(floor_sample))
        self.floors = {score.floor: measured.get(name) for name, score in SCORES.items() if score.floor is not None}
        self.floors["total_variation_floor"] = None if self._nodes is None else 0.0

    @property
    def criterion(self) -> str:
        """Key of the score whose least value selects the best generator: W₂, or sliced W₂ in high dimension.

        In high dimension two real samples are nearly as far apart as their points are from their mean, and W₂ prefers a
        generator whose samples are too narrow.
        """
        spread = float((self.points - self.points.mean(0)).square().sum(-1).mean().sqrt())
        baseline = self.floors["w2_floor"]
        return "w2" if baseline is not None and spread > FAR * baseline else "sliced_w2"

    @cached_property
    def density_points(self) -> Tensor:
        """Points at which `score` takes the log density of a model, `(m, D)`, in own units.

        The real ones, then those on the manifold along which the total variation is an integral, if it is known.
        """
        real = thinned(self._full[0], self.size, self.seed)
        if self._nodes is None or self.manifold is None:
            return real
        return torch.cat([real, self.manifold.embed(self._nodes).to(real)])

    @cached_property
    def _nodes(self) -> Tensor | None:
        return None if self.manifold is None else nodes_of(self.manifold)

    def score(
        self,
        fake: Tensor,
        *,
        embed: Callable[[Tensor], Tensor] | None = None,
        initial_embed: Callable[[Tensor], Tensor] | None = None,
        log_density: Tensor | None = None,
    ) -> dict[str, float | None]:
        """All scores of one fake cloud.

        Args:
            fake: `(n, D)`. If it is smaller than the reference, the baselines are measured anew at its size.
            embed: the learned metric, points `(n, D)` to embeddings `(n, k)`. Without it, no geodesic correlation is
                measured (all are None), which saves seconds on a torus, once.
            initial_embed: the same network before training.
            log_density: of the model at `density_points`, in standardised coordinates, `(m,)`. Without it, likelihood
                and total variation of the density are None.

        Returns:
            {key: value} for every key of `SCORE_KEYS`. None where a score has no meaning for the data; every score of
            the fakes is None if one of their coordinates is not finite.

        Raises:
            ValueError: `fake` is not `(n, D)`, or has fewer than 6 points.
        """
        _check_shape("fake", fake, dim=self.points.shape[-1])
        if len(fake) < self.size:
            smaller = self._at(len(fake)).score(fake, embed=embed, initial_embed=initial_embed)
            return smaller | self._likelihood(log_density)
        scores: dict[str, float | None] = dict.fromkeys(SCORE_KEYS) | self.floors
        if _usable(fake):
            scores |= self._measure(self._compared(fake))
        for key in ("w2", "sliced_w2"):
            scores[f"{key}_ratio"] = ratio(scores[key], scores[f"{key}_floor"])
        if embed is not None:
            scores["geodesic_spearman"] = self._against_geodesic(embed)
            scores["geodesic_spearman_initial"] = self._against_geodesic(initial_embed)
            scores["geodesic_spearman_euclidean"] = self._euclidean
        return scores | self._likelihood(log_density)

    def _likelihood(self, log_density: Tensor | None) -> dict[str, float | None]:
        """Scores of a model's log density at `density_points`."""
        if log_density is None:
            return {}
        found = {"log_likelihood": _finite(float(log_density[: self.size].double().mean()))}
        if self.manifold is not None and self._nodes is not None:
            found["total_variation"] = _finite(variation_of_density(self.manifold, log_density[self.size :]))
        return found

    def _measure(self, points: Tensor) -> dict[str, float | None]:
        real, fake = self._real, self._cloud(thinned(points, self.size, self.seed))
        self._count(0.5)
        to_fake, to_real = torch.empty(self.size).double(), torch.full((self.size,), math.inf).double()
        across_kernel = torch.zeros((), dtype=torch.float64)

        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            for rows, distances in _distance_blocks(real.points, fake.points):
                to_fake[rows] = distances.amin(1)
                torch.minimum(to_real, distances.amin(0), out=to_real)
                across_kernel.add_(_kernel_sum(distances, self._bandwidth))
                yield real.radius[rows], distances
                self._count(0.5 * len(distances) / self.size)

        scores: dict[str, Tensor | float] = {
            **neighbourhood_scores(blocks(), fake.radius, tie=self._tie),
            "w2": _matching(real.points, fake.points, self.seed),
            "sliced_w2": (real.projections - fake.projections).square().mean().sqrt(),
            "c2st": (_accuracy(real.nearest, to_fake, self._tie) + _accuracy(fake.nearest, to_real, self._tie)) / 2,
            "chamfer": to_fake.mean(),
        }
        if self._bandwidth > 0:
            within = real.kernel_mean + fake.kernel_mean
            scores["mmd"] = within - 2 * across_kernel / (len(BANDWIDTHS) * self.size**2)
        if self.manifold is not None and self._coordinates is not None:
            coordinates = self.manifold.project(fake.points)
            distance = (fake.points - self.manifold.embed(coordinates)).norm(dim=-1)
            scores["distance_mean"] = distance.mean()
            scores["distance_p99"] = distance.quantile(0.99)
            if (variation := variation_of_counts(self.manifold, fake.points, coordinates)) is not None:
                scores["total_variation_samples"] = variation
            if self.manifold.intrinsic_dim > 0:
                from scipy.stats import ks_2samp

                # "asymp": the p-value is not used, and an exact one takes longer than the statistic
                per_column = ks_2samp(self._coordinates.numpy(), coordinates.numpy(), method="asymp")
                scores["ks_max"] = per_column.statistic.max()
        return {key: _finite(float(value)) for key, value in scores.items()}

    def _compared(self, points: Tensor) -> Tensor:
        """Points in the coordinates that are compared."""
        return points if self._standardise is None else self._standardise(points.double())

    def _cloud(self, points: Tensor) -> _PointCloud:
        return _PointCloud(points, self._directions, self._bandwidth)

    def _count(self, samples: float) -> None:
        with self._counting:  # members may be scored side by side
            self._measured += samples
            if self._on_progress:
                self._on_progress(self._measured)

    @cached_property
    def _geodesics(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Indices i, j into the reals and the geodesic between them, `(pairs,)` each, of pairs that a path connects."""
        if self.manifold is None or self._coordinates is None or self.manifold.intrinsic_dim == 0:
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
                standardise=self._standardise,
            )
        return self._smaller[size]


def spearman(x: Tensor, y: Tensor) -> float | None:
    """Spearman correlation of two vectors `(n,)`; None if n < 3, or one of them is constant or not finite."""
    from scipy.stats import spearmanr

    if len(x) < 3 or not (x.isfinite().all() and y.isfinite().all()) or x.min() == x.max() or y.min() == y.max():
        return None
    return float(spearmanr(x.numpy(), y.numpy()).statistic)


class _PointCloud:
    """A point cloud with everything that needs no second cloud.

    Attributes:
        points: `(n, D)` float64.
        nearest, radius: distance of each point to its nearest and to its k-th nearest, `(n,)`.
        kernel_mean: mean of κ over pairs of different points.
        projections: sorted coordinates along each direction, `(directions, n)`.
    """

    def __init__(self, points: Tensor, directions: Tensor, bandwidth: float) -> None:
        self.points = points.detach().double().cpu()
        n = len(self.points)
        self.nearest, self.radius = torch.empty(2, n, dtype=torch.float64)
        total = torch.zeros((), dtype=torch.float64)
        for rows, distances in _distance_blocks(self.points, self.points):
            neighbours = distances.topk(NEIGHBOURS + 1, largest=False).values  # the first is the point itself
            self.nearest[rows], self.radius[rows] = neighbours[:, 1], neighbours[:, NEIGHBOURS]
            total += _kernel_sum(distances, bandwidth)
        self.kernel_mean = (total / len(BANDWIDTHS) - n) / (n * n - n)  # a point paired with itself has κ = 1
        self.projections = (directions @ self.points.mT).sort(dim=-1).values


def _distance_blocks(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of `x` `(n, D)`, and their distances to all of `y` `(m, D)`, `(rows, m)`, in blocks of bounded memory."""
    rows = max(1, BLOCK // len(y))
    for start in range(0, len(x), rows):
        block = slice(start, min(start + rows, len(x)))
        yield block, pairwise(x[block], y)


def _matching(real: Tensor, fake: Tensor, seed: int) -> float:
    """W₂ of two equally large samples `(n, D)`; of more than `MATCHED` points, of that many drawn at random."""
    cost = pairwise(thinned(real, MATCHED, seed), thinned(fake, MATCHED, seed)).square().numpy()
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


def _kernel_sum(distances: Tensor, bandwidth: float) -> Tensor:
    """Sum over the entries of the kernels of all bandwidths; 0 without a bandwidth."""
    total = torch.zeros((), dtype=torch.float64)
    if bandwidth == 0:
        return total
    square = distances.square()
    for s in BANDWIDTHS:
        total += (square * (-0.5 / (s * bandwidth) ** 2)).exp_().sum()
    return total


def _accuracy(same: Tensor, other: Tensor, tie: float) -> Tensor:
    """Share of points whose nearest neighbour, at distance `same` or `other` `(n,)`, is of their own sample."""
    nearer, farther = (same < other - tie).double(), (same > other + tie).double()
    return ((nearer - farther + 1) / 2).mean()


def _median_distance(points: Tensor) -> float:
    return float(torch.pdist(points).median())


def _directions(dim: int, seed: int) -> Tensor:
    """Random unit vectors `(PROJECTIONS, dim)`."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(PROJECTIONS, dim, generator=generator, dtype=torch.float64)
    lengths: Tensor = directions.norm(dim=-1, keepdim=True)
    return directions / lengths


def _check_shape(name: str, points: Tensor, *, dim: int) -> None:
    if points.ndim != 2 or points.shape[1] != dim:
        raise ValueError(f"{name} must be (n, {dim}) points, got shape {tuple(points.shape)}")
    if len(points) <= NEIGHBOURS:
        raise ValueError(f"{name} has {len(points)} points: the scores need at least {NEIGHBOURS + 1}")


def _usable(points: Tensor) -> bool:
    return bool((points.detach().double().abs() < LARGEST).all())  # false for NaN too


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
