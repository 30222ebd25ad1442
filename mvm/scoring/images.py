"""Scores of generated images, each beside its baseline: the same score of a second real sample.

With features x_i of the reals and y_j of the fakes (n each, in R^d; `mvm.scoring.features`), means μ, covariances Σ:

    fd            ‖μ_x − μ_y‖² + tr Σ_x + tr Σ_y − 2·tr(Σ_x^½ Σ_y Σ_x^½)^½: the FID for Inception's features
    kid           mean_{i≠j} κ(x_i, x_j) + mean_{i≠j} κ(y_i, y_j) − 2·mean κ(x_i, y_j), κ(x, y) = (⟨x, y⟩/d + 1)³
                  unbiased, over all pairs, not times 1000; can be < 0
    precision, recall, density, coverage          as in `mvm.scoring.score`, k = 5
    memorised     share of fakes closer to a training image than 99 % of unseen reals are
    nearest_ratio median distance of the fakes to their nearest training image, over the same median of unseen reals
                  these two count the mirror image of a training image if training mirrors; Inception has neither

Toy faces have known factors, which a network reads from real and fake images alike:

    factor.NAME   overlap Σ_b min(p_b, q_b) = 1 − total variation of the factor's two histograms, in 20 bins that hold
                  equally many reals: 1 if all values are as frequent, ½ if half of the values are missing

The reals must be held out from training: their distances to the training images are what `memorised` compares with.

Sources: FID, Heusel et al. 2017; KID, Bińkowski et al. 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.scoring.features import Extractor, FactorRegressor, Inception, check_images
from mvm.scoring.points import SCORES
from mvm.scoring.score import NEIGHBOURS, Coordinates, Score, neighbourhood_scores, ratio, thinned, tie_of
from mvm.scoring.superres import SUPERRES_SCORES
from toy_manifolds.faces import FACTORS

__all__ = [
    "FACTOR_SCORES",
    "IMAGE_SCORES",
    "Gallery",
    "Gaussian",
    "ImageReference",
    "Neighbours",
    "describe",
    "frechet",
    "kernel_distance",
    "overlap",
]

BINS = 20
RARE = 0.01  # quantile of the unseen reals' nearest distances below which a fake counts as memorised
BLOCK = 2**23  # entries of a distance block held at once

# scores of each extractor, reported under EXTRACTOR.KEY
IMAGE_SCORES: dict[str, Score] = {
    "fd": Score("Fréchet", "Fréchet distance of the two Gaussians fitted to the features", "lower"),
    "kid": Score(
        "KID", "unbiased squared maximum mean discrepancy of the features, cubic kernel", "lower", about_zero=True
    ),
    **{key: replace(SCORES[key], floor=None) for key in ("precision", "recall", "density", "coverage")},
    "memorised": Score(
        "memorised",
        "share of fakes closer to a training picture than 99 of 100 unseen reals are",
        "lower",
        about_zero=True,
    ),
    "nearest_ratio": Score(
        "nearest / real", "median distance to the nearest training picture, over the same median of reals", "floor"
    ),
}

# scores of toy faces
FACTOR_SCORES: dict[str, Score] = {
    **{
        f"factor.{name}": Score(name.replace("_", " "), f"overlap of fake and real: {text}", "higher")
        for name, text in FACTORS.items()
    },
    "factor_mean": Score("factors", "overlap of fake and real, mean over the twelve factors", "higher"),
}


def describe(key: str) -> Score:
    """Description of the score under a key of a reference's `score`, with its baseline's key.

    A score of another kind of data has its key as its label.

    Raises:
        KeyError: no score has this key (a baseline is not a score).
    """
    if known := SCORES.get(key) or SUPERRES_SCORES.get(key):
        return known
    extractor, _, name = key.partition(".")
    if key not in FACTOR_SCORES and name not in IMAGE_SCORES and not key.endswith("_floor"):
        return Score(key.replace("_", " "), "a score of this kind of data", "floor", f"{key}_floor")
    score = FACTOR_SCORES[key] if key in FACTOR_SCORES else IMAGE_SCORES[name]
    label = score.label if key in FACTOR_SCORES else f"{score.label} ({extractor})"
    return replace(score, label=label, floor=f"{key}_floor")


class ImageReference:
    """Two real samples and the training images in the features of some extractors; fakes are scored against them.

    Args:
        real: `(n, size, size, 3)` uint8, held out from training.
        floor: a second held-out sample, independent of `real`: its scores are the baselines.
        train: batches `(·, size, size, 3)` uint8 of training images; a copy of an image left out is not noticed.
        flips: whether mirror images of the training images count as training images.
        extractors: feature extractors. A `FactorRegressor` among them adds the scores of the factors.
        seed: seeds the thinning of samples to one size.
        on_progress: called with the number of samples measured so far.

    Attributes:
        coordinates: "own": features of images in their own units.
        size: number of images compared in each sample.
        floors: baselines {floor key: value}: `floor` scored as if it were fake.
        criterion: key of the score whose least value selects the best generator, by the first extractor.

    Raises:
        ValueError: a sample has another shape or type, real or floor has fewer than 6 images, or two extractors have
            the same name.
    """

    def __init__(
        self,
        real: Tensor,
        floor: Tensor,
        train: Iterable[Tensor],
        extractors: Sequence[Extractor],
        *,
        flips: bool = False,
        seed: int = 0,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        _check("real", real, NEIGHBOURS + 1)
        _check("floor", floor, NEIGHBOURS + 1)
        self._extractors = {extractor.name: extractor for extractor in extractors}
        if len(self._extractors) < len(extractors):
            raise ValueError(f"extractors: two of {[extractor.name for extractor in extractors]} have one name")
        self.seed = seed
        self._samples = {name: (extractor(real), extractor(floor)) for name, extractor in self._extractors.items()}
        self._train = _trained_on(train, [each for each in extractors if not isinstance(each, Inception)], flips)
        self._spaces: dict[tuple[str, int], _FeatureSpace] = {}
        self.size = min(len(real), len(floor))
        self.criterion = f"{extractors[0].name}.fd"
        self.coordinates: Coordinates = "own"
        self.floors = self._floors(self.size)
        self._on_progress, self._measured, self._counting = on_progress, 1, Lock()
        self._count()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the scores, without their baselines; `describe` gives the meaning of each."""
        return tuple(key.removesuffix("_floor") for key in self.floors)

    def score(self, fake: Tensor) -> dict[str, float | None]:
        """All scores of fake images `(n, size, size, 3)` uint8; the larger of two samples is thinned at random.

        Returns:
            {key: value} for every key and its baseline, at the size of the smaller sample. None where a score has no
            meaning; every score of an extractor is None if a feature of the fakes is not finite.

        Raises:
            ValueError: `fake` has another shape or type, or fewer than 6 images.
        """
        _check("fake", fake, NEIGHBOURS + 1)
        size = min(len(fake), self.size)
        fake = thinned(fake, size, self.seed)
        scores = self._floors(size)
        for name, extractor in self._extractors.items():
            scores |= self._space(name, size).measure(extractor(fake))
        self._count()
        return scores

    def _count(self) -> None:
        with self._counting:  # members may be scored side by side
            self._measured += 1
            if self._on_progress:
                self._on_progress(self._measured)

    def _floors(self, size: int) -> dict[str, float | None]:
        floors: dict[str, float | None] = {}
        for name in self._extractors:
            floors |= {f"{key}_floor": value for key, value in self._space(name, size).floors.items()}
        return floors

    def _space(self, name: str, size: int) -> _FeatureSpace:
        if (name, size) not in self._spaces:
            real, floor = (thinned(sample, size, self.seed) for sample in self._samples[name])
            self._spaces[name, size] = _FeatureSpace(self._extractors[name], real, floor, self._train.get(name))
        return self._spaces[name, size]


