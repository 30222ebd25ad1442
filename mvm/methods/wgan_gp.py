"""WGAN-GP: the critic's slope is held at 1 between real and fake points (Gulrajani et al., NeurIPS 2017).

    critic   E D(f_θ(z)) − E D(x) + λ E (‖∇D(x̂)‖ − 1)²     (Eq. 3)

x̂ is uniform on the segment from a real to a fake point.
"""

from __future__ import annotations

import torch
from pydantic import Field

from mvm.methods.critic import Critic
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, peer_recipes, squared_slope
from mvm.settings import Settings

__all__ = ["WGANGP", "WGANGPSettings"]


class WGANGPSettings(Settings):
    """WGAN-GP: gradient penalty."""

    penalty: float = Field(10.0, ge=0, le=1000, description="λ: weight of the gradient penalty")
    critic_steps: int = Field(5, ge=1, le=100, description="critic updates for each generator update")


class WGANGP(Critic):
    """Gradient penalty: `config.wgan_gp` is read."""

    title = "WGAN-GP"
    settings = WGANGPSettings
    recipes = peer_recipes(lr=1e-4, betas=(0.0, 0.9))

    def critic_loss(self, draws: Draws) -> Loss:
        """E D(fake) − E D(real) + λ · penalty."""
        real, fake = self.pair(draws)
        gap = self.gap(real, fake)
        slope = (squared_slope(self.critic, torch.lerp(real, fake, draws.uniform(self.batch, 1))) + 1e-12).sqrt()
        penalty = (slope - 1).square().mean(-1)
        return Loss(self.config.wgan_gp.penalty * penalty - gap, {"critic_gap": gap, "penalty": penalty})
