"""What is in a toy face: a small network from pictures back to their factors, 119 k parameters.

    (3, 32, 32) -> conv4 stride 2 -> conv3 stride 1, 2, 2, each with BN and ReLU -> (64, 4, 4) -> Linear, BN: features
    -> ReLU -> Linear: factors

`python -m mvm.factors` trains it; the trained one is in the repository.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from toy_manifolds.faces import FACTORS

__all__ = ["Regressor"]

WIDTHS, STRIDES = (3, 32, 32, 48, 64), (2, 1, 2, 2)


class Regressor(nn.Module):
    """Faces `(n, 3, 32, 32)` in [0, 1] to factors `(n, 12)`, about [0, 1] each."""

    size = 32
    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (a, b), stride in zip(pairwise(WIDTHS), STRIDES, strict=True):
            kernel = 4 if a == 3 else 3
            layers += [nn.Conv2d(a, b, kernel, stride=stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(WIDTHS[-1] * 4 * 4, self.feature_dim, bias=False),
            nn.BatchNorm1d(self.feature_dim, affine=False),
        )
        self.head = nn.Linear(self.feature_dim, len(FACTORS))

    def forward(self, images: Tensor) -> Tensor:
        """The factors of each face."""
        return self.read(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, `(n, 64)`: each of mean 0 and variance 1 over the faces of the training."""
        return self.body(images.to(memory_format=torch.channels_last))

    def read(self, features: Tensor) -> Tensor:
        """The factors that these features stand for."""
        return self.head(features.relu())
