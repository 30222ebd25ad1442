"""How good are fake pictures? Every score beside its floor: the same score of a second real sample.

With features x_i of the reals and y_j of the fakes (n each, in R^d; `mvm.scoring.features`), means μ, covariances Σ:

    fd            ‖μ_x − μ_y‖² + tr Σ_x + tr Σ_y − 2·tr(Σ_x^½ Σ_y Σ_x^½)^½: the FID for Inception's features
    kid           mean_{i≠j} κ(x_i, x_j) + mean_{i≠j} κ(y_i, y_j) − 2·mean κ(x_i, y_j), κ(x, y) = (⟨x, y⟩/d + 1)³
                  unbiased, over all pairs, not times 1000; can be < 0
    precision, recall, density, coverage          as in `mvm.scoring.points`, k = 5
    memorised     share of fakes nearer to their nearest training picture than the nearest 1 % of reals are to theirs
    nearest_ratio median distance of the fakes to their nearest training picture, over that of the reals
                  these two count a training picture's mirror image where training does, and are not asked of Inception

Of toy faces the factors are known, and a network reads them in real and fake alike:

    factor.NAME   overlap Σ_b min(p_b, q_b) = 1 − total variation of the factor's two histograms, in 20 bins that hold
                  equally many reals: 1 where every value is as frequent, ½ where half of the values are missing

The reals must not be training pictures: what is not memorised is as far from the training pictures as they are.

Sources: FID, Heusel et al. 2017; KID, Bińkowski et al. 2018; precision and recall, Kynkäänniemi et al. 2019; density
and coverage, Naeem et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.scoring.features import Extractor, FactorRegressor, Inception, check_images
from mvm.scoring.points import NEIGHBOURS, SCORES, Score
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
    "nearest",
    "overlap",
]

BINS = 20
RARE = 0.01  # the quantile of the reals' nearest distances below which a fake counts as memorised
ROWS = 2**23  # entries of a distance block held at once

# what each score of one extractor says; among the scores it is EXTRACTOR.KEY
IMAGE_SCORES: dict[str, Score] = {
    "fd": Score("Fréchet", "Fréchet distance of the two Gaussians fitted to the features", "lower"),
    "kid": Score("KID", "unbiased squared maximum mean discrepancy of the features, cubic kernel", "lower"),
    **{key: replace(SCORES[key], floor=None) for key in ("precision", "recall", "density", "coverage")},
    "memorised": Score(
        "memorised", "share of fakes nearer to a training picture than 99 of 100 unseen reals are", "lower"
    ),
    "nearest_ratio": Score(
        "nearest / real", "median distance to the nearest training picture, in units of that of unseen reals", "floor"
    ),
}

# what the scores of toy faces say
FACTOR_SCORES: dict[str, Score] = {
    **{
        f"factor.{name}": Score(name.replace("_", " "), f"overlap of fake and real: {text}", "higher")
        for name, text in FACTORS.items()
    },
    "factor_mean": Score("factors", "overlap of fake and real, mean over the twelve factors", "higher"),
}


def describe(key: str) -> Score:
    """What the score under a key of `ImageReference.score` says, and the key of its floor.

    Raises:
        KeyError: no score has this key; a floor's key is none.
    """
    extractor, _, name = key.partition(".")
    score = FACTOR_SCORES[key] if key in FACTOR_SCORES else IMAGE_SCORES[name]
    label = score.label if key in FACTOR_SCORES else f"{score.label} ({extractor})"
    return replace(score, label=label, floor=f"{key}_floor")


class ImageReference:
    """Two real samples and the training pictures, seen by some extractors, that fakes are scored against.

    Args:
        real: `(n, size, size, 3)` uint8, not of the training pictures.
        floor: as many more, independent of `real`.
        train: parts `(·, size, size, 3)` uint8 of the training pictures; copies of what is left out are not known.
        flips: mirror images of the training pictures count as such, too.
        extractors: what to see them by. A `FactorRegressor` among them adds the scores of the factors.
        seed: of the thinning, where samples are not equally large.

    Attributes:
        size: images of each real sample that are compared.
        floors: {floor key: value}, each of `floor` scored as if it were fake.
        criterion: key of the score that the best generator has least of, by the first extractor.

    Raises:
        ValueError: a sample is no such images, or real or floor has fewer than 6; two extractors have one name.
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
    ) -> None:
        _check("real", real, NEIGHBOURS + 1)
        _check("floor", floor, NEIGHBOURS + 1)
        self._extractors = {extractor.name: extractor for extractor in extractors}
        if len(self._extractors) < len(extractors):
            raise ValueError(f"extractors: two of {[extractor.name for extractor in extractors]} have one name")
        self.seed = seed
        self._samples = {name: (extractor(real), extractor(floor)) for name, extractor in self._extractors.items()}
        self._train = _trained_on(train, [one for one in extractors if not isinstance(one, Inception)], flips)
        self._spaces: dict[tuple[str, int], _Space] = {}
        self.size = min(len(real), len(floor))
        self.criterion = f"{extractors[0].name}.fd"
        self.floors = self._floors(self.size)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the scores, without their floors; `describe` says what each means."""
        return tuple(key.removesuffix("_floor") for key in self.floors)

    def score(self, fake: Tensor) -> dict[str, float | None]:
        """All scores of fake images `(n, size, size, 3)` uint8; the larger of two samples is thinned at random.

        Returns:
            {key: value} for every key and its floor, at the size of the smaller sample. None where a score has no
            meaning; every score of an extractor is None when a feature of the fakes is not finite.

        Raises:
            ValueError: `fake` is no such images, or fewer than 6.
        """
        _check("fake", fake, NEIGHBOURS + 1)
        size = min(len(fake), self.size)
        fake = fake[_subset(len(fake), size, self.seed)]
        scores = self._floors(size)
        for name, extractor in self._extractors.items():
            scores |= self._space(name, size).measure(extractor(fake))
        return scores

    def _floors(self, size: int) -> dict[str, float | None]:
        floors = {}
        for name in self._extractors:
            floors |= {f"{key}_floor": value for key, value in self._space(name, size).floors.items()}
        return floors

    def _space(self, name: str, size: int) -> _Space:
        if (name, size) not in self._spaces:
            real, floor = (x[_subset(len(x), size, self.seed)] for x in self._samples[name])
            self._spaces[name, size] = _Space(self._extractors[name], real, floor, self._train.get(name))
        return self._spaces[name, size]


def _trained_on(parts: Iterable[Tensor], extractors: Sequence[Extractor], flips: bool) -> dict[str, Tensor]:
    """What each extractor sees in the training pictures, as `_seen`."""
    found: dict[str, list[Tensor]] = {extractor.name: [] for extractor in extractors}
    for images in parts:
        _check("train", images, 1)
        for extractor in extractors:
            found[extractor.name].append(_seen(extractor, images, flips))
    return {name: torch.cat(features, dim=1) for name, features in found.items()}


def _seen(extractor: Extractor, images: Tensor, flips: bool) -> Tensor:
    """Features of the images, and of their mirror images if those count: `(1 or 2, n, d)` float64."""
    both = [images, images.flip(-2)] if flips else [images]
    return torch.stack([extractor(each) for each in both]).double()


class _Space:
    """The feature space of one extractor, its real sample prepared; without training pictures none is memorised."""

    def __init__(self, extractor: Extractor, real: Tensor, floor: Tensor, train: Tensor | None) -> None:
        self.extractor, self.train = extractor, train
        self.real = _Cloud(real.double())
        self.unseen = None if train is None else _neighbours(self.real.points, train, 1).distances[:, 0]
        self.floors = self.measure(floor)

    def measure(self, features: Tensor) -> dict[str, float | None]:
        scores: dict[str, float | None] = dict.fromkeys(IMAGE_SCORES)
        if features.isfinite().all():
            fake = _Cloud(features.double())
            scores["fd"] = frechet(self.real.gaussian, fake.gaussian)
            scores["kid"] = kernel_distance(self.real.points, fake.points)
            scores |= _neighbourhoods(self.real, fake)
            if self.train is not None:
                near = _neighbours(fake.points, self.train, 1).distances[:, 0]
                scores["memorised"] = float((near < self.unseen.quantile(RARE)).double().mean())
                scores["nearest_ratio"] = _ratio(float(near.median()), float(self.unseen.median()))
        scores = {f"{self.extractor.name}.{key}": value for key, value in scores.items()}
        if isinstance(self.extractor, FactorRegressor):
            real, fake = (self.extractor.read(x.float()).double() for x in (self.real.points, features))
            scores |= _factor_scores(real, fake)
        return scores


class _Cloud:
    """Features `(n, d)` with what needs no second cloud: each one's distance to its k-th nearest, the Gaussian."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.radius = _neighbours(points, points, NEIGHBOURS + 1).distances[:, -1]  # the first is the point itself
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
        return vectors * values.clamp_min(0).sqrt() @ vectors.mT


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
    """1 − total variation of the histograms of `x` `(n,)` and `y` `(m,)`, in `BINS` of equal mass of `x`."""
    edges = x.quantile(torch.linspace(0, 1, BINS + 1, dtype=x.dtype)[1:-1])
    p, q = (torch.bucketize(v.contiguous(), edges).bincount(minlength=BINS).double() / len(v) for v in (x, y))
    return float(torch.minimum(p, q).sum())


