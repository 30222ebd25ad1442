"""Moment matching: the generator descends a distance of two samples in data space, without a learned metric.

    mmd        E k(x, x′) + E k(y, y′) − 2 E k(x, y),   k(x, y) = Σ_s sC / (sC + ‖x − y‖²),   C = 2 D
    sliced     E_θ W₂²(θᵀx, θᵀy),   θ uniform on the sphere:   in one dimension, sorted points are paired
    sinkhorn   OT_ε(x, y) − ½ OT_ε(x, x) − ½ OT_ε(y, y),       cost ‖x − y‖² / 2,   ε = blur²

The nearest relative of MvM: there the moments are of embeddings, and the embedding is learned. All three losses see a
manifold where a likelihood cannot: they are finite and smooth between two samples without a common support.

Sources: Li, Swersky & Zemel, ICML 2015 (MMD); the multiquadric kernels of Tolstikhin et al., ICLR 2018; Deshpande,
Zhang & Schwing, CVPR 2018 (sliced); Genevay, Peyré & Cuturi, AISTATS 2018, and Feydy et al., AISTATS 2019 (Sinkhorn).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mvm.geometry.distances import pairwise
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, Update, peer_recipes
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["MomentMatching", "MomentMatchingSettings", "mmd", "sinkhorn", "sliced"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # s of the kernels
TITLES = {"mmd": "MMD", "sliced": "sliced W₂", "sinkhorn": "Sinkhorn"}


class MomentMatchingSettings(Settings):
    """Moment matching: distance of samples."""

    distance: Literal["mmd", "sliced", "sinkhorn"] = Field(
        "mmd", description="mmd: inverse multiquadric kernels; sliced: W₂ of projections; sinkhorn: entropic transport"
    )
    directions: int = Field(64, ge=1, le=4096, description="sliced: random directions per step")
    blur: float = Field(0.1, ge=1e-3, le=10, description="sinkhorn: √ε, the length below which transport is blurred")
    iterations: int = Field(20, ge=1, le=1000, description="sinkhorn: updates of the potentials per step")


class MomentMatching(Method[MomentMatchingSettings]):
    """A generator alone."""

    title = "Moment matching"
    settings_type = MomentMatchingSettings
    recipes = peer_recipes(lr=1e-3, betas=(0.5, 0.999))
    kinds = ("points",)
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """A generator, without a metric."""
        return {"generator": architecture.generator(self.noise_dim)}

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """The title with the distance."""
        return f"{title} ({TITLES[settings.distance]})"

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield one loss: the distance between a real batch and new fakes."""
        real, fake, s = draws.real(self.batch), self.networks["generator"](draws.noise(self.batch)), self.settings
        if s.distance == "mmd":
            distance = mmd(real, fake)
        elif s.distance == "sliced":
            distance = sliced(real, fake, F.normalize(draws.normal(s.directions, real.shape[-1]), dim=-1))
        else:
            distance = sinkhorn(real, fake, blur=s.blur, iterations=s.iterations)
        yield "generator", Loss(distance, {s.distance: distance})


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared MMD of samples `(V, B, D)` and `(V, B′, D)`, summed over the kernels: `(V,)`."""

    def within(x: Tensor) -> Tensor:
        n = x.shape[-2]
        return (_kernel(x, x).sum((-2, -1)) - n * len(SCALES)) / (n * (n - 1))

    return within(x) + within(y) - 2 * _kernel(x, y).mean((-2, -1))


def sliced(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """Squared W₂ of the projections of samples `(V, B, D)`, mean over unit directions `(V, L, D)`: `(V,)`."""
    projected = (points @ directions.mT for points in (x, y))
    a, b = (values.sort(dim=-2).values for values in projected)
    return (a - b).square().mean((-2, -1))


def sinkhorn(x: Tensor, y: Tensor, *, blur: float, iterations: int) -> Tensor:
    """Sinkhorn divergence from real samples `(V, B, D)` to fakes `(V, B′, D)`, differentiable in the fakes: `(V,)`.

    The potentials are computed without gradients. One last update of each with the cost's gradient gives the gradient
    of the optimum (envelope theorem).
    """
    x, fixed = x.detach(), y.detach()
    with torch.no_grad():
        costs = {"xy": _cost(x, fixed), "xx": _cost(x, x), "yy": _cost(fixed, fixed)}
        widest = torch.stack([cost.amax((-2, -1)) for cost in costs.values()]).amax(0)[:, None]
        f, g = x.new_zeros(x.shape[:-1]), y.new_zeros(y.shape[:-1])
        p, q = f.clone(), g.clone()
        for i in range(iterations):
            epsilon = _annealed(widest, blur**2, min(1.0, 2 * (i + 1) / iterations))
            f, g = (f + _softmin(costs["xy"], g, epsilon)) / 2, (g + _softmin(costs["xy"].mT, f, epsilon)) / 2
            p, q = (p + _softmin(costs["xx"], p, epsilon)) / 2, (q + _softmin(costs["yy"], q, epsilon)) / 2
        epsilon = torch.full_like(widest, blur**2)
        of_real = _softmin(costs["xy"], g, epsilon) - _softmin(costs["xx"], p, epsilon)
    of_fake = _softmin(_cost(y, x), f, epsilon) - _softmin(_cost(y, fixed), q, epsilon)
    return of_real.mean(-1) + of_fake.mean(-1)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    squares = pairwise(x, y, squared=True)
    scales = [2 * x.shape[-1] * s for s in SCALES]
    return torch.stack([c / (c + squares) for c in scales]).sum(0)


def _cost(x: Tensor, y: Tensor) -> Tensor:
    """Half the squared distances, `(V, B, B′)`."""
    return pairwise(x, y, squared=True) / 2


def _softmin(cost: Tensor, potential: Tensor, epsilon: Tensor) -> Tensor:
    """−ε log mean_j exp((potential_j − cost_ij) / ε), `(V, B)`."""
    scaled = (potential[..., None, :] - cost) / epsilon[..., None]
    return -epsilon * (scaled.logsumexp(-1) - math.log(cost.shape[-1]))


def _annealed(widest: Tensor, last: float, share: float) -> Tensor:
    """ε on its way from the widest cost to its last value, geometrically."""
    epsilon: Tensor = widest.clamp(min=last) ** (1 - share) * last**share
    return epsilon
