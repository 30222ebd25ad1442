"""Networks for x4 super-resolution: a backbone that upscales patches, a metric and discriminators of HR patches.

    generator       LR patches (3 p²) -> HR patches (3 (4p)²)        an entry of `mvm.networks.backbones.BACKBONES`
    metric          HR patches -> embeddings (n)                     `mvm.networks.resnet.PatchMetric`
    discriminator   HR patches -> a logit                            `mvm.networks.discriminators`; so is NatSR's NMD

Patches are flat, in the order row, column, colour, as pictures are in `mvm.networks.resnet`. The backbones are fully
convolutional: trained on patches, they upscale pictures of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mvm.imaging.resize import SCALE
from mvm.networks.backbones import BACKBONES
from mvm.networks.discriminators import DISCRIMINATORS, NMD
from mvm.networks.mlp import SizedBySettings
from mvm.networks.resnet import ImageStack, PatchMetric
from mvm.networks.settings import NetworkSettings

__all__ = ["SuperresNetworks"]

GENERATOR, METRIC, DISCRIMINATOR, NATURALNESS = range(4)  # offsets of the seeds of initial weights
NMD_CHANNELS = {"srgan": 64, "light": 16}  # of the first layers of the NMD beside a discriminator: NatSR's has 64


@dataclass(frozen=True)
class SuperresNetworks(SizedBySettings):
    """`Architecture` for pairs of patches: V independent members with flat inputs and outputs.

    Args:
        settings: backbone, channels and dimensions.
        patch: p, side of an LR patch in pixels.
        streams: one random generator per seed, for readouts.
        seeds: one seed of initial weights per random generator.
        copies: variants per seed; V = copies · len(seeds), seeds vary fastest.
        bf16: as in `ImageStack`.
    """

    settings: NetworkSettings
    patch: int
    streams: Sequence[torch.Generator]
    seeds: Sequence[int]
    copies: int = 1
    bf16: bool = False

    @property
    def noise_dim(self) -> int:
        """m = 3 p², dimension of a flat LR patch."""
        return 3 * self.patch**2

    @property
    def dim(self) -> int:
        """D = 3 (4p)², dimension of a flat HR patch."""
        return 3 * self.side**2

    @property
    def side(self) -> int:
        """4p, side of an HR patch in pixels."""
        return SCALE * self.patch

    def generator(self, inputs: int) -> ImageStack:
        """f_θ: flat LR patches `(V, B, 3 p²)` to flat HR patches `(V, B, D)`."""
        stack = self._stack(BACKBONES[self.settings.backbone], GENERATOR, size=self.patch)
        stack.gives_images = True
        return stack

    def metric(self) -> ImageStack:
        """g_w: flat HR patches `(V, B, D)` to `(V, B, n)`."""
        net = self.settings
        return self._stack(
            lambda: PatchMetric(
                self.side,
                embedding_dim=net.embedding_dim,
                channels=net.metric_channels,
                unit_length=net.unit_embedding,
            ),
            METRIC,
        )

    def discriminator(self) -> ImageStack:
        """Flat HR patches `(V, B, D)` to logits `(V, B, 1)`."""
        return self._stack(DISCRIMINATORS[self.settings.discriminator], DISCRIMINATOR)

    def naturalness(self) -> ImageStack:
        """NatSR's discriminator of natural patches, flat HR patches `(V, B, D)` to logits `(V, B, 1)`."""
        channels = NMD_CHANNELS[self.settings.discriminator]
        return self._stack(lambda: NMD(channels=channels), NATURALNESS)

    def _stack(self, build: Callable[[], nn.Module], offset: int, *, size: int | None = None) -> ImageStack:
        """Build V members; variants of a seed get equal initial weights, and networks of a seed different streams."""
        members = []
        with torch.random.fork_rng(devices=[]):
            for _ in range(self.copies):
                for seed in self.seeds:
                    torch.manual_seed(seed + offset)
                    members.append(build())
        return ImageStack(members, size=size or self.side, takes_images=True, bf16=self.bf16)
