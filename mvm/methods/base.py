"""What every method shares: the three verbs, the loss they return, and the random draws they consume.

The draws of step t for seed s are a function of (s, t) alone. So variants of one seed see the same real batches and the
same noise, a resumed run continues bit for bit without any saved generator state, and a forked run meets the same
batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mvm.config import Config

__all__ = ["Draws", "Loss", "Method", "stream"]


@dataclass(frozen=True)
class Loss:
    """A player's objective.

    Attributes:
        total: what the player descends, one value per variant, `(V,)`.
        terms: its named parts, `(V,)` each, before weights.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Method(Protocol):
    """A method is known to the loop by three verbs and its live weights."""

    def generator_loss(self, draws: Draws) -> Loss: ...
    def critic_loss(self, draws: Draws) -> Loss: ...
    def constrain(self) -> None: ...
    def reweight(self, config: Config) -> None: ...


def stream(seed: int, step: int) -> int:
    """A 32-bit generator seed for (seed, step): the finaliser of SplitMix64, so that neighbours are unrelated."""
    z = ((seed << 32) + step + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) % 2**32


class Draws:
    """Real batches and random numbers of one step, the same for all variants of a seed.

    Args:
        train: training points `(N, D)`.
        seeds: one stream each; V = copies · len(seeds), seeds vary fastest.
        copies: variants per seed.
        noise_dim: m, dimension of the generator's input.
    """

    def __init__(self, train: Tensor, seeds: Sequence[int], *, copies: int, noise_dim: int) -> None:
        self.train, self.seeds, self.copies, self.noise_dim = train, seeds, copies, noise_dim
        self.generators = [torch.Generator(train.device) for _ in seeds]

    def at(self, step: int) -> Draws:
        """Rewind to the beginning of the given step's streams."""
        for seed, generator in zip(self.seeds, self.generators, strict=True):
            generator.manual_seed(stream(seed, step))
        return self

    def real(self, n: int) -> Tensor:
        """n training points with replacement per variant, `(V, n, D)`."""
        rows = [torch.randint(len(self.train), (n,), generator=g, device=g.device) for g in self.generators]
        return self._per_variant(self.train[torch.stack(rows)])

    def noise(self, n: int) -> Tensor:
        """n standard Gaussian generator inputs per variant, `(V, n, m)`."""
        return self.normal(n, self.noise_dim)

    def normal(self, *shape: int) -> Tensor:
        """Standard Gaussian numbers, `(V, *shape)`."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1), `(V, *shape)`."""
        return self._draw(torch.rand, shape)

    def _draw(self, kind: type, shape: tuple[int, ...]) -> Tensor:
        dtype = self.train.dtype
        drawn = [kind(shape, generator=g, device=g.device, dtype=dtype) for g in self.generators]
        return self._per_variant(torch.stack(drawn))

    def _per_variant(self, per_seed: Tensor) -> Tensor:
        return per_seed.repeat(self.copies, *[1] * (per_seed.ndim - 1)) if self.copies > 1 else per_seed
