"""Scores of upscaled pictures against the originals, each beside its value for bicubic interpolation.

With 4 pixels cropped from each border, channel by channel, over N pixels:

    PSNR = 10 log₁₀ (255² / mean (x − y)²)
    SSIM = mean over windows of (2 μ_x μ_y + C₁)(2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂))

    μ_x = Σ g x,   σ_x² = Σ g x² − μ_x²,   σ_xy = Σ g xy − μ_x μ_y      g: 11 x 11 Gaussian, σ 1.5 pixels, Σ g = 1
    C₁ = (.01 · 255)²,   C₂ = (.03 · 255)²

SSIM is the product of three comparisons, of luminance l = (2 μ_x μ_y + C₁)/(μ_x² + μ_y² + C₁), of contrast
c = (2 σ_x σ_y + C₂)/(σ_x² + σ_y² + C₂) and of structure s = (σ_xy + C₂/2)/(σ_x σ_y + C₂/2): σ_x σ_y + C₂/2 cancels in
c · s, which gives the formula above. Only windows that lie wholly inside the picture count. The variances are those of
the weighted window, without the correction n/(n − 1) that other libraries apply by default.

    psnr_y, ssim_y                luma rounded to whole numbers, as MATLAB's `rgb2ycbcr` gives it: NatSR, ESRGAN
    psnr_y_float, ssim_y_float    luma as it is: BasicSR, IMDN; about .01 dB higher
    psnr_rgb, ssim_rgb            red, green and blue: PSNR of the mean over all values, mean of the three SSIM
    niqe                          `mvm.scoring.niqe`, without the original
    vgg16_hed, lpips              `mvm.scoring.perceptual`, where the networks are at hand

A picture that is stored without colours is its own luma. Set14 has one, its third; another has three equal channels,
and counts as a colour picture in published rows.

Bicubic rows of published tables are of Y: 28.42 / .8104 on Set5 is reproduced here as 28.42 / .8101 rounded and
28.43 / .8111 in float. In Tables 3 and 5 of the paper, the bicubic rows are of Y, too; the rows of its methods (29.0 to
30.1 dB on Set5) look like RGB, which is 1.7 dB lower for the same picture: compare them with `psnr_rgb`. The paper's
NIQE is of another implementation.

Sources: SSIM, Wang et al. 2004. Protocol: crop the original to a multiple of 4, shrink it by `mvm.imaging.resize`,
upscale, round and clip to uint8, crop 4 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mvm.imaging.colour import as_grey, luma, to_uint8
from mvm.imaging.resize import imresize
from mvm.scoring.niqe import niqe as niqe_of
from mvm.scoring.perceptual import Found, PerceptualDistance, find_distances
from mvm.scoring.score import Coordinates, Score

__all__ = ["SUPERRES_SCORES", "SuperresReference", "bicubic", "mean_scores", "measure", "psnr", "ssim"]

BORDER = 4  # pixels cropped from each side
PEAK = 255.0
SIGMA, RADIUS = 1.5, 5  # of SSIM's window, in pixels
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2

_SCORES = {
    "psnr_y": Score("PSNR (Y)", "peak signal-to-noise ratio of luma rounded to whole numbers, in dB", "higher"),
    "ssim_y": Score("SSIM (Y)", "structural similarity of luma rounded to whole numbers", "higher"),
    "psnr_y_float": Score("PSNR (Y, float)", "peak signal-to-noise ratio of unrounded luma, in dB", "higher"),
    "ssim_y_float": Score("SSIM (Y, float)", "structural similarity of unrounded luma", "higher"),
    "psnr_rgb": Score("PSNR (RGB)", "peak signal-to-noise ratio of red, green and blue, in dB", "higher"),
    "ssim_rgb": Score("SSIM (RGB)", "structural similarity, mean over red, green and blue", "higher"),
    "niqe": Score("NIQE", "distance from the statistics of natural photographs, without the original", "lower"),
    "vgg16_hed": Score("VGG16-HED", "distance of unit features of a VGG16 trained to find edges; not LPIPS", "lower"),
    "lpips": Score("LPIPS (VGG)", "learned perceptual distance, version 0.1, of VGG16 features", "lower"),
}
SUPERRES_SCORES: dict[str, Score] = {
    key: replace(about, floor=f"{key}_floor", baseline="bicubic", compared="difference")
    for key, about in _SCORES.items()
}
"""Scores by key, in the order of tables. The baseline, under KEY_floor, is that of bicubic interpolation."""


def psnr(x: Tensor, y: Tensor) -> float:
    """PSNR in dB of two pictures of one shape with values in 0 to 255; infinite if they are equal.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(x, y)
    error = float((x.double() - y.double()).square().mean())
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def ssim(x: Tensor, y: Tensor) -> float | None:
    """SSIM of two pictures `(h, w)` or `(h, w, c)` in 0 to 255: mean over windows and channels; None below 11 pixels.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(x, y)
    if min(x.shape[:2]) < 2 * RADIUS + 1:
        return None
    if x.ndim == 3:
        each = [ssim(a, b) for a, b in zip(x.unbind(-1), y.unbind(-1), strict=True)]
        return sum(value for value in each if value is not None) / len(each)

    from scipy.ndimage import gaussian_filter

    def mean(values: Any) -> Any:
        whole = gaussian_filter(values, SIGMA, radius=RADIUS)
        return whole[RADIUS:-RADIUS, RADIUS:-RADIUS]

    a, b = x.double().numpy(), y.double().numpy()
    mean_a, mean_b = mean(a), mean(b)
    squares, product = mean_a**2 + mean_b**2, mean_a * mean_b
    contrast = (2 * (mean(a * b) - product) + C2) / (mean(a * a + b * b) - squares + C2)
    return float(((2 * product + C1) / (squares + C1) * contrast).mean())


def measure(
    sr: Tensor, hr: Tensor, *, niqe: bool = True, distances: Sequence[PerceptualDistance] = ()
) -> dict[str, float | None]:
    """Scores of one upscaled picture against its original; needs 0.15 GB of memory for each megapixel.

    Args:
        sr: `(h, w, 3)` or `(h, w)`; values in 0 to 255, rounded and clipped here. Against a grey original the mean of
            its channels counts as Y.
        hr: original of the same height and width, `(h, w, 3)` or `(h, w)` uint8.
        niqe: measure the naturalness, too.
        distances: perceptual distances to measure, too.

    Returns:
        {key: value} for keys of `SUPERRES_SCORES`; None for SSIM of pictures below 19 pixels, for NIQE of pictures with
        fewer than two blocks of 96 pixels, and for an infinite PSNR.

    Raises:
        ValueError: the sizes differ, or nothing is left inside the border.
    """
    if sr.shape[:2] != hr.shape[:2] or min(hr.shape[:2]) <= 2 * BORDER:
        raise ValueError(
            f"upscaled {tuple(sr.shape)} and original {tuple(hr.shape)} must have the same height and width, "
            f"more than {2 * BORDER} pixels each"
        )
    sr, hr = (picture[BORDER:-BORDER, BORDER:-BORDER] for picture in (to_uint8(sr), to_uint8(hr)))
    colours = _channels(sr), _channels(hr)
    if hr.ndim == 2:
        sr = as_grey(sr)
    scores: dict[str, float | None] = {}
    for name, pair in (
        ("y", (luma(sr, rounded=True), luma(hr, rounded=True))),
        ("y_float", (luma(sr, rounded=False), luma(hr, rounded=False))),
        ("rgb", colours),
    ):
        scores |= {f"psnr_{name}": psnr(*pair), f"ssim_{name}": ssim(*pair)}
    if niqe:
        scores["niqe"] = niqe_of(luma(sr, rounded=True))
    scores |= {distance.name: distance(*colours) for distance in distances}
    return {key: value if value is not None and math.isfinite(value) else None for key, value in scores.items()}


def bicubic(low: Tensor, scale: int = 4) -> Tensor:
    """Upscale a uint8 picture `(h, w, c)` or `(h, w)` as MATLAB's `imresize` does: the baseline of every score."""
    size = (scale * low.shape[0], scale * low.shape[1])
    return imresize(low, size) if low.ndim == 3 else imresize(low[..., None], size)[..., 0]


