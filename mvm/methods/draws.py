"""Real batches and random numbers of a step: a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from mvm.methods.prefetch import Ahead

__all__ = ["Draws", "Table", "stream"]


def stream(seed: int, step: int) -> int:
    """A 32-bit generator seed for (seed, step): the finaliser of SplitMix64, so that neighbours are unrelated."""
    z = ((seed << 32) + step + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) % 2**32


class Table(Protocol):
    """Training points that are made when they are drawn: `table[rows]` is `finish(gather(rows), rows)`.

    Attributes:
        device, dtype: of what is drawn.
        streamed: whether `gather` reads from the host to another device: it is then called in a thread, steps ahead.
    """

    device: torch.device
    dtype: torch.dtype
    streamed: bool

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Tensor) -> Tensor: ...
    def gather(self, rows: Tensor) -> Tensor: ...
    def finish(self, gathered: Tensor, rows: Tensor) -> Tensor: ...


class Draws:
    """Real batches and random numbers of one step, the same for all variants of a seed.

    Args:
        train: training points `(N, D)`, or what gives them when indexed by rows.
        seeds: one stream each; V = copies · len(seeds), seeds vary fastest.
        copies: variants per seed.
        noise_dim: m, dimension of the generator's input.
    """

    def __init__(self, train: Tensor | Table, seeds: Sequence[int], *, copies: int, noise_dim: int) -> None:
        self.train, self.seeds, self.copies, self.noise_dim = train, seeds, copies, noise_dim
        self.generators = [torch.Generator(train.device) for _ in seeds]
        self.at(0)

    def at(self, step: int) -> Draws:
        """Rewind to the beginning of the given step's streams."""
        self.step, self.batches = step, 0
        for seed, generator in zip(self.seeds, self.generators, strict=True):
            generator.manual_seed(stream(seed, step))
        return self

    def real(self, n: int) -> Tensor:
        """n training points with replacement per variant, `(V, n, D)`."""
        if not isinstance(self.train, Tensor) and self.train.streamed:
            self.batches += 1
            return self._per_variant(self.train.finish(*self._ahead(self.step, self.batches, n)))
        rows = [torch.randint(len(self.train), (n,), generator=g, device=g.device) for g in self.generators]
        return self._per_variant(self.train[torch.stack(rows)])

    @cached_property
    def _ahead(self) -> Ahead[tuple[Tensor, Tensor]]:
        return Ahead(self._gather)

    def _gather(self, step: int, batch: int, n: int) -> tuple[Tensor, Tensor]:
        """The batch of this number in a step, counted from 1, and its rows: streams of their own, on the host."""
        streams = [torch.Generator().manual_seed(stream(stream(seed, step), batch)) for seed in self.seeds]
        rows = torch.stack([torch.randint(len(self.train), (n,), generator=g) for g in streams])
        return self.train.gather(rows), rows

    def noise(self, n: int) -> Tensor:
        """n standard Gaussian generator inputs per variant, `(V, n, m)`."""
        return self.normal(n, self.noise_dim)

    def normal(self, *shape: int) -> Tensor:
        """Standard Gaussian numbers, `(V, *shape)`."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1), `(V, *shape)`."""
        return self._draw(torch.rand, shape)

    def _draw(self, kind: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        dtype = self.train.dtype
        drawn = [kind(shape, generator=g, device=g.device, dtype=dtype) for g in self.generators]
        return self._per_variant(torch.stack(drawn))

    def _per_variant(self, per_seed: Tensor) -> Tensor:
        return per_seed.repeat(self.copies, *[1] * (per_seed.ndim - 1)) if self.copies > 1 else per_seed
