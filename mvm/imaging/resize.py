"""Resizing of pictures as MATLAB's `imresize` does it: bicubic, antialiased, with symmetric borders.

    out[i] = Σ_j w[i, j] in[j],    w[i, j] ∝ k(min(s, 1) · (u_i − j)),    u_i = (i + ½) / s − ½,    Σ_j w[i, j] = 1

    k(x) = 3/2 |x|³ − 5/2 |x|² + 1                  |x| ≤ 1         (Keys 1981, a = −½)
         = −1/2 |x|³ + 5/2 |x|² − 4 |x| + 2     1 < |x| ≤ 2

s is output pixels per input pixel; pixels beyond a border mirror those before it. The height is resized first, then the
width. MATLAB rounds a uint8 picture after each of the two passes: in this order and with this rounding, the published
low-resolution pictures of Set5 are reproduced in every pixel; otherwise a tenth of the values differ by 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["SCALE", "imresize"]

SCALE = 4  # of super-resolution, along height and width

WIDTH = 4.0  # of the kernel, in pixels of the coarser picture
BLOCK = 32  # output rows, or columns, that share a dense matrix of weights


def imresize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures to a height and a width; memory beside the result is a band of rows in floating point.

    Args:
        picture: `(..., h, w, c)`. A uint8 picture is rounded to whole values after each pass, half up, and clipped to
            0..255, as MATLAB does; a floating-point picture is neither rounded nor clipped.
        size: height and width of the result.

    Returns:
        `(..., *size, c)` of the picture's dtype.

    Raises:
        ValueError: a height or width, given or wanted, is not positive, or the dtype is of other integers than uint8.
    """
    if min(*size, *picture.shape[-3:-1]) < 1:
        raise ValueError(f"imresize: {tuple(picture.shape)} to {size}; heights and widths must be positive")
    rounded = picture.dtype == torch.uint8
    if not rounded and not picture.is_floating_point():
        raise ValueError(f"imresize: {picture.dtype} picture; give uint8 or floating point")
    dtype = torch.float64 if rounded else picture.dtype
    shape = (*picture.shape[:-3], *size, picture.shape[-1])
    result = picture.new_empty(shape)
    across = [(where, weights.to(picture.device, dtype)) for where, weights in _blocks(picture.shape[-2], size[1])]
    out = 0
    for rows, down in _blocks(picture.shape[-3], size[0]):
        band = picture[..., rows, :, :].movedim(-1, -3).to(dtype)  # (..., c, rows, w)
        band = down.to(band) @ band
        band = _whole(band) if rounded else band
        band = torch.cat([band[..., columns] @ weights.T for columns, weights in across], -1)
        result[..., out : out + len(down), :, :] = (_whole(band) if rounded else band).movedim(-3, -1)
        out += len(down)
    return result


def _whole(values: Tensor) -> Tensor:
    """Round to the whole values of uint8, half up, in place."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _blocks(length: int, wanted: int) -> Iterator[tuple[slice, Tensor]]:
    """Matrix of weights `(wanted, length)` by blocks of rows: the columns that each needs, and the block of these."""
    scale = wanted / length
    shrink = min(scale, 1.0)
    taps = math.ceil(WIDTH / shrink) + 2
    for start in range(0, wanted, BLOCK):
        centres = (torch.arange(start, min(start + BLOCK, wanted), dtype=torch.float64)[:, None] + 0.5) / scale - 0.5
        indices = (centres - WIDTH / shrink / 2).floor().long() + torch.arange(taps)
        weights = _keys(shrink * (centres - indices))
        mirrored = indices % (2 * length)
        sources = torch.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
        first, last = int(sources.min()), int(sources.max())
        block = torch.zeros(len(centres), last - first + 1, dtype=torch.float64)
        yield slice(first, last + 1), block.scatter_add_(1, sources - first, weights / weights.sum(1, keepdim=True))


def _keys(x: Tensor) -> Tensor:
    """Bicubic kernel k of Keys with a = −½."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
