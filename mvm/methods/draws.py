"""Real batches and random numbers of a training step, as a function of (seed, step) alone.

All variants of a seed see the same real batches and the same noise. A resumed run continues bit for bit without saved
generator state, and a fork draws the same batches and noise as its parent.

Two things are made on the host: batches of a table that streams them, and what a method plans there (`Draws.planned`).
On a GPU, threads make them for later steps and copy them to the device on a side stream, while the present step
computes:

    step            t                   t + 1               t + 2
    threads         make t + 1 ...      make t + 2 ...
    side stream     copy t + 1          copy t + 2
    device          wait for t, train   wait for t + 1, train
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mvm.devices import Arrival, SideStream
from mvm.methods.prefetch import Prefetch

__all__ = ["Draws", "Pair", "Plan", "Table", "stream"]

PLANNERS = 8  # threads that compute plans, at most


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


Plan = Callable[["Draws"], Sequence[Tensor]]
"""Computes tensors on the host from draws on the host, at the start of a step's streams; a pure function of them."""


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
        self._plan: Plan | None = None
        self._requests: list[int] = []
        self._places: dict[tuple[int, ...], list[Tensor]] = {}
        self._fetched: dict[tuple[int, ...], list[Tensor]] = {}
        self.at(0)

    def at(self, step: int) -> Draws:
        """Go to the start of a step's streams; fetch what the previous step took from the host.

        No wait for the device: the operations that read what is fetched are queued behind its copy.
        """
        self.step = step
        self.restart()
        requests, self._requests = self._requests, []
        keys = [(batch, n) for batch, n in enumerate(requests, start=1)]
        # kept until the next step, as the present one reads it on another stream
        self._fetched = {key: self._fetch(step, *key) for key in self._places or [*keys, *[()] * bool(self._plan)]}
        for key, places in self._places.items():
            for place, fetched in zip(places, self._fetched[key], strict=True):
                place.copy_(fetched)
        return self

    def restart(self) -> None:
        """Go back to the start of the present step's streams."""
        self.batches = 0
        for seed, generator in zip(self.seeds, self.generators, strict=True):
            generator.manual_seed(stream(seed, self.step))

    def fix(self) -> None:
        """Give what the previous step took from the host memory on the device that `at` refills.

        A captured step reads it there. The threads are idle afterwards, until the next step: a device that captures
        should do nothing else.
        """
        if "_prefetch" in self.__dict__:
            self._prefetch.settle()
        for key, fetched in self._fetched.items():
            self._places[key] = [tensor.to(self.train.device, copy=True) for tensor in fetched]

    def unfix(self) -> None:
        """Take from the host as before `fix`."""
        self._requests = [key[1] for key in self._places if key] or self._requests
        self._places = {}

    def planned(self, plan: Plan) -> list[Tensor]:
        """Take what a plan computes on the host for this step, on the device; later steps' are computed ahead.

        Args:
            plan: the same at every step; its draws are on the host whatever the device, and do not advance these.
        """
        self._plan = plan
        if () not in self._places and () not in self._fetched:
            self._fetched[()] = self._fetch(self.step)
        return self._places.get(()) or self._fetched[()]

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
            key = self.batches, n
            return self.train.finish(*(self._places.get(key) or self._fetched.get(key) or self._fetch(self.step, *key)))
        rows = [torch.randint(len(self.train), (n,), generator=g, device=g.device) for g in self.generators]
        return self.train[torch.stack(rows)]

    def _fetch(self, step: int, *batch: int) -> list[Tensor]:
        """A streamed batch by (number from 1, size), gathered pictures and rows; without one, the step's plan."""
        if not batch and self.train.device.type == "cpu":  # a thread would take a core from the training
            return self._planned_at(step)
        return self._prefetch(step, *batch).wait()

    @cached_property
    def _prefetch(self) -> Prefetch[Arrival]:
        threads = 1 if self._plan is None else max(1, min(PLANNERS, (os.cpu_count() or 1) - 1))
        return Prefetch(self._sent, threads=threads, depth=max(3, 2 * threads))

    @cached_property
    def _side(self) -> SideStream:
        return SideStream(self.train.device)

    def _sent(self, step: int, *batch: int) -> Arrival:
        return self._side.copy(self._gather(step, *batch) if batch else self._planned_at(step))

    def _planned_at(self, step: int) -> list[Tensor]:
        assert self._plan is not None
        host = Draws(self._host_table, self.seeds, copies=self.copies, noise_dim=self.noise_dim)
        return [*self._plan(host.at(step))]

    @cached_property
    def _host_table(self) -> Tensor | Table:
        assert isinstance(self.train, Tensor) or self.train.device.type == "cpu", "a plan needs points on the host"
        return self.train.cpu() if isinstance(self.train, Tensor) else self.train

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
