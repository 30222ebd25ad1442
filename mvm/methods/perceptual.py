"""Perceptual losses: distances between real and upscaled pictures in the features φ of a pretrained VGG.

    SRGAN        0.006 ‖φ(x) − φ(y)‖²     last convolution of block 5, after its activation
    EnhanceNet   0.2 ‖φ₂(x) − φ₂(y)‖² + 0.02 ‖φ₅(x) − φ₅(y)‖²     pools of blocks 2 and 5
      + texture  + Σ_l w_l ‖G(φ_l(x)) − G(φ_l(y))‖² per patch of 16 x 16 pixels,     first convolutions of blocks 1 to 3
    ESRGAN       ‖φ(x) − φ(y)‖₁     last convolution of block 5, before its activation

Every norm is a mean over its numbers. G(φ) = φ φᵀ / cells is the Gram matrix of the channels over the cells of a patch.
The papers use VGG19; with the 13 convolutions of VGG16, block 5 ends one convolution earlier. EnhanceNet states its
texture weights for another scaling of G; the ratios 3 : 10 : 10 of its three layers are kept.

    loss = PERCEPTUAL_LOSSES["esrgan"].resolve(layers_of(network))
    features = load_features(name, loss.layers)
    loss(features(real), features(fake))

Sources: Ledig et al., CVPR 2017 (Eq. 5); Sajjadi et al., ICCV 2017 (section 4.2); Wang et al., ECCV workshops 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mvm.errors import check_known

__all__ = ["PERCEPTUAL_LOSSES", "PerceptualLoss", "gram", "texture_distance"]

TEXTURE_PATCH = 16  # pixels


@dataclass(frozen=True)
class PerceptualLoss:
    """A weighted sum of distances between features.

    Attributes:
        title: name on the screen and in tables.
        distances: weight of the distance of the features at each layer. A layer is named in full, or by the beginning
            of its name, which means the last such layer: "relu5" is relu5_4 in VGG19.
        textures: weight of the distance of the Gram matrices at each convolution or activation.
        absolute: mean absolute differences of features instead of squared ones.
    """

    title: str
    distances: Mapping[str, float]
    textures: Mapping[str, float] = field(default_factory=dict)
    absolute: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that the loss reads."""
        return tuple(dict.fromkeys([*self.distances, *self.textures]))

    def resolve(self, known: Sequence[str]) -> PerceptualLoss:
        """The same loss with the layers' full names.

        Args:
            known: names of a network's layers, from the shallowest.

        Raises:
            ConfigError: the network has no such layer.
        """

        def full(name: str) -> str:
            found = [layer for layer in known if layer == name or layer.startswith(f"{name}_")]
            if not found:
                check_known("layer", name, known)
            return found[-1]

        return replace(
            self,
            distances={full(name): weight for name, weight in self.distances.items()},
            textures={full(name): weight for name, weight in self.textures.items()},
        )

    def __call__(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Tensor:
        """The loss of each picture, `(B,)`.

        Args:
            real, fake: features `(B, c, h, w)` of real and upscaled pictures by the full names of `layers`.
        """
        terms = []
        for layer, weight in self.distances.items():
            difference = fake[layer] - real[layer]
            numbers = difference.abs() if self.absolute else difference.square()
            terms.append(weight * numbers.mean((1, 2, 3)))
        for layer, weight in self.textures.items():
            block = int(layer.split("_")[0][-1])  # of conv3_1 or relu3_1; each earlier block halves height and width
            side = TEXTURE_PATCH >> (block - 1)
            terms.append(weight * texture_distance(real[layer], fake[layer], side))
        return torch.stack(terms).sum(0)


def gram(features: Tensor, side: int) -> Tensor:
    """Gram matrices of the channels over patches, divided by the number of cells in a patch.

    Args:
        features: `(B, c, h, w)`.
        side: height and width of a patch in cells; cells beyond the last whole patch are left out.

    Returns:
        `(B, patches, c, c)`.
    """
    b, c, h, w = features.shape
    rows, columns = h // side, w // side
    patches = features[..., : rows * side, : columns * side].reshape(b, c, rows, side, columns, side)
    cells = patches.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, c, side**2)
    return cells @ cells.mT / side**2


def texture_distance(real: Tensor, fake: Tensor, side: int) -> Tensor:
    """Mean squared difference of the Gram matrices of patches: features `(B, c, h, w)` to `(B,)`."""
    return (gram(fake, side) - gram(real, side)).square().mean((1, 2, 3))


TEXTURES = {"relu1_1": 0.3, "relu2_1": 1.0, "relu3_1": 1.0}
POOLS = {"pool2": 0.2, "pool5": 0.02}

PERCEPTUAL_LOSSES: dict[str, PerceptualLoss] = {
    "srgan": PerceptualLoss("SRGAN", {"relu5": 0.006}),
    "enhancenet": PerceptualLoss("EnhanceNet", POOLS),
    "enhancenet_texture": PerceptualLoss("EnhanceNet with texture", POOLS, TEXTURES),
    "esrgan": PerceptualLoss("ESRGAN", {"conv5": 1.0}, absolute=True),
}
"""Perceptual losses by name."""
