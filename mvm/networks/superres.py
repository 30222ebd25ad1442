"""Networks for x4 super-resolution: a backbone that upscales patches, a metric and discriminators of HR patches.

    generator       LR patches (3 p²) -> HR patches (3 (4p)²)        an entry of `mvm.networks.backbones.BACKBONES`
    metric          HR patches -> embeddings (n)                     `mvm.networks.resnet.PatchMetric`
    discriminator   HR patches -> a logit                            `mvm.networks.discriminators`; so is NatSR's NMD

Patches are flat, in the order row, column, colour, as pictures are in `mvm.networks.resnet`. The backbones are fully
convolutional: trained on patches, they upscale pictures of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mvm.imaging.resize import SCALE
from mvm.networks.backbones import BACKBONES
from mvm.networks.discriminators import DISCRIMINATORS, NMD
from mvm.networks.resnet import GENERATOR, ImageNetworks, ImageStack, PatchMetric

__all__ = ["SuperresNetworks"]

DISCRIMINATOR, NATURALNESS = 2, 3  # roles: offsets of the seeds of initial weights
NMD_CHANNELS = {"srgan": 64, "light": 16}  # of the first layers of the NMD beside a discriminator: NatSR's has 64


@dataclass(frozen=True)
class SuperresNetworks(ImageNetworks):
    """`Architecture` for pairs of patches; `size` is the side of an HR patch, 4p."""

    metric_type: ClassVar = PatchMetric

    @property
    def noise_dim(self) -> int:
        """m = 3 p², dimension of a flat LR patch."""
        return self.dim // SCALE**2

    def generator(self, inputs: int) -> ImageStack:
        """f_θ: flat LR patches `(V, B, 3 p²)` to flat HR patches `(V, B, D)`."""
        return self._stack(BACKBONES[self.settings.backbone], GENERATOR, takes_images=True, gives_images=True)

    def discriminator(self) -> ImageStack:
        """Flat HR patches `(V, B, D)` to logits `(V, B, 1)`."""
        return self._stack(DISCRIMINATORS[self.settings.discriminator], DISCRIMINATOR, takes_images=True)

    def naturalness(self) -> ImageStack:
        """NatSR's discriminator of natural patches, flat HR patches `(V, B, D)` to logits `(V, B, 1)`."""
        channels = NMD_CHANNELS[self.settings.discriminator]
        return self._stack(lambda: NMD(channels=channels), NATURALNESS, takes_images=True)
