"""Normalizing flow of affine couplings, trained by maximum likelihood (RealNVP: Dinh et al., ICLR 2017).

    x_b ← x_b · exp(s(x_a)) + t(x_a)        the halves a and b change places from coupling to coupling
    log p(x) = log N(z; 0, I) − Σ s          z: x taken back through all couplings
    generator   −E log p(x + σε)             σ > 0: likelihood of data with noise, bounded on a manifold

A density of full dimension has no limit on a manifold: its likelihood grows without bound while the distribution along
the manifold may stay wrong (Loaiza-Ganem et al., 2022, theorem 1). With σ > 0 a fake is denoised by Tweedie's formula:

    E[x | x + σε] = x + σ² ∇ log p(x)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from mvm.distributed import rowwise
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, Network, Update, gradient, peer_recipes
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["Couplings", "NormalizingFlow", "NormalizingFlowSettings"]

STEEPEST = 3.0  # bound of |s| of one coupling


class NormalizingFlowSettings(Settings):
    """Normalizing flow: affine couplings."""

    couplings: int = Field(6, ge=2, le=64, description="number of affine coupling layers")
    noise: float = Field(0.0, ge=0, le=10, description="σ: noise added to the data, in their standard deviations")
    denoise: bool = Field(
        True, description="move each sample to its denoised mean (Tweedie's formula); no effect without noise"
    )


class Couplings(StackedNetwork):
    """K affine couplings of V members.

    Args:
        scales, shifts: one network for each coupling, `(V, B, D)` to `(V, B, D)`.
    """

    def __init__(self, scales: Sequence[StackedNetwork], shifts: Sequence[StackedNetwork]) -> None:
        super().__init__()
        self.scales, self.shifts = nn.ModuleList(scales), nn.ModuleList(shifts)

    def forward(self, x: Tensor, *, verb: Literal["generate", "log_density"] = "generate") -> Tensor:
        """`generate` data points from Gaussian points `(V, B, D)`, or `log_density` of data points `(V, B, 1)`."""
        return self.generate(x) if verb == "generate" else self.log_density(x)

    @rowwise
    def generate(self, z: Tensor) -> Tensor:
        """Generate data points from Gaussian points, `(V, B, D)`."""
        for k in range(len(self.scales)):
            moved, scale, shift = self._coupling(k, z)
            z = z + moved * (z * (scale.exp() - 1) + shift)
        return z

    @rowwise
    def log_density(self, x: Tensor) -> Tensor:
        """log p of points `(V, B, D)`, `(V, B, 1)`."""
        log_volume = x.new_zeros(*x.shape[:-1], 1)
        for k in reversed(range(len(self.scales))):
            moved, scale, shift = self._coupling(k, x)
            x = x + moved * ((x - shift) * (-scale).exp() - x)
            log_volume = log_volume - (moved * scale).sum(-1, keepdim=True)
        gaussian = -(x.square().sum(-1, keepdim=True) + x.shape[-1] * math.log(2 * math.pi)) / 2
        return gaussian + log_volume

    def matrices(self) -> dict[str, Tensor]:
        """The weight matrices of every coupling."""
        named = {"scales": self.scales, "shifts": self.shifts}
        return {
            f"{name}.{k}.{key}": matrix
            for name, networks in named.items()
            for k, network in enumerate(networks)
            for key, matrix in cast(StackedNetwork, network).matrices().items()
        }

    def _coupling(self, k: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which coordinates move, `(D,)`, and the scale and shift of each, `(V, B, D)`."""
        moved = ((torch.arange(x.shape[-1], device=x.device) + k) % 2).to(x)
        kept = x * (1 - moved)
        return moved, STEEPEST * (self.scales[k](kept) / STEEPEST).tanh(), self.shifts[k](kept)


class NormalizingFlow(Method[NormalizingFlowSettings]):
    """A density of full dimension."""

    title = "Normalizing flow"
    settings_type = NormalizingFlowSettings
    recipes = peer_recipes(lr=1e-3, betas=(0.9, 0.999))
    kinds = ("points",)
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """The couplings, each with two networks."""
        k, dim = self.settings.couplings, architecture.dim
        scales, shifts = ([architecture.generator(dim) for _ in range(k)] for _ in range(2))
        return {"generator": Couplings(scales, shifts)}

    @property
    def noise_dim(self) -> int:
        """D: a flow does not change the dimension."""
        return self.task.architecture.dim

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield one loss: minus the mean log-likelihood."""
        x = draws.real(self.batch)
        if self.settings.noise:
            x = x + self.settings.noise * draws.noise(self.batch)
        couplings = self.networks["generator"]
        assert isinstance(couplings, Couplings)
        likelihood = couplings.log_density(x).squeeze(-1).mean(-1)
        yield "generator", Loss(-likelihood, {"log_likelihood": likelihood})

    def sample(self, networks: Mapping[str, Network], noise: Tensor) -> Tensor:
        """Generate from Gaussian points `(V, B, D)`; with noise in training, denoised."""
        x = networks["generator"](noise)
        if not (self.settings.noise and self.settings.denoise):
            return x
        return x + self.settings.noise**2 * gradient(lambda x: self.log_density(networks, x), x)

    def log_density(self, networks: Mapping[str, Network], x: Tensor) -> Tensor:
        """log p(x) of data with noise, `(V, B)`."""
        return networks["generator"](x, verb="log_density").squeeze(-1)