class Neighbours(NamedTuple):
    """Indices and distances of the nearest, `(n, k)` each, nearest first."""

    indices: Tensor
    distances: Tensor


def nearest(fake: Tensor, train: Tensor, k: int, features: Extractor) -> Neighbours:
    """For each fake image its `k` nearest training images, in the space of an extractor.

    Raises:
        ValueError: a sample is no images `(n, size, size, 3)` uint8, or `train` has fewer than k.
    """
    _check("fake", fake, 1)
    _check("train", train, k)
    return Gallery(train, features).nearest(fake, k)


class Gallery:
    """Training pictures to look the nearest up in, their features taken once.

    Args:
        images: `(n, size, size, 3)` uint8.
        features: the extractor whose space counts.
        numbers: which of the training pictures they are, `(n,)`, ascending; the first when None.
        flips: a picture is as near as the nearer of itself and its mirror image.
    """

    def __init__(
        self, images: Tensor, features: Extractor, *, numbers: Tensor | None = None, flips: bool = False
    ) -> None:
        self.images, self._features = images, features
        self.numbers = torch.arange(len(images)) if numbers is None else numbers
        self._points = _seen(features, images, flips)

    def nearest(self, fake: Tensor, k: int) -> Neighbours:
        """For each fake image its `k` nearest, or all where there are fewer."""
        return _neighbours(self._features(fake).double(), self._points, min(k, len(self.images)))


