"""NIQE: naturalness of a picture without its original; lower is more natural.

With the luma x rounded to 0 to 255, its mean μ and standard deviation σ under a 7 x 7 Gaussian of 7/6 pixels:

    x̂ = (x − μ) / (σ + 1)                                            in blocks of 96 x 96, and of 48 x 48 at half size
    f = α and the mean width of x̂,  then α, mean, left and right width of x̂ times its neighbour
                                    to the right, below, and on both diagonals; 18 numbers per block and scale
    NIQE = ((ν − ν₀)ᵀ ((Σ + Σ₀) / 2)⁺ (ν − ν₀))^½                     ν, Σ: mean and covariance of f over the blocks

α and the widths are those of an asymmetric generalised Gaussian, fitted by its moments. ν₀ and Σ₀ are the authors', of
125 pristine photographs; sharp blocks were selected for these only. Equal to the authors' MATLAB program: 5.730 on
the baboon of Set14. Values of other implementations, with other parameters, are not comparable.

Source: Mittal, Soundararajan & Bovik, Making a "completely blind" image quality analyzer, 2013. The parameters are
those that BasicSR distributes (Apache-2.0, `licenses/niqe.txt`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file
from torch import Tensor

from mvm.imaging.resize import imresize

__all__ = ["BLOCK", "Fit", "fit_asymmetric", "niqe"]

BLOCK = 96
SIGMA, RADIUS = 7 / 6, 3
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
PRISTINE = Path(__file__).with_name("niqe_pristine.safetensors")
SHAPES = np.arange(0.2, 10.001, 0.001)  # that a fit chooses from


class Fit(NamedTuple):
    """Asymmetric generalised Gaussians: shape α, widths β of the left and the right half, `(n,)` each."""

    shape: np.ndarray
    left: np.ndarray
    right: np.ndarray


def niqe(y: Tensor) -> float | None:
    """NIQE of the luma `(h, w)` of a picture, in 0 to 255; the margin beyond whole blocks is left out.

    Returns:
        the distance; None for a picture with fewer than two blocks of 96 x 96 that vary.
    """
    rows, columns = y.shape[0] // BLOCK, y.shape[1] // BLOCK
    if rows * columns < 2:
        return None
    whole = (y[: rows * BLOCK, : columns * BLOCK].double() + 0.5).floor()
    half = imresize(whole[..., None] / 255, (rows * BLOCK // 2, columns * BLOCK // 2))[..., 0] * 255
    features = np.concatenate([_features(x.numpy(), (rows, columns)) for x in (whole, half)], axis=1)
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        return None
    mean, covariance = _pristine()
    away = mean - np.nanmean(features, axis=0)
    square = away @ np.linalg.pinv((covariance + np.cov(complete, rowvar=False)) / 2) @ away
    return float(np.sqrt(max(square, 0.0)))


def fit_asymmetric(x: np.ndarray) -> Fit:
    """Fit each row of `x` `(n, m)` by its moments; a row without values on both sides of 0 has NaN widths."""
    from scipy.special import gamma

    ratios = _moments()
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (np.sqrt((x**2 * half).sum(axis=1) / half.sum(axis=1)) for half in (x < 0, x > 0))
        ratio, moment = left / right, np.abs(x).mean(axis=1) ** 2 / (x**2).mean(axis=1)
        moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    above = np.searchsorted(ratios, moment).clip(1, len(ratios) - 1)
    nearest = above - (moment - ratios[above - 1] <= ratios[above] - moment)
    shape = SHAPES[np.where(np.isnan(moment), 0, nearest)]
    width = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return Fit(shape, left * width, right * width)


def _features(x: np.ndarray, blocks: tuple[int, int]) -> np.ndarray:
    """The 18 numbers of each block of one scale, `(n, 18)`."""
    from scipy import ndimage
    from scipy.special import gamma

    def smoothed(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, SIGMA, radius=RADIUS, mode="nearest")

    mean = smoothed(x)
    normalised = (x - mean) / (np.sqrt(np.abs(smoothed(x**2) - mean**2)) + 1)
    (rows, columns), (height, width) = blocks, x.shape
    each = normalised.reshape(rows, height // rows, columns, width // columns).swapaxes(1, 2)
    each = each.reshape(rows * columns, height // rows, width // columns)
    fit = fit_asymmetric(each.reshape(len(each), -1))
    numbers = [fit.shape, (fit.left + fit.right) / 2]
    for step in NEIGHBOURS:
        pairs = each * np.roll(each, step, axis=(1, 2))
        fit = fit_asymmetric(pairs.reshape(len(pairs), -1))
        mean = (fit.right - fit.left) * gamma(2 / fit.shape) / gamma(1 / fit.shape)
        numbers += [fit.shape, mean, fit.left, fit.right]
    return np.stack(numbers, axis=1)


@cache
def _moments() -> np.ndarray:
    """(E|x|)² / E x² of the symmetric law of each shape, ascending."""
    from scipy.special import gamma

    return gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))


@cache
def _pristine() -> tuple[np.ndarray, np.ndarray]:
    """Mean `(36,)` and covariance `(36, 36)` of the pristine photographs."""
    held = load_file(PRISTINE)
    return held["mean"], held["covariance"]
