"""WGAN-GP: a penalty keeps the critic's slope at 1 between real and fake points (Gulrajani et al., NeurIPS 2017).

    critic   E D(f_θ(z)) − E D(x) + λ E (‖∇D(x̂)‖ − 1)²     (Eq. 3)

x̂ is uniform on the segment between a real and a fake point.
"""

from __future__ import annotations

import torch
from pydantic import Field

from mvm.methods.critic import Critic, CriticSettings
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, peer_recipes, squared_slope

__all__ = ["WGANGP", "WGANGPSettings"]


class WGANGPSettings(CriticSettings):
    """WGAN-GP: gradient penalty."""

    penalty: float = Field(
        10.0, ge=0, le=1000, title="Gradient penalty", description="λ: weight of the gradient penalty"
    )


class WGANGP(Critic[WGANGPSettings]):
    """A critic with a gradient penalty."""

    title = "WGAN-GP"
    settings_type = WGANGPSettings
    recipes = peer_recipes(lr=1e-4, betas=(0.0, 0.9))

    @classmethod
    def movable(cls, settings: WGANGPSettings) -> tuple[str, ...]:
        """λ."""
        return ("penalty",)

    def critic_loss(self, draws: Draws) -> Loss:
        """E D(f_θ(z)) − E D(x) + λ · penalty."""
        real, fake = self.sides(draws)
        gap = self.gap(real, fake)
        slope = (squared_slope(self.critic, torch.lerp(real, fake, draws.uniform(self.batch, 1))) + 1e-12).sqrt()
        penalty = (slope - 1).square().mean(-1)
        return Loss(self.coefficients["penalty"] * penalty - gap, {"critic_gap": gap, "penalty": penalty})
