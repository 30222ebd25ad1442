"""Enlarge pictures: phases interleaved to pixels, and bicubic enlargement by 4 as MATLAB's `imresize` computes it.

    y[fi + p] = channel p of pixel i                 per axis; p = 0 ... f − 1 is the phase of an output pixel
    bicubic    y[4i + p] = Σ_k c(k − (p − 1.5) / 4) x[i + k],   k = −2 ... 2,   c: Keys' cubic kernel with a = −1/2

Pixels beyond the border mirror those before it, the border pixel included (MATLAB's "symmetric"). The 16 phases of both
axes are the channels of one 5 x 5 convolution.

`interleave` is PyTorch's pixel shuffle with another order of channels: (row phase, column phase, colour) instead of
(colour, row phase, column phase). In the memory format "channels last" it moves whole runs of numbers.

Keys: Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29 (1981).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from mvm.imaging.resize import SCALE

__all__ = ["BICUBIC_REACH", "bicubic", "bicubic_phases", "interleave"]

BICUBIC_REACH = 2
"""Input pixels on each side of an output pixel's source pixel that `bicubic` reads."""


def interleave(x: Tensor, factor: int) -> Tensor:
    """Interleave phases to pixels: `(B, factor² · c, h, w)` to `(B, c, factor · h, factor · w)`."""
    b, channels, h, w = x.shape
    c = channels // factor**2
    runs = x.permute(0, 2, 3, 1).reshape(b, h, w, factor, factor * c).transpose(2, 3)
    return runs.reshape(b, h * factor, w * factor, c).permute(0, 3, 1, 2)


def bicubic(x: Tensor) -> Tensor:
    """Enlarge pictures by 4: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`; edges overshoot the range of x, as in MATLAB."""
    return interleave(bicubic_phases(x), SCALE)


def bicubic_phases(x: Tensor) -> Tensor:
    """`bicubic` before it is interleaved: `(B, 3, h, w)` to `(B, 48, h, w)`, in the precision of x."""
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(_mirror(_mirror(x, 2), 3), _kernel(x.device, x.dtype))


def _mirror(x: Tensor, dim: int) -> Tensor:
    """Extend an axis by two mirrored pixels on both sides."""
    n = x.shape[dim]
    if n == 1:  # the mirror of a single pixel is that pixel
        return torch.cat([x] * (1 + 2 * BICUBIC_REACH), dim)
    before, after = x.narrow(dim, 0, BICUBIC_REACH), x.narrow(dim, n - BICUBIC_REACH, BICUBIC_REACH)
    return torch.cat([before.flip(dim), x, after.flip(dim)], dim)


@lru_cache(maxsize=8)
def _kernel(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Weights `(48, 3, 5, 5)` of the convolution: channel (p, q, c) reads colour c."""
    with torch.inference_mode(False):  # a tensor made in inference mode could not take part in training later
        offsets = torch.arange(-BICUBIC_REACH, BICUBIC_REACH + 1.0, device=device)
        phases = (torch.arange(SCALE, device=device) - (SCALE - 1) / 2) / SCALE
        axis = _cubic(offsets - phases[:, None])  # (4, 5), exact: multiples of 1/1024
        kernel = torch.einsum("pi,qj,cd->pqcdij", axis, axis, torch.eye(3, device=device))
        return kernel.flatten(0, 2).to(dtype).contiguous(memory_format=torch.channels_last)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = −1/2."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, far * (x < 2))
