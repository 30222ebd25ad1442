"""What methods share that carry Gaussian points to data by a network of a point and a time or noise level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from mvm.methods.method import Method, Moment, Network, last, peer_recipes
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["Transport"]

S = TypeVar("S", bound=Settings)


class Transport(Method[S]):
    """A generator alone, evaluated many times for each sample; there is no metric."""

    recipes: ClassVar[dict[str, dict[str, Any]]] = peer_recipes(lr=1e-3, betas=(0.9, 0.999))
    kinds = ("points",)
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """A network of a point and a time or noise level, `(V, B, D + 1)` to `(V, B, D)`."""
        return {"generator": architecture.generator(architecture.dim + 1)}

    @property
    def noise_dim(self) -> int:
        """D: a sample starts from a Gaussian point of the data's dimension."""
        return self.task.architecture.dim

    def path(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment]:
        """Integrate from Gaussian points `(V, B, D)`."""
        raise NotImplementedError

    def sample(self, networks: Mapping[str, Network], noise: Tensor) -> Tensor:
        """The end of the `path`."""
        return last(self.path(networks, noise))
