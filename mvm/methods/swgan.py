"""SWGAN: a sliced critic with learned orthogonal projections (Wu et al., CVPR 2019, the dual form).

    D(x) = mean over i of F_i(θ_iᵀ g_w(x)),   F_i(y) = LeakyReLU₀.₂(s_i y + b_i),   Θ = [θ_1 … θ_n] orthogonal
    critic   E D(x) − E D(f_θ(z)) + λ₁ E ‖(1 − t) ∇D(x̂)‖² + λ₂ E (F′(ŷ) − 0.001)²,   x̂ = (1 − t) x + t f_θ(z)
    Θ moves on the Stiefel manifold: gradients are projected to the tangent space, QR retracts Θ after each update

Signs, penalties and constants follow the authors' published code (`swgan_64x64.py`): the critic is low on real points,
and the generator descends E D(f_θ(z)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mvm.distributed import rowwise
from mvm.methods.critic import Critic, CriticSettings
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, peer_recipes, squared_slope
from mvm.networks.architecture import Architecture, StackedNetwork

__all__ = ["SWGAN", "SWGANSettings", "Slices"]

SLOPE = 0.2  # slope of LeakyReLU below zero
TARGET = 0.001  # target of F′


class SWGANSettings(CriticSettings):
    """SWGAN: sliced critic, learned projections."""

    critic_steps: int = Field(4, ge=1, le=100, description="critic updates for each generator update")
    slope_penalty: float = Field(20.0, ge=0, le=1000, description="λ₁: weight of the critic's squared slope")
    slice_penalty: float = Field(10.0, ge=0, le=1000, description="λ₂: weight of the slices' squared slope")


class Slices(StackedNetwork):
    """n learned orthogonal directions in embedding space, each with a scalar function, for V variants.

    Args:
        size: n, dimension of an embedding.
        generators: one random generator per seed; Θ is initialised by the Q of a Gaussian matrix.
        copies: variants per seed.
    """

    def __init__(self, size: int, generators: Sequence[torch.Generator], *, copies: int = 1) -> None:
        super().__init__()
        gaussian = torch.stack([torch.randn(size, size, generator=g, device=g.device) for g in generators])
        self.directions = nn.Parameter(orthogonal(gaussian).repeat(copies, 1, 1))
        self.scale = nn.Parameter(torch.ones(len(self.directions), 1, size))
        self.offset = nn.Parameter(torch.zeros(len(self.directions), 1, size))

    @rowwise
    def forward(self, e: Tensor) -> Tensor:
        """F_i(θ_iᵀ e), `(V, B, n)` to `(V, B, n)`."""
        directions = self.directions.view_as(self.directions)
        if directions.requires_grad:
            directions.register_hook(lambda gradient: tangent(self.directions.detach(), gradient))
        return F.leaky_relu(self.scale * (e @ directions) + self.offset, SLOPE)

    def matrices(self) -> dict[str, Tensor]:
        """The directions, `(V, n, n)`."""
        return {"directions": self.directions}

    @rowwise
    def slope(self, y: Tensor) -> Tensor:
        """F′ as in the published code, from values y of F, `(V, B, n)`: s_i · (y if y > 0 else −0.2 y)."""
        return self.scale * torch.where(y > 0, y, -SLOPE * y)

    @torch.no_grad()
    def retract(self) -> None:
        """Retract Θ to orthogonal matrices."""
        self.directions.copy_(orthogonal(self.directions))


class SWGAN(Critic[SWGANSettings]):
    """A sliced critic with learned projections."""

    title = "SWGAN"
    settings_type = SWGANSettings
    recipes = peer_recipes(lr=3e-4, betas=(0.0, 0.9))
    players: ClassVar = {"generator": ("generator",), "metric": ("metric", "slices")}

    @classmethod
    def movable(cls, settings: SWGANSettings) -> tuple[str, ...]:
        """λ₁ and λ₂."""
        return ("slope_penalty", "slice_penalty")

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """A generator, a metric, and slices in place of the linear read-out."""
        networks = {"generator": architecture.generator(self.noise_dim), "metric": architecture.metric()}
        self.slices = Slices(architecture.embedding_dim, architecture.streams, copies=architecture.copies)
        return networks | {"slices": self.slices}

    def critic(self, x: Tensor) -> Tensor:
        """D(x), `(V, B, D)` to `(V, B)`."""
        return self.slices(self.networks["metric"](x)).mean(-1)

    def generator_loss(self, draws: Draws) -> Loss:
        """E D(f_θ(z)) on new fakes."""
        score = self.critic(self.networks["generator"](draws.noise(self.batch))).mean(-1)
        return Loss(score, {"critic_fake": score})

    def critic_loss(self, draws: Draws) -> Loss:
        """E D(x) − E D(f_θ(z)) with both penalties."""
        metric, slices, now = self.networks["metric"], self.slices, self.coefficients
        real, fake = self.sides(draws)
        e_real, e_fake = metric(real), metric(fake)
        gap = slices(e_fake).mean((-2, -1)) - slices(e_real).mean((-2, -1))

        t = draws.uniform(self.batch, 1)
        slope = ((1 - t).squeeze(-1).square() * squared_slope(self.critic, torch.lerp(real, fake, t))).mean(-1)

        values = slices(torch.lerp(e_real, e_fake, draws.uniform(self.batch, 1)))
        steepness = (slices.slope(values) - TARGET).square().mean((-2, -1))
        total = now["slope_penalty"] * slope + now["slice_penalty"] * steepness - gap
        return Loss(total, {"critic_gap": gap, "slope": slope, "slice_slope": steepness})

    def constrain(self) -> None:
        """Retract the directions to orthogonal matrices."""
        self.slices.retract()


def orthogonal(matrix: Tensor) -> Tensor:
    """Q of the QR decomposition with a positive diagonal of R, `(V, n, n)`; keeps orthogonal matrices unchanged."""
    q, r = torch.linalg.qr(matrix)
    signed: Tensor = q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[:, None, :].to(q)
    return signed


def tangent(point: Tensor, gradient: Tensor) -> Tensor:
    """Project a gradient G to the tangent space of the orthogonal matrices at Θ: G − Θ sym(Θᵀ G), `(V, n, n)`."""
    product = point.mT @ gradient
    return gradient - point @ ((product + product.mT) / 2)
