"""Networks that a method may build, for every kind of data.

Every network has a variant axis: V members evaluated together, with flat inputs and outputs `(V, B, ·)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Architecture", "PairArchitecture", "StackedNetwork"]


class StackedNetwork(nn.Module):
    """V networks evaluated together: `(V, B, in)` to `(V, B, out)`.

    Attributes:
        compiler: as in `mvm.networks.compiled`.
    """

    compiler: str = ""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor: ...

    def matrices(self) -> dict[str, Tensor]:
        """Every weight matrix by its parameter's name, `(V, in, out)`."""
        raise NotImplementedError


class Architecture(Protocol):
    """Builds untrained networks of V members for a data set; equal seeds give equal initial weights.

    Networks draw their initial weights in the order in which they are built.

    Attributes:
        dim: D, dimension of a data point.
        noise_dim: m, dimension of the generator's noise, unless the method chooses another.
        embedding_dim: n, dimension of an embedding.
        streams: one random generator per seed, for the initial weights of networks that a method defines.
        copies: variants per seed; V = copies · len(streams), seeds vary fastest.
    """

    @property
    def dim(self) -> int: ...

    @property
    def noise_dim(self) -> int: ...

    @property
    def embedding_dim(self) -> int: ...

    @property
    def streams(self) -> Sequence[torch.Generator]: ...

    @property
    def copies(self) -> int: ...

    def generator(self, inputs: int) -> StackedNetwork:
        """f_θ: `(V, B, inputs)` to `(V, B, D)`."""
        ...

    def metric(self) -> StackedNetwork:
        """g_w: `(V, B, D)` to `(V, B, n)`."""
        ...

    def perceptron(self, inputs: int, outputs: int) -> StackedNetwork:
        """A network of the points' width and depth, for a density: `(V, B, inputs)` to `(V, B, outputs)`."""
        ...

    def readout(self, outputs: int) -> StackedNetwork:
        """A linear layer on embeddings: `(V, B, n)` to `(V, B, outputs)`."""
        ...


class PairArchitecture(Architecture, Protocol):
    """Architecture of a kind with pairs: `noise_dim` is the dimension of an input, and there are discriminators."""

    def discriminator(self) -> StackedNetwork:
        """Discriminator of data points: `(V, B, D)` to logits `(V, B, 1)`."""
        ...

    def naturalness(self) -> StackedNetwork:
        """Discriminator of natural pictures (NatSR): `(V, B, D)` to logits `(V, B, 1)`."""
        ...
