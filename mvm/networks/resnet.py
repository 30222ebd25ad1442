"""Networks for images of 32, 64, ... pixels: a residual generator and a convolutional metric, sized by an argument.

    generator   z (m) -> Linear -> (c, 4, 4) -> blocks, log₂(size/4) of them -> BN, ReLU, conv3 -> sigmoid
        block   conv3(relu(BN(conv3(up(relu(BN(x))))))) + conv3(up(x))        up: nearest, x2
    metric      conv4 stride 2, 3 -> 32 -> 64 -> ... channels, LeakyReLU₀.₂, down to 2 x 2 -> max-pool 2 -> Linear

As in the published code at 64 x 64 (2.04 M and 2.79 M parameters); another power of two has that many blocks more or
fewer. The paper's own 32 x 32 networks are in a supplement that is not public.

A 3 x 3 convolution of a picture doubled by nearest neighbours sees each small pixel two or three times: adding up the
weights that fall on one pixel gives four 2 x 2 convolutions of the small picture, one for each corner of a pixel, and
4/9 of the multiplications. `UpConv` does that, exactly.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResNetGenerator", "ResNetMetric", "UpConv"]


class UpConv(nn.Conv2d):
    """`conv3x3(interpolate(x, scale_factor=2, mode="nearest"))`: `(B, in, H, W)` to `(B, out, 2H, 2W)`.

    Args:
        inputs, outputs: channels.
        folded: by four 2 x 2 convolutions of the small picture; else as it is written above. Same numbers but for
            rounding.
    """

    def __init__(self, inputs: int, outputs: int, *, folded: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.folded = folded

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the doubled picture."""
        if not self.folded:
            return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))
        # rows of the 3 x 3 kernel that fall on the pixel above or here (upper half), here or below (lower half)
        upper = self.weight.new_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
        halves = torch.stack([upper, upper.flip(0, 1)])  # (half, pixel, row of the kernel)
        weight = torch.einsum("oikl,ahk,bwl->aboihw", self.weight, halves, halves)
        y = F.conv2d(x, weight.flatten(0, 2), padding=1)  # (B, 4 out, H + 1, W + 1)
        height, width = x.shape[-2:]
        y = y.unflatten(1, (2, 2, self.out_channels))
        rows = [torch.stack([y[:, a, b, :, a : a + height, b : b + width] for b in (0, 1)], dim=-1) for a in (0, 1)]
        doubled = torch.stack(rows, dim=3).flatten(-2).flatten(2, 3)
        return doubled + self.bias[:, None, None]


class UpBlock(nn.Module):
    """A residual block that doubles the picture."""

    def __init__(self, channels: int, *, folded: bool) -> None:
        super().__init__()
        self.before, self.between = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.first = UpConv(channels, channels, folded=folded)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = UpConv(channels, channels, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c, H, W)` to `(B, c, 2H, 2W)`."""
        y = self.first(self.before(x).relu())
        return self.second(self.between(y).relu()) + self.shortcut(x)


class ResNetGenerator(nn.Module):
    """f_θ for pictures: noise `(B, m)` to `(B, 3, size, size)` in [0, 1].

    Args:
        size: pixels each way, a power of two from 8.
        noise_dim: m.
        channels: of every block.
        folded: see `UpConv`.

    Raises:
        ValueError: size is no power of two from 8.
    """

    def __init__(self, size: int = 64, *, noise_dim: int = 128, channels: int = 128, folded: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.input = nn.Linear(noise_dim, channels * 4 * 4)
        self.blocks = nn.Sequential(*(UpBlock(channels, folded=folded) for _ in range(_doublings(size, 4))))
        self.norm = nn.BatchNorm2d(channels)
        self.output = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Draw one picture for each row of z."""
        x = self.input(z).view(len(z), self.channels, 4, 4)
        return self.output(self.norm(self.blocks(x)).relu()).sigmoid()


class ResNetMetric(nn.Module):
    """g_w for pictures: `(B, 3, size, size)` to embeddings `(B, n)`; no normalisation, so that rows are independent.

    Args:
        size: pixels each way, a power of two from 8.
        embedding_dim: n.
        channels: of the first convolution; each further one doubles them.

    Raises:
        ValueError: size is no power of two from 8.
    """

    def __init__(self, size: int = 64, *, embedding_dim: int = 10, channels: int = 32) -> None:
        super().__init__()
        widths = [3, *(channels * 2**i for i in range(_doublings(size, 2)))]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures."""
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
        return self.output(F.max_pool2d(x, 2).flatten(1))


def _doublings(size: int, start: int) -> int:
    doublings = round(math.log2(size / start)) if size > 0 else 0
    if size < 8 or start * 2**doublings != size:
        raise ValueError(f"size: pictures of {size} pixels; give a power of two from 8: 32, 64, 128")
    return doublings
