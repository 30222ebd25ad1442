"""A convolution that keeps full precision where the rest of a network computes in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FullPrecisionConv"]


class FullPrecisionConv(nn.Conv2d):
    """Convolution that autocast does not touch, for pixels and logits: `(B, c, H, W)` to `(B, outputs, H, W)`.

    Args:
        channels: c.
        outputs: 3 for colours.
        size: height and width of the kernel, odd.
    """

    def __init__(self, channels: int, outputs: int = 3, *, size: int = 3) -> None:
        super().__init__(channels, outputs, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in the precision of the weights."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))
