"""Real batches and random numbers of a training step, as a function of (seed, step) alone.

All variants of a seed see the same real batches and the same noise. A resumed run continues bit for bit without saved
generator state, and a fork draws the same batches and noise as its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mvm.methods.prefetch import Prefetch

__all__ = ["Draws", "Pair", "Table", "stream"]


def stream(seed: int, step: int) -> int:
    """Hash (seed, step) to a 32-bit generator seed by SplitMix64's finaliser, so that consecutive steps decorrelate."""
    z = ((seed << 32) + step + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) % 2**32


class Pair(NamedTuple):
    """An aligned batch: generator inputs `(..., n, m)` and their target data points `(..., n, D)`."""

    inputs: Tensor
    targets: Tensor


class Table(Protocol):
    """Training points computed at the draw: `table[rows]` is `finish(gather(rows), rows)`, `(*rows.shape, D)`.

    A tensor `(N, D)` also serves as a table. For paired data, `table[rows]` is a `Pair`.

    Attributes:
        device, dtype: device and dtype of drawn points.
        streamed: batches are copied from the host to the device, so a thread calls `gather` for later steps.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def streamed(self) -> bool: ...

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Tensor) -> Tensor | Pair: ...
    def gather(self, rows: Tensor) -> Tensor: ...
    def finish(self, gathered: Tensor, rows: Tensor) -> Tensor | Pair: ...


class Draws:
    """Real batches and random numbers of one step, the same for all variants of a seed.

    Args:
        train: training points, `(N, D)` or a `Table`.
        seeds: each seed has its own stream; V = copies · len(seeds), seeds vary fastest.
        copies: variants per seed.
        noise_dim: m, dimension of the noise.
    """

    def __init__(self, train: Tensor | Table, seeds: Sequence[int], *, copies: int, noise_dim: int) -> None:
        self.train, self.seeds, self.copies, self.noise_dim = train, seeds, copies, noise_dim
        self.generators = [torch.Generator(train.device) for _ in seeds]
        self._requests: list[int] = []
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.at(0)

    def at(self, step: int) -> Draws:
        """Go to the start of a step's streams; fetch streamed batches of the sizes that the previous step drew."""
        self.step = step
        self.restart()
        if self._places:
            for (batch, n), places in self._places.items():
                for place, fetched in zip(places, self._prefetch(step, batch, n), strict=True):
                    place.copy_(fetched, non_blocking=True)
            return self
        requests, self._requests = self._requests, []
        self._fetched = {
            (batch, n): self._prefetch(step, batch, n) for batch, n in enumerate(requests, start=1)
        }  # fmt: skip
        return self

    def restart(self) -> None:
        """Go back to the start of the present step's streams."""
        self.batches = 0
        for seed, generator in zip(self.seeds, self.generators, strict=True):
            generator.manual_seed(stream(seed, self.step))

    def fix(self) -> None:
        """Give the streamed batches of a step, as the previous step drew them, memory on the device that `at` refills.

        A captured step reads its batches there.
        """
        for key, (gathered, rows) in self._fetched.items():
            self._places[key] = gathered.to(self.train.device, copy=True), rows.to(self.train.device, copy=True)

    def unfix(self) -> None:
        """Draw streamed batches as before `fix`."""
        self._requests = [n for _, n in self._places] or self._requests
        self._places = {}

    def real(self, n: int) -> Tensor:
        """Draw n training points with replacement per variant, `(V, n, D)`."""
        drawn = self._rows(n)
        return self._per_variant(drawn.targets if isinstance(drawn, Pair) else drawn)

    def pair(self, n: int) -> Pair:
        """Draw n aligned inputs and targets with replacement per variant, `(V, n, ·)`; paired data only."""
        drawn = self._rows(n)
        assert isinstance(drawn, Pair), "this data set has no pairs"
        return Pair(*map(self._per_variant, drawn))

    def noise(self, n: int) -> Tensor:
        """Draw n standard Gaussian generator inputs per variant, `(V, n, m)`."""
        return self.normal(n, self.noise_dim)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard Gaussian numbers, `(V, *shape)`."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers uniform in [0, 1), `(V, *shape)`."""
        return self._draw(torch.rand, shape)

    def _rows(self, n: int) -> Tensor | Pair:
        """Draw n training points per seed, `(seeds, n, D)`."""
        if not isinstance(self.train, Tensor) and self.train.streamed:
            self.batches += 1
            self._requests.append(n)
            fetched = self._places.get((self.batches, n)) or self._fetched.pop((self.batches, n), None)
            return self.train.finish(*(fetched or self._prefetch(self.step, self.batches, n)))
        rows = [torch.randint(len(self.train), (n,), generator=g, device=g.device) for g in self.generators]
        return self.train[torch.stack(rows)]

    @cached_property
    def _prefetch(self) -> Prefetch[tuple[Tensor, Tensor]]:
        return Prefetch(self._gather)

    def _gather(self, step: int, batch: int, n: int) -> tuple[Tensor, Tensor]:
        """Gather batch number `batch` (from 1) of a step, and its rows `(seeds, n)`, drawn on the host."""
        assert not isinstance(self.train, Tensor)
        streams = [torch.Generator().manual_seed(stream(stream(seed, step), batch)) for seed in self.seeds]
        rows = torch.stack([torch.randint(len(self.train), (n,), generator=g) for g in streams])
        return self.train.gather(rows), rows

    def _draw(self, kind: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        dtype = self.train.dtype
        drawn = [kind(shape, generator=g, device=g.device, dtype=dtype) for g in self.generators]
        return self._per_variant(torch.stack(drawn))

    def _per_variant(self, per_seed: Tensor) -> Tensor:
        """Repeat `(seeds, ...)` for the variants of each seed: `(V, ...)`."""
        return per_seed.repeat(self.copies, *[1] * (per_seed.ndim - 1)) if self.copies > 1 else per_seed