def mean_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means of every score and baseline over rows of pictures; pictures without a value are left out of its mean."""
    known = [key for key in (rows[0] if rows else {}) if key.removesuffix("_floor") in SUPERRES_SCORES]
    means: dict[str, float | None] = {}
    for key in known:
        values = [row[key] for row in rows if row[key] is not None]
        means[key] = sum(values) / len(values) if values else None
    return means


class SuperresReference:
    """Original pictures and their low-resolution versions; upscaled pictures are scored against the originals.

    Args:
        names: of the pictures.
        high: originals, `(4h, 4w, 3)` uint8 each.
        low: what is upscaled, `(h, w, 3)` uint8 each.
        perceptual: measure the perceptual distances whose networks are at hand, too.
        niqe: measure NIQE, too.

    Attributes:
        inputs: low-resolution pictures; `score` takes what the generator makes of them, in their order.
        size: number of pictures.
        criterion: key of the score whose greatest value selects the best generator.
        floors: {floor key: value}: means over bicubic interpolations.
        missing: perceptual distances that were asked for and are not measured, with what to do about it, by key.

    Raises:
        ValueError: there are no pictures, or an original is not four times as large as its input.
    """

    coordinates: Coordinates = "own"
    criterion = "psnr_y"

    def __init__(
        self,
        names: Sequence[str],
        high: Sequence[Tensor],
        low: Sequence[Tensor],
        *,
        perceptual: bool = False,
        niqe: bool = True,
    ) -> None:
        if not names or not len(names) == len(high) == len(low):
            raise ValueError(f"{len(names)} names, {len(high)} originals, {len(low)} inputs: give one of each or more")
        self.names, self.inputs, self._high = tuple(names), low, high
        self._niqe, found = niqe, find_distances() if perceptual else Found()
        self._distances, self.missing = found.distances, found.missing
        self._baselines = [self._measure(place, bicubic(picture)) for place, picture in enumerate(low)]
        self.floors = {f"{key}_floor": value for key, value in mean_scores(self._baselines).items()}

    @property
    def size(self) -> int:
        """Number of pictures."""
        return len(self.names)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the scores, without their baselines."""
        return tuple(self._baselines[0])

    def score(self, pictures: Sequence[Tensor]) -> dict[str, float | None]:
        """Mean scores of upscaled pictures, `(4h, 4w, 3)` uint8 each in the order of `inputs`, with their baselines.

        Raises:
            ValueError: there are more or fewer pictures than inputs, or one has another size.
        """
        return mean_scores(self.per_picture(pictures))

    def per_picture(self, pictures: Sequence[Tensor]) -> list[dict[str, Any]]:
        """Scores of each upscaled picture: one row with its name under "picture", every key, and its KEY_floor."""
        if len(pictures) != self.size:
            raise ValueError(f"{len(pictures)} pictures for {self.size} inputs; give one for each")
        rows: list[dict[str, Any]] = []
        for place, (name, picture) in enumerate(zip(self.names, pictures, strict=True)):
            floors = {f"{key}_floor": value for key, value in self._baselines[place].items()}
            rows.append({"picture": name, **self._measure(place, picture), **floors})
        return rows

    def _measure(self, place: int, picture: Tensor) -> dict[str, float | None]:
        return measure(picture, self._high[place], niqe=self._niqe, distances=self._distances)


def _channels(picture: Tensor) -> Tensor:
    """A picture as RGB, `(h, w, 3)`."""
    return picture[..., None].expand(-1, -1, 3) if picture.ndim == 2 else picture.expand(-1, -1, 3)


def _check_shapes(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape:
        raise ValueError(f"pictures of one shape are compared, got {tuple(x.shape)} and {tuple(y.shape)}")
