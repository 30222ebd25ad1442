"""SNGAN: every weight matrix of the critic is divided by its largest singular value (Miyato et al., ICLR 2018).

critic   E relu(1 − D(x)) + E relu(1 + D(f_θ(z)))     (hinge, Eqs. 16 and 17)
W̄ = W / σ(W),   σ(W) ≈ uᵀ W v,   v ← Wᵀ u / ‖·‖,   u ← W v / ‖·‖:  one iteration per critic update (Algorithm 1)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mvm.methods.critic import Critic, CriticSettings
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Task, peer_recipes

__all__ = ["SNGAN", "SNGANSettings"]


class SNGANSettings(CriticSettings):
    """SNGAN: spectral normalisation."""


class SNGAN(Critic[SNGANSettings]):
    """A critic with spectrally normalised weights."""

    title = "SNGAN"
    settings_type = SNGANSettings
    recipes = peer_recipes(lr=2e-4, betas=(0.0, 0.9))

    def __init__(self, settings: SNGANSettings, task: Task) -> None:
        super().__init__(settings, task)
        for name, weight in self._matrices():
            # the same start for every variant; a singular vector is hardly ever orthogonal to it
            self.state[f"{name}.u"] = F.normalize(torch.ones_like(weight[..., 0]), dim=-1)

    def embed(self, x: Tensor) -> Tensor:
        """g with spectrally normalised weights, `(V, B, D)` to `(V, B, n)`."""
        return self._normalised("metric", x)

    def critic(self, x: Tensor) -> Tensor:
        """D(x), `(V, B, D)` to `(V, B)`."""
        return self._normalised("head", self.embed(x)).squeeze(-1)

    def critic_loss(self, draws: Draws) -> Loss:
        """The hinge loss, after one step of power iteration."""
        self._iterate()
        real, fake = self.sides(draws)
        on_real, on_fake = self.critic(real), self.critic(fake)
        total = (1 - on_real).relu().mean(-1) + (1 + on_fake).relu().mean(-1)
        return Loss(total, {"critic_gap": (on_real.mean(-1) - on_fake.mean(-1))})

    def _matrices(self) -> list[tuple[str, Tensor]]:
        """Every weight matrix of the critic `(V, in, out)` with its name, NETWORK.PARAMETER."""
        return [
            (f"{network}.{name}", weight)
            for network in self.players["metric"]
            for name, weight in self.networks[network].matrices().items()
        ]

    @torch.no_grad()
    def _iterate(self) -> None:
        """Update u of every weight matrix by one step of power iteration."""
        for name, weight in self._matrices():
            u = self.state[f"{name}.u"]
            v = F.normalize(torch.einsum("vio,vi->vo", weight, u), dim=-1)
            u.copy_(F.normalize(torch.einsum("vio,vo->vi", weight, v), dim=-1))

    def _normalised(self, network: str, x: Tensor) -> Tensor:
        """Output of a network at x with every weight matrix W replaced by W / σ(W)."""
        module = self.networks[network]
        parameters, replaced = dict(module.named_parameters()), {}
        for name, weight in module.matrices().items():
            u = self.state[f"{network}.{name}.u"]
            v = F.normalize(torch.einsum("vio,vi->vo", weight.detach(), u), dim=-1)
            sigma = torch.einsum("vi,vio,vo->v", u, weight, v)
            replaced[name] = parameters[name] / sigma.view(-1, *[1] * (parameters[name].ndim - 1))
        output: Tensor = torch.func.functional_call(module, replaced, (x,))
        return output