def _trained_on(parts: Iterable[Tensor], extractors: Sequence[Extractor], flips: bool) -> dict[str, Tensor]:
    """Features of the training images by each extractor's name, as `_features_of` gives them."""
    found: dict[str, list[Tensor]] = {extractor.name: [] for extractor in extractors}
    for images in parts:
        _check("train", images, 1)
        for extractor in extractors:
            found[extractor.name].append(_features_of(extractor, images, flips))
    return {name: torch.cat(features, dim=1) for name, features in found.items()}


def _features_of(extractor: Extractor, images: Tensor, flips: bool) -> Tensor:
    """Features of the images, and with `flips` of their mirror images: `(1 or 2, n, d)` float64."""
    both = [images, images.flip(-2)] if flips else [images]
    return torch.stack([extractor(each) for each in both]).double()


class _FeatureSpace:
    """Real sample and training images in the features of one extractor; without training images none is memorised.

    Args:
        extractor: of the features.
        real, floor: features `(n, d)` of both real samples.
        train: features `(1 or 2, m, d)` of the training images and their mirror images, or None.
    """

    def __init__(self, extractor: Extractor, real: Tensor, floor: Tensor, train: Tensor | None) -> None:
        self.extractor, self.train = extractor, train
        self.real = _FeatureCloud(real.double())
        self.unseen = None if train is None else _neighbours(self.real.points, train, 1).distances[:, 0]
        self.tie = tie_of(self.real.points)
        self.floors = self.measure(floor)

    def measure(self, features: Tensor) -> dict[str, float | None]:
        """Scores of fakes with these features `(n, d)`."""
        scores: dict[str, float | None] = dict.fromkeys(IMAGE_SCORES)
        if features.isfinite().all():
            fake = _FeatureCloud(features.double())
            scores["fd"] = frechet(self.real.gaussian, fake.gaussian)
            scores["kid"] = kernel_distance(self.real.points, fake.points)
            scores |= neighbourhood_scores(_distance_blocks(self.real, fake), fake.radius, tie=self.tie)
            if self.train is not None and self.unseen is not None:
                near = _neighbours(fake.points, self.train, 1).distances[:, 0]
                scores["memorised"] = float((near < self.unseen.quantile(RARE)).double().mean())
                scores["nearest_ratio"] = ratio(float(near.median()), float(self.unseen.median()))
        scores = {f"{self.extractor.name}.{key}": value for key, value in scores.items()}
        if isinstance(self.extractor, FactorRegressor):
            scores |= _factor_scores(*(self.extractor.read(x.float()).double() for x in (self.real.points, features)))
        return scores


