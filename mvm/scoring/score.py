"""Parts that scores of points and scores of images share: descriptions, sample sizes, neighbourhoods, ratios.

Every score is reported beside its baseline: the same score of a second real sample of equal size, as if it were
generated. The baseline's key is `NAME_floor`. With r_i and s_j the distances of real x_i and fake y_j to their k-th
nearest neighbour in their own sample, k = 5:

    precision   share of fakes within r_i of some real x_i      recall     share of reals within s_j of some fake y_j
    density     mean over fakes of #{i : ‖x_i − y_j‖ ≤ r_i} / k coverage   share of reals with a fake within r_i

A distance equal to the radius is within it: in discrete data (answers 1 to 5, counts, binarised pixels) most are equal,
and often all are 0.

Sources: precision and recall, Kynkäänniemi et al. 2019; density and coverage, Naeem et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["NEIGHBOURS", "Coordinates", "Score", "neighbourhood_scores", "ratio", "thinned", "tie_of"]

Coordinates = Literal["own", "standardised"]
"""In which a data set is compared: its own units, or the standardised ones of training."""

NEIGHBOURS = 5  # k of precision, recall, density and coverage
ROUNDING = 1e-6  # of the spread of a sample: its coordinates have been float32


@dataclass(frozen=True)
class Score:
    """Description of one score, for tables and tooltips.

    Attributes:
        label: short name.
        meaning: one line.
        direction: which values are better. "floor": those closest to the baseline (for a ratio, to 1) on either side.
        floor: key of the baseline; None for a score that has none.
        about_zero: the baseline is about 0, so that a ratio to it means nothing.
        baseline: title of the baseline, which is a second real sample unless it says otherwise.
        compared: with its baseline, by their ratio or by their difference.
    """

    label: str
    meaning: str
    direction: Literal["lower", "higher", "floor"]
    floor: str | None = None
    about_zero: bool = False
    baseline: str = "baseline"
    compared: Literal["ratio", "difference"] = "ratio"


def neighbourhood_scores(
    blocks: Iterable[tuple[Tensor, Tensor]], fake_radius: Tensor, *, tie: float
) -> dict[str, float]:
    """Precision, recall, density and coverage, accumulated over blocks of real points.

    Args:
        blocks: radius r `(b,)` of some real points and their distances `(b, m)` to all fakes; together, all n reals.
        fake_radius: radius s of the fakes, `(m,)`.
        tie: largest difference of two distances that are equal but for rounding, as from `tie_of`.
    """
    reals, inside, recalled, covered = 0, torch.zeros(len(fake_radius), dtype=torch.float64), 0, 0
    for radius, distances in blocks:
        held = distances <= radius[:, None] + tie
        reals += len(radius)
        inside += held.sum(0)
        covered += int(held.any(1).sum())
        recalled += int((distances <= fake_radius + tie).any(1).sum())
    return {
        "precision": float((inside > 0).double().mean()),
        "recall": recalled / reals,
        "density": float(inside.mean()) / NEIGHBOURS,
        "coverage": covered / reals,
    }


def tie_of(points: Tensor) -> float:
    """Largest difference of two distances between `points` `(n, D)` that counts as rounding."""
    return ROUNDING * float((points - points.mean(0)).square().sum(-1).mean().sqrt())


def thinned(sample: Tensor, size: int, seed: int) -> Tensor:
    """A random subset of `size` rows in their order, `(n, ...)` to `(size, ...)`; all rows if there are no more."""
    if len(sample) == size:
        return sample
    return sample[torch.randperm(len(sample), generator=torch.Generator().manual_seed(seed))[:size].sort().values]


def ratio(value: float | None, unit: float | None) -> float | None:
    """`value` in units of `unit`; None if either is unknown, the unit is 0, or the quotient is not finite."""
    quotient = value / unit if value is not None and unit else math.nan
    return quotient if math.isfinite(quotient) else None
