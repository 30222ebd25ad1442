"""What the adversarial peers share: a scalar critic on the same metric network, and a generator that climbs it.

D(x) = h · g_w(x) + b          h, b: the read-out, one more linear layer
generator   −E D(f_θ(z))
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method
from mvm.networks.mlp import StackedMLP
from mvm.settings import Settings

__all__ = ["Critic"]


class Critic(Method):
    """A method whose critic scores one point at a time."""

    def __init__(
        self, config: Settings, generator: nn.Module, metric: nn.Module, streams: Sequence[torch.Generator] = ()
    ) -> None:
        super().__init__(config, generator, metric, streams)
        self.critic_steps = getattr(config, config.method).critic_steps
        self.networks |= self.readout(streams)

    def readout(self, streams: Sequence[torch.Generator]) -> dict[str, nn.Module]:
        """What makes a score of an embedding, by its name in a checkpoint."""
        return {"head": StackedMLP([self.config.network.embedding_dim, 1], streams)}

    def critic(self, x: Tensor) -> Tensor:
        """D(x), `(V, B, D)` to `(V, B)`."""
        return self.networks["head"](self.embed(x)).squeeze(-1)

    def generator_loss(self, draws: Draws) -> Loss:
        """−E D(f_θ(z)) of fresh fakes."""
        score = self.critic(self.generator(draws.noise(self.batch))).mean(-1)
        return Loss(-score, {"critic_fake": score})

    def pair(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """A real batch, and a fake one that carries no gradient."""
        with torch.no_grad():
            fake = self.generator(draws.noise(self.batch))
        return draws.real(self.batch), fake

    def gap(self, real: Tensor, fake: Tensor) -> Tensor:
        """E D(real) − E D(fake), `(V,)`."""
        return self.critic(real).mean(-1) - self.critic(fake).mean(-1)