class _FeatureCloud:
    """Features of one sample with everything that needs no second sample.

    Attributes:
        points: `(n, d)` float64.
        radius: distance of each to its k-th nearest other, `(n,)`.
        gaussian: the normal law with their mean and covariance.
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.radius = _neighbours(points, points[None], NEIGHBOURS + 1).distances[:, -1]  # the first: itself
        self.gaussian = Gaussian.of(points)


@dataclass(frozen=True)
class Gaussian:
    """A normal law: mean `(d,)` and covariance `(d, d)`, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Gaussian:
        """Mean and unbiased covariance of samples `(n, d)`; n may be less than d."""
        x = x.double()
        return cls(x.mean(0), x.mT.cov().reshape(x.shape[1], -1))

    @cached_property
    def root(self) -> Tensor:
        """Σ^½."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = vectors * values.clamp_min(0).sqrt() @ vectors.mT
        return root


def frechet(p: Gaussian, q: Gaussian) -> float:
    """‖μ_p − μ_q‖² + tr Σ_p + tr Σ_q − 2·tr(Σ_p^½ Σ_q Σ_p^½)^½: the squared 2-Wasserstein distance of the two."""
    cross = torch.linalg.eigvalsh(p.root @ q.covariance @ p.root).clamp_min(0).sqrt().sum()
    square = (p.mean - q.mean).square().sum() + p.covariance.trace() + q.covariance.trace() - 2 * cross
    return float(square.clamp_min(0))


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """KID of features `(n, d)` and `(m, d)`: unbiased MMD² of the kernel (⟨x, y⟩/d + 1)³, over all pairs."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.mT / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.trace()) / (len(a) * (len(a) - 1))

    x, y = x.double(), y.double()
    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def overlap(x: Tensor, y: Tensor) -> float:
    """1 − total variation of the histograms of `x` `(n,)` and `y` `(m,)`, in `BINS` bins of equal mass under `x`."""
    edges = x.quantile(torch.linspace(0, 1, BINS + 1, dtype=x.dtype)[1:-1])
    p, q = (torch.bucketize(v.contiguous(), edges).bincount(minlength=BINS).double() / len(v) for v in (x, y))
    return float(torch.minimum(p, q).sum())


