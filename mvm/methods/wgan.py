"""WGAN: a critic with clipped weights estimates the Wasserstein-1 distance (Arjovsky et al., ICML 2017).

    critic   E D(f_θ(z)) − E D(x),   then every weight is clipped to [−c, c]     (Algorithm 1)

The paper's RMSprop is implemented as Adam with β₁ = 0, which differs by the bias correction of the first steps only.
"""

from __future__ import annotations

import torch
from pydantic import Field

from mvm.methods.critic import Critic, CriticSettings
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, peer_recipes

__all__ = ["WGAN", "WGANSettings"]


class WGANSettings(CriticSettings):
    """WGAN: weight clipping."""

    clip: float = Field(0.01, gt=0, le=10, description="c: every weight of the critic is kept within ±c")


class WGAN(Critic[WGANSettings]):
    """A critic with clipped weights."""

    title = "WGAN"
    settings_type = WGANSettings
    recipes = peer_recipes(lr=5e-5, betas=(0.0, 0.99))

    def critic_loss(self, draws: Draws) -> Loss:
        """E D(f_θ(z)) − E D(x)."""
        gap = self.gap(*self.sides(draws))
        return Loss(-gap, {"critic_gap": gap})

    @torch.no_grad()
    def constrain(self) -> None:
        """Clip every weight and bias of the critic."""
        for name in self.players["metric"]:
            for parameter in self.networks[name].parameters():
                parameter.clamp_(-self.settings.clip, self.settings.clip)
