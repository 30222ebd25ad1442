"""The networks that a method may ask for, whatever the kind of data.

Every network has a variant axis: V members, evaluated as one, flat `(V, B, ·)` in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Architecture", "StackedNetwork"]


class StackedNetwork(nn.Module):
    """V networks evaluated as one: `(V, B, in)` to `(V, B, out)`."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor: ...

    def matrices(self) -> dict[str, Tensor]:
        """Every weight matrix by its parameter's name, `(V, in, out)`."""
        raise NotImplementedError


class Architecture(Protocol):
    """Builds untrained networks of V members for one data set; equal seeds start from equal weights.

    Networks draw their first weights in the order in which they are built.

    Attributes:
        dim: D, numbers in one data point.
        noise_dim: m, numbers in one generator input, where the method does not choose it.
        embedding_dim: n, dimension of an embedding.
        streams: one random generator per seed, for the first weights of a method's own networks.
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

    def readout(self, outputs: int) -> StackedNetwork:
        """A linear layer on embeddings: `(V, B, n)` to `(V, B, outputs)`."""
        ...