class Neighbours(NamedTuple):
    """Indices and distances of the k nearest of each query, `(n, k)` each, nearest first."""

    indices: Tensor
    distances: Tensor


class Gallery:
    """Training images with their features, to look up the nearest ones to any image.

    Args:
        images: `(n, size, size, 3)` uint8.
        features: extractor whose feature space defines distance.
        numbers: their places in the training set, `(n,)`, ascending; 0 to n − 1 when None.
        flips: the distance to an image is the lesser of those to itself and to its mirror image.
    """

    def __init__(
        self, images: Tensor, features: Extractor, *, numbers: Tensor | None = None, flips: bool = False
    ) -> None:
        self.images, self._features = images, features
        self.numbers = torch.arange(len(images)) if numbers is None else numbers
        self._points = _features_of(features, images, flips)

    def nearest(self, fake: Tensor, k: int) -> Neighbours:
        """The `k` nearest training images of each fake image, or all if there are fewer."""
        return _neighbours(self._features(fake).double(), self._points, min(k, len(self.images)))


def _neighbours(x: Tensor, y: Tensor, k: int) -> Neighbours:
    """The `k` nearest items of each row of `x` `(n, d)`; item i is at `y[0, i]` and, with mirror images, at `y[1, i]`.

    An item is as near as its nearest copy.
    """
    from sklearn.neighbors import NearestNeighbors

    copies, items, _ = y.shape
    search = NearestNeighbors(n_neighbors=copies * k, algorithm="brute").fit(y.flatten(0, 1).numpy())
    distances, indices = search.kneighbors(x.numpy())
    indices %= items
    repeated = np.tril(indices[:, :, None] == indices[:, None], -1).any(-1)  # the farther copy of an item
    nearest = repeated.argsort(axis=1, kind="stable")[:, :k]
    found = (torch.from_numpy(np.take_along_axis(part, nearest, 1)) for part in (indices, distances))
    return Neighbours(*found)


def _distance_blocks(real: _FeatureCloud, fake: _FeatureCloud) -> Iterator[tuple[Tensor, Tensor]]:
    """Radius `(b,)` of some reals and their distances `(b, m)` to the fakes, in blocks of bounded memory."""
    rows = max(1, BLOCK // len(fake.points))
    for points, radius in zip(real.points.split(rows), real.radius.split(rows), strict=True):
        yield radius, pairwise(points, fake.points, squared=True).sqrt()


def _factor_scores(real: Tensor, fake: Tensor) -> dict[str, float | None]:
    scores: dict[str, float | None] = dict.fromkeys(FACTOR_SCORES)
    if fake.isfinite().all():
        overlaps = [overlap(x, y) for x, y in zip(real.unbind(1), fake.unbind(1), strict=True)]
        scores |= dict(zip(FACTOR_SCORES, [*overlaps, sum(overlaps) / len(overlaps)], strict=True))
    return scores


def _check(name: str, images: Tensor, least: int) -> None:
    check_images(name, images)
    if len(images) < least:
        raise ValueError(f"{name} has {len(images)} images: give at least {least}")