def _neighbours(x: Tensor, y: Tensor, k: int) -> Neighbours:
    """Of each row of `x` the `k` nearest rows of `y`, in blocks of bounded memory.

    `(2, m, d)`, two rows of the same number are one thing at two places, of which the nearer counts.
    """
    places = y if y.ndim == 3 else y[None]
    blocks = x.split(_rows(places.shape[:2].numel()))
    found = [pairwise(block, places, squared=True).amin(0).topk(k, largest=False) for block in blocks]
    return Neighbours(torch.cat([f.indices for f in found]), torch.cat([f.values for f in found]).sqrt())


def _neighbourhoods(real: _Cloud, fake: _Cloud) -> dict[str, float]:
    """Precision, recall, density and coverage, in blocks of real points."""
    inside, recalled, covered = torch.zeros(len(fake.points), dtype=torch.float64), 0.0, 0.0
    rows = _rows(len(fake.points))
    for points, radius in zip(real.points.split(rows), real.radius.split(rows), strict=True):
        across = pairwise(points, fake.points, squared=True).sqrt()
        held = across < radius[:, None]
        inside += held.sum(0)
        covered += float(held.any(1).sum())
        recalled += float((across < fake.radius).any(1).sum())
    return {
        "precision": float((inside > 0).double().mean()),
        "recall": recalled / len(real.points),
        "density": float(inside.mean()) / NEIGHBOURS,
        "coverage": covered / len(real.points),
    }


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


def _subset(total: int, size: int, seed: int) -> Tensor | slice:
    if total == size:
        return slice(None)
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:size].sort().values


def _rows(columns: int) -> int:
    return max(1, ROWS // columns)


def _ratio(value: float, unit: float) -> float | None:
    return value / unit if unit > 0 and math.isfinite(value / unit) else None
