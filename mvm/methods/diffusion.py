"""Diffusion: a denoiser at every noise level, and an ODE from noise to data (EDM: Karras et al., NeurIPS 2022).

    denoiser   D(x; σ) = x / (1 + σ²) + σ / √(1 + σ²) F_θ(x / √(1 + σ²), ¼ ln σ)         data have standard deviation 1
    generator  E ‖F_θ − F*‖²,   F*: what makes D(y + σε; σ) equal y,   ln σ ~ N(P_mean, P_std²)
    levels     σ_i = (σ_max^⅐ + i / (N − 1) (σ_min^⅐ − σ_max^⅐))⁷,  i = 0 … N − 1,   σ_N = 0
    solver     dx/dσ = (x − D(x; σ)) / σ by Heun's steps; the last one, to σ = 0, is Euler's: 2N − 1 evaluations

The score of the data with noise σ is (D(x; σ) − x) / σ². On a manifold it grows as 1/σ: each level is learned with unit
weight (F_θ has unit targets), so that the growth is in the formula and not in the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Network, Update
from mvm.methods.transport import Transport
from mvm.settings import Settings

__all__ = ["Denoiser", "Diffusion", "DiffusionSettings", "denoiser", "denoising_loss", "heun", "levels"]

RHO = 7
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Points `(V, B, D)` and noise levels `(V, B, 1)` to denoised points"""


class DiffusionSettings(Settings):
    """Diffusion: noise levels and solver."""

    levels: int = Field(20, ge=2, le=1000, description="N: noise levels of the sampler; 2N − 1 network evaluations")
    sigma_min: float = Field(0.002, gt=0, le=1, description="σ_min: lowest noise level, in standard deviations of data")
    sigma_max: float = Field(80.0, gt=1, le=1000, description="σ_max: highest noise level")
    log_mean: float = Field(-1.2, ge=-10, le=10, description="P_mean: mean of ln σ in training")
    log_std: float = Field(1.2, gt=0, le=10, description="P_std: standard deviation of ln σ in training")


class Diffusion(Transport[DiffusionSettings]):
    """Diffusion model with the preconditioning of EDM."""

    title = "Diffusion"
    settings_type = DiffusionSettings

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """Two for each level but the last."""
        assert isinstance(settings, DiffusionSettings)
        return 2 * settings.levels - 1

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield one loss: the error of F_θ at random noise levels."""
        s = self.settings
        clean = draws.real(self.batch)
        sigma = (s.log_mean + s.log_std * draws.normal(self.batch, 1)).exp()
        error = denoising_loss(self.networks["generator"], clean, draws.noise(self.batch), sigma)
        yield "generator", Loss(error, {"denoising": error})

    def sample(self, networks: Mapping[str, Network], noise: Tensor) -> Tensor:
        """Integrate from Gaussian points `(V, B, D)`."""
        s = self.settings
        sigmas = levels(s.levels, lowest=s.sigma_min, highest=s.sigma_max)
        return heun(denoiser(networks["generator"]), noise, sigmas=sigmas)

    def score(self, networks: Mapping[str, Network], x: Tensor, sigma: float) -> Tensor:
        """(D(x; σ) − x) / σ²."""
        levels_of = x.new_full((*x.shape[:-1], 1), sigma)
        return (denoiser(networks["generator"])(x, levels_of) - x) / sigma**2


def denoiser(network: Network) -> Denoiser:
    """D(x; σ) from the network F_θ, `(V, B, D + 1)` to `(V, B, D)`."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        root = (1 + sigma.square()).sqrt()
        return x / root.square() + sigma / root * network(torch.cat([x / root, sigma.log() / 4], dim=-1))

    return denoise


def denoising_loss(network: Network, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """E (‖D(y + σε; σ) − y‖² (1 + σ²) / σ²), which is E ‖F_θ − F*‖²: `(V,)`.

    Args:
        network: F_θ.
        clean: data points y `(V, B, D)`, of standard deviation 1.
        noise: ε, standard Gaussian, `(V, B, D)`.
        sigma: noise levels `(V, B, 1)`.
    """
    error = denoiser(network)(clean + sigma * noise, sigma) - clean
    return (error.square() * (1 + sigma.square()) / sigma.square()).sum(-1).mean(-1)


def levels(n: int, *, lowest: float, highest: float) -> list[float]:
    """Noise levels of the sampler, from the highest to the lowest, and 0: n + 1 numbers (EDM, Eq. 5)."""
    start, end = highest ** (1 / RHO), lowest ** (1 / RHO)
    return [(start + i / (n - 1) * (end - start)) ** RHO for i in range(n)] + [0.0]


def heun(denoise: Denoiser, noise: Tensor, *, sigmas: list[float]) -> Tensor:
    """Integrate dx/dσ = (x − D(x; σ)) / σ from σ₀ε to 0, with Gaussian ε `(V, B, D)` (EDM, Algorithm 1)."""

    def slope(x: Tensor, sigma: float) -> Tensor:
        return (x - denoise(x, x.new_full((*x.shape[:-1], 1), sigma))) / sigma

    x = sigmas[0] * noise
    for now, following in pairwise(sigmas):
        first = slope(x, now)
        moved = x + (following - now) * first
        x = moved if following == 0 else x + (following - now) * (first + slope(moved, following)) / 2
    return x
