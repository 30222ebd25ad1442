"""Discriminators of pictures: `(B, 3, H, W)` to logits `(B,)`, for any H and W from 16 pixels.

    SRGAN    conv3, 64 -> 64 -> 128 -> ... -> 512 channels, stride 1 and 2 in turn, BN from the second, LeakyReLU₀.₂;
             mean over the picture -> Linear 1024 -> LeakyReLU₀.₂ -> Linear
    light    conv4 stride 2, 16 -> 32 -> 64 -> 64 channels, LeakyReLU₀.₂; mean over the picture -> Linear
    NMD      conv3, 2 x 64, 2 x 128, 2 x 256, 2 x 512 channels, ReLU, max-pool 2 after each two; conv3 -> mean logit

SRGAN's own dense layer reads 6 x 6 features, which fits patches of 96 pixels only; the mean over the picture before it
is this lab's. NMD is the natural-manifold discriminator of NatSR; `mvm.methods.naturalness` trains it.

Sources: SRGAN, Ledig et al., CVPR 2017, Fig. 4. NatSR, Soh et al., CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from mvm.distributed import GlobalBatchNorm
from mvm.networks.convolution import FullPrecisionConv

__all__ = ["DISCRIMINATORS", "NMD", "LightDiscriminator", "SRGANDiscriminator"]

SLOPE = 0.2  # of LeakyReLU below zero


class SRGANDiscriminator(nn.Module):
    """Discriminator of SRGAN, with the mean over the picture before its dense layers.

    Args:
        channels: channels of the first two convolutions; each further pair doubles them.
    """

    def __init__(self, *, channels: int = 64) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4) for _ in range(2)]
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=1 + (i + 1) % 2, padding=1),
                GlobalBatchNorm(outputs),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(widths[-1], 1024), nn.LeakyReLU(SLOPE), nn.Linear(1024, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pictures: `(B, 3, H, W)` to `(B,)`."""
        return _read_out(self.layers(x.contiguous(memory_format=torch.channels_last)), self.head)


class LightDiscriminator(nn.Module):
    """Discriminator without normalisation, at a third of the cost of the small backbone on the same patches.

    Args:
        channels: channels of the first convolution; the next two double them.
    """

    def __init__(self, *, channels: int = 16) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 4 * channels, 4 * channels]
        self.layers = nn.Sequential(
            *(
                layer
                for inputs, outputs in pairwise(widths)
                for layer in (nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True))
            )
        )
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pictures: `(B, 3, H, W)` to `(B,)`."""
        return _read_out(self.layers(x.contiguous(memory_format=torch.channels_last)), self.head)


class NMD(nn.Module):
    """Natural-manifold discriminator: a logit per place of a picture, averaged.

    Args:
        channels: channels of the first two convolutions; each further pair doubles them.
    """

    def __init__(self, *, channels: int = 64) -> None:
        super().__init__()
        widths = [3, *(channels * 2**i for i in range(4) for _ in range(2))]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            if i % 2:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.head = FullPrecisionConv(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pictures: `(B, 3, H, W)` to `(B,)`, positive for natural ones."""
        logits: Tensor = self.head(self.layers(x.contiguous(memory_format=torch.channels_last))).mean((1, 2, 3))
        return logits


DISCRIMINATORS: dict[str, Callable[[], nn.Module]] = {"srgan": SRGANDiscriminator, "light": LightDiscriminator}
"""Discriminators of real and upscaled patches by name."""


def _read_out(features: Tensor, head: nn.Module) -> Tensor:
    """Logits of features `(B, c, h, w)`, averaged over the picture, in the precision of the head's weights: `(B,)`."""
    with torch.autocast(features.device.type, enabled=False):
        logits: Tensor = head(features.to(next(head.parameters()).dtype).mean((2, 3))).squeeze(-1)
    return logits
