"""What methods share that carry Gaussian points to data by a network of a point and a time or noise level.

    dx/dt = v(x, t)      carries N(0, s² I) at the time of noise t_N to the data at t_0
    log p(x) = log N(x(t_N); 0, s² I) + ∫ div v(x(t), t) dt, from t_0 to t_N along the path through x

The divergence is exact: D derivatives of the network at every point, and so taken up to `MOST_DIM` dimensions only.
Source: Chen et al., Neural ordinary differential equations, NeurIPS 2018, Eq. 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from mvm.methods.method import Method, Moment, Network, jacobian, peer_recipes
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["Transport", "log_density_by_path"]

S = TypeVar("S", bound=Settings)
Slope = Callable[[Tensor, float], Tensor]
"""v(x, t) of points `(V, B, D)` at a time"""

MOST_DIM = 8  # of data whose density is computed


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


def log_density_by_path(slope: Slope, x: Tensor, *, times: Sequence[float], scale: float) -> Tensor | None:
    """log p of data points `(V, B, D)`, `(V, B)`, by Runge-Kutta's steps of order 4 from the data to the noise.

    Args:
        slope: v(x, t).
        x: points.
        times: t_0, of the data, to t_N, of the noise.
        scale: s, standard deviation of the noise.

    Returns:
        None in more than `MOST_DIM` dimensions.
    """
    dim = x.shape[-1]
    if dim > MOST_DIM:
        return None
    gained = x.new_zeros(x.shape[:-1])
    for now, after in pairwise(times):
        step, stages = after - now, [_with_divergence(slope, x, now)]
        for share in (0.5, 0.5, 1.0):
            stages.append(_with_divergence(slope, x + share * step * stages[-1][0], now + share * step))
        velocity, divergence = ((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(*stages, strict=True))
        x, gained = x + step * velocity, gained + step * divergence
    return gained - x.square().sum(-1) / (2 * scale**2) - dim * math.log(scale * math.sqrt(2 * math.pi))


def _with_divergence(slope: Slope, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """v(x, t) `(V, B, D)` and its divergence `(V, B)`."""
    velocity, slopes = jacobian(lambda x: slope(x, t), x)
    return velocity, slopes.diagonal(dim1=-2, dim2=-1).sum(-1)
