"""Shape descriptors and the gap between two point sets in each (paper, sections 3.2 and 3.4).

With embeddings e = g_w(x), R real and F fake, and ē the mean over a batch:

    centroid          d_c = ‖ē_R − ē_F‖                                         (Prop. 3.6)
    diameter          d_g = |diam₂(R) − diam₂(F)|,  diam₂² = 2 (mean‖e‖² − ‖ē‖²)  (Def. 3.4, p = 2, closed form)
    p_diameter        |diam₄(R) − diam₄(F)|,        diam_p = (mean over all ordered pairs of dᵖ)^(1/p)
    distance_matrix   ‖D²_R − D²_F‖_F / B           rows paired in their order (the published code's diameter term)
    hausdorff         d_H = max(sup_R inf_F d, sup_F inf_R d)                    (section 4)
    covariance        ‖Cov_R − Cov_F‖_F

Every descriptor takes real and fake embeddings `(..., B, n)` and returns one gap per variant, `(...)`; zero means
matched. L_MM (Eq. 1) is their weighted sum. To add one: write the function, add one line to `DESCRIPTORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvm.geometry.distances import directed_hausdorff, pairwise
from mvm.variants import base_of, own_settings

__all__ = [
    "DESCRIPTORS",
    "GAPS",
    "Descriptor",
    "Gap",
    "descriptors_of",
    "matched",
    "p_diameter",
    "two_diameter",
    "weight_table",
]

ALIASES = {"both": "centroid+diameter"}
TINY = 1e-12  # keeps the square root's gradient finite where all points of a set coincide


def two_diameter(e: Tensor) -> Tensor:
    """2-diameter of each set (Def. 3.4 with p = 2; V-statistic, the diagonal included) in O(B n).

    Args:
        e: embeddings `(..., B, n)`.

    Returns:
        `(...)`.
    """
    centred = e - e.mean(-2, keepdim=True)
    return (2 * centred.square().sum(-1).mean(-1) + TINY).sqrt()


def p_diameter(e: Tensor, p: float) -> Tensor:
    """p-diameter of each set (Def. 3.4; V-statistic, the diagonal included) in O(B² n).

    Args:
        e: embeddings `(..., B, n)`.
        p: exponent, at least 1.

    Returns:
        `(...)`.
    """
    if p < 1:
        raise ValueError(f"p_diameter: p must be at least 1, got {p}")
    powers = (pairwise(e, squared=True) + TINY) ** (p / 2)
    return powers.mean((-2, -1)) ** (1 / p)


def centroid_gap(real: Tensor, fake: Tensor) -> Tensor:
    """d_c: distance between the two centroids (Prop. 3.6)."""
    gap: Tensor = (real.mean(-2) - fake.mean(-2)).norm(dim=-1)
    return gap


def diameter_gap(real: Tensor, fake: Tensor) -> Tensor:
    """d_g: difference of the two 2-diameters (Eq. 1)."""
    return (two_diameter(real) - two_diameter(fake)).abs()


def p_diameter_gap(real: Tensor, fake: Tensor) -> Tensor:
    """Difference of the two 4-diameters: like d_g with more weight on distant pairs."""
    return (p_diameter(real, 4) - p_diameter(fake, 4)).abs()


def distance_matrix_gap(real: Tensor, fake: Tensor) -> Tensor:
    """Frobenius norm of the difference of the two squared-distance matrices, over B.

    The published code's diameter term. It pairs rows arbitrarily and is not minimal at equal laws; it is kept for
    comparison with the paper's term. In O(B n²), without any B x B matrix:

        Δ_ij = a_i + a_j − 2 G_ij,   a_i = ‖r_i‖² − ‖f_i‖²,   G = R Rᵀ − F Fᵀ
        ΣΔ² = 2B Σa² + 2(Σa)² − 8 aᵀG1 + 4‖G‖²,   ‖G‖² = ‖RᵀR‖² − 2‖RᵀF‖² + ‖FᵀF‖²
    """
    centre = real.mean(-2, keepdim=True)  # leaves distances unchanged and keeps rounding errors small
    r, f = real - centre, fake - centre
    a = r.square().sum(-1) - f.square().sum(-1)
    sums = (r * r.sum(-2, keepdim=True)).sum(-1) - (f * f.sum(-2, keepdim=True)).sum(-1)
    grams = [(x.mT @ y).square().sum((-2, -1)) for x, y in ((r, r), (r, f), (f, f))]
    count = real.shape[-2]
    total = 2 * count * a.square().sum(-1) + 2 * a.sum(-1).square() - 8 * (a * sums).sum(-1)
    total = total + 4 * (grams[0] - 2 * grams[1] + grams[2])
    return (total.clamp_min(0) / count**2 + TINY).sqrt()


def hausdorff_gap(real: Tensor, fake: Tensor) -> Tensor:
    """d_H: symmetric Hausdorff distance (section 4)."""
    return torch.maximum(directed_hausdorff(real, fake), directed_hausdorff(fake, real))


def covariance_gap(real: Tensor, fake: Tensor) -> Tensor:
    """Frobenius distance of the two covariance matrices; the 2-diameter compares their traces only."""

    def covariance(e: Tensor) -> Tensor:
        centred = e - e.mean(-2, keepdim=True)
        return centred.mT @ centred / e.shape[-2]

    return ((covariance(real) - covariance(fake)).square().sum((-2, -1)) + TINY).sqrt()


@dataclass(frozen=True)
class Descriptor:
    """One entry of the registry.

    Attributes:
        gap: `(..., B, n), (..., B, n) -> (...)`.
        title: name on the screen.
        help: one line of explanation for newcomers.
    """

    gap: Callable[[Tensor, Tensor], Tensor]
    title: str
    help: str


DESCRIPTORS: dict[str, Descriptor] = {
    "centroid": Descriptor(centroid_gap, "Centroid", "d_c: pulls the mean of the fakes onto the mean of the reals"),
    "diameter": Descriptor(
        diameter_gap, "2-diameter", "d_g: gives the fakes the same mean squared extent as the reals"
    ),
    "p_diameter": Descriptor(
        p_diameter_gap, "4-diameter", "like the 2-diameter, with more weight on pairs that are far apart"
    ),
    "distance_matrix": Descriptor(
        distance_matrix_gap, "Distance matrix", "the published code's diameter term: biased, kept for comparison"
    ),
    "hausdorff": Descriptor(hausdorff_gap, "Hausdorff", "d_H: pulls in the one worst-matched point on either side"),
    "covariance": Descriptor(
        covariance_gap, "Covariance", "matches every second moment, not only their sum as the 2-diameter does"
    ),
}


@dataclass(frozen=True)
class Gap:
    """A gap that every run records under its symbol.

    Attributes:
        descriptor: a name in `DESCRIPTORS`.
        title: short name.
        label: full name.
    """

    descriptor: str
    title: str
    label: str


GAPS: dict[str, Gap] = {
    "d_c": Gap("centroid", "centroid", "centroid gap"),
    "d_g": Gap("diameter", "2-diameter", "2-diameter gap"),
    "d_H": Gap("hausdorff", "Hausdorff", "Hausdorff distance"),
}


def descriptors_of(variant: str) -> list[str]:
    """Descriptor names in a variant: "both" is centroid and diameter."""
    names = [name.strip() for name in base_of(variant).split("+")]
    return [part.strip() for name in names for part in ALIASES.get(name, name).split("+")]


def matched(variants: Iterable[str]) -> list[str]:
    """Descriptors that at least one variant matches, in the registry's order."""
    used = {name for variant in variants for name in descriptors_of(variant)}
    return [name for name in DESCRIPTORS if name in used]


def weight_table(variants: Sequence[str], weights: Mapping[str, float]) -> Tensor:
    """Weights λ_k `(variants, matched)` of the matched descriptors; 0 where a variant does not match one.

    A variant's own weights, such as `both@weights.diameter=2`, take precedence.
    """
    terms, rows = matched(variants), []
    for variant in variants:
        own, parts = own_settings(variant), descriptors_of(variant)
        rows.append([own.get(f"weights.{name}", weights[name]) * (name in parts) for name in terms])
    return torch.tensor(rows)
