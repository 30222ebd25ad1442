"""Colour of pictures in 0 to 255: luma, grey, rounding.

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255        BT.601 in studio range: black is 16, white 235
    grey = (R + G + B) / 3

Scores of super-resolution compare Y. A picture stored without colours is Y already: the formula would shrink its range.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_grey", "luma", "to_uint8"]

WEIGHTS = (65.481, 128.553, 24.966)
BLACK = 16.0


def luma(rgb: Tensor, *, rounded: bool) -> Tensor:
    """Y of a picture, `(..., h, w, 3)` to `(..., h, w)` float64; a grey picture `(h, w)` or `(..., h, w, 1)` is Y.

    Args:
        rgb: values in 0 to 255, of any type.
        rounded: round Y to whole numbers, as MATLAB's `rgb2ycbcr` does with uint8.

    Raises:
        ValueError: the picture has another shape.
    """
    if rgb.ndim == 2:
        y = rgb.double()
    elif rgb.ndim > 2 and rgb.shape[-1] == 1:
        y = rgb[..., 0].double()
    elif rgb.ndim > 2 and rgb.shape[-1] == 3:
        y = BLACK + rgb.double() @ torch.tensor(WEIGHTS, dtype=torch.float64, device=rgb.device) / 255
    else:
        raise ValueError(f"picture must be (h, w), (..., h, w, 1) or (..., h, w, 3), got {tuple(rgb.shape)}")
    return (y + 0.5).floor() if rounded else y


def as_grey(picture: Tensor) -> Tensor:
    """Mean of the channels of a uint8 picture `(h, w, c)`, rounded: `(h, w)` uint8; `(h, w)` stays as it is."""
    return picture if picture.ndim == 2 else to_uint8(picture.double().mean(-1))


def to_uint8(picture: Tensor) -> Tensor:
    """Values in 0 to 255, rounded and clipped to uint8; a half is rounded up."""
    return picture if picture.dtype == torch.uint8 else (picture + 0.5).floor().clamp(0, 255).to(torch.uint8)
