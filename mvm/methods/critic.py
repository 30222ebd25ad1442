"""Base of the adversarial peers: a scalar critic on the metric's embedding, and a generator that ascends it.

D(x) = h · g_w(x) + b          h, b: the read-out, a linear layer
one step     the generator descends −E D(f_θ(z)), then the metric and the read-out descend their loss k times
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, Update
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["Critic", "CriticSettings"]


class CriticSettings(Settings):
    """Settings of every critic."""

    critic_steps: int = Field(5, ge=1, le=100, description="critic updates for each generator update")


C = TypeVar("C", bound=CriticSettings)


class Critic(Method[C]):
    """A method whose critic scores one point at a time."""

    players: ClassVar = {"generator": ("generator",), "metric": ("metric", "head")}
    opponent = "critic"

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """A generator, a metric, and the read-out, `(V, B, n)` to `(V, B, 1)`."""
        return super().build(architecture) | {"head": architecture.readout(1)}

    def critic(self, x: Tensor) -> Tensor:
        """D(x), `(V, B, D)` to `(V, B)`."""
        return self.networks["head"](self.networks["metric"](x)).squeeze(-1)

    def updates(self, draws: Draws) -> Iterator[Update]:
        """One update of the generator, then `critic_steps` updates of the critic."""
        yield "generator", self.generator_loss(draws)
        for _ in range(self.settings.critic_steps):
            yield "metric", self.critic_loss(draws)
            self.constrain()

    def generator_loss(self, draws: Draws) -> Loss:
        """−E D(f_θ(z)) on new fakes."""
        score = self.critic(self.networks["generator"](draws.noise(self.batch))).mean(-1)
        return Loss(-score, {"critic_fake": score})

    def critic_loss(self, draws: Draws) -> Loss:
        """Loss of the metric and the read-out."""
        raise NotImplementedError

    def constrain(self) -> None:
        """Project the critic's weights after each update; does nothing by default."""

    def sides(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Draw a real and a fake batch, `(V, B, D)` each; the fakes carry no gradient."""
        with torch.no_grad():
            fake = self.networks["generator"](draws.noise(self.batch))
        return draws.real(self.batch), fake

    def gap(self, real: Tensor, fake: Tensor) -> Tensor:
        """E D(real) − E D(fake), `(V,)`."""
        return self.critic(real).mean(-1) - self.critic(fake).mean(-1)
