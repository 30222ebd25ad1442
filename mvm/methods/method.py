"""What every method shares: the three verbs, the loss they return, and the random draws they consume.

    one step of the loop:   generator_loss → descend;   critic_steps × (critic_loss → descend, constrain)

The draws of step t for seed s are a function of (s, t) alone. So variants of one seed see the same real batches and the
same noise, a resumed run continues bit for bit without any saved generator state, and a forked run meets the same
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mvm.methods.draws import Draws
from mvm.settings import Settings

__all__ = ["Loss", "Method", "peer_recipes", "squared_slope"]


@dataclass(frozen=True)
class Loss:
    """A player's objective.

    Attributes:
        total: what the player descends, one value per variant, `(V,)`.
        terms: its named parts, `(V,)` each, before weights.
        reused: the next loss of this step uses parts of this one's graph, which must outlive the descent.
    """

    total: Tensor
    terms: dict[str, Tensor]
    reused: bool = False


class Method:
    """A training method: three verbs over V variants, and what the loop must know to build and save its networks.

    Args:
        config: the whole experiment, a `mvm.config.Config`: that is made of every method's settings, and so above them.
        generator: noise `(V, B, m)` to data `(V, B, D)`, unless `generator_inputs` says otherwise.
        metric: g_w, data `(V, B, D)` to embeddings `(V, B, n)`.
        streams: one random generator per seed, for networks of the method's own.

    Attributes:
        title: what the screen and tables call it.
        settings: the model of the method's own settings; its field in `Config` has the method's name.
        recipes: config defaults by name. "stabilised", the default, and "paper" are owed.
        matches_descriptors: whether variants are descriptor sets; else the one variant has the method's name.
        learns_metric: whether the metric network is trained at all.
        makes_images: whether the generator's networks for pictures serve it.
        networks: networks of its own, descended together with the metric network.
        state: tensors beside all weights that a checkpoint must hold; changed in place.
        critic_steps: updates of the metric network for each of the generator.
    """

    title: ClassVar[str]
    settings: ClassVar[type[Settings]]
    recipes: ClassVar[dict[str, dict[str, Any]]]
    matches_descriptors: ClassVar[bool] = False
    learns_metric: ClassVar[bool] = True
    makes_images: ClassVar[bool] = True

    def __init__(
        self, config: Settings, generator: nn.Module, metric: nn.Module, streams: Sequence[torch.Generator] = ()
    ) -> None:
        self.config, self.generator, self.metric, self.batch = config, generator, metric, config.batch
        self.networks: dict[str, nn.Module] = {}
        self.state: dict[str, Tensor] = {}
        self.critic_steps = 1

    @classmethod
    def noise_dim(cls, config: Settings, dim: int) -> int:
        """m, the dimension of the generator's input, for data of dimension `dim`."""
        return config.network.noise_dim

    @classmethod
    def generator_inputs(cls, config: Settings, dim: int) -> int:
        """Units in the generator network's first layer."""
        return cls.noise_dim(config, dim)

    def generator_loss(self, draws: Draws) -> Loss:
        """What the generator descends; the metric network is frozen."""
        raise NotImplementedError

    def critic_loss(self, draws: Draws) -> Loss:
        """What the metric network and `networks` descend; the generator is frozen."""
        raise NotImplementedError

    def constrain(self) -> None:
        """Project the critic's weights after its step, where the method does."""

    def reweight(self, config: Settings) -> None:
        """Take new descriptor weights while training, where the method has them."""

    @classmethod
    def evaluations(cls, config: Settings) -> int:
        """Evaluations of the generator network that one sample costs."""
        return 1

    def sample(self, generator: nn.Module, noise: Tensor) -> Tensor:
        """Fakes `(V, B, D)` from noise `(V, B, m)` by `generator`, such as the averaged one."""
        return generator(noise)

    def embed(self, x: Tensor) -> Tensor:
        """The learned embedding `(V, B, n)` of points `(V, B, D)`, as the critic sees it."""
        return self.metric(x)


def peer_recipes(*, lr: float, betas: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """The recipes of a method from elsewhere: its paper's own optimiser, or its β with this lab's rates and averaging.

    Args:
        lr: the paper's Adam step size, of both players.
        betas: the paper's β₁ β₂, of both players.
    """
    own = {"generator_betas": betas, "metric_betas": betas}
    paper = own | {"generator_lr": lr, "metric_lr": lr, "decay_to": 1.0, "ema": 0.0}
    return {"stabilised": {"optimiser": own}, "paper": {"optimiser": paper}}


def squared_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """‖∇Σ function(x)‖² at each point, `(V, B, D)` to `(V, B)`, differentiable in the function's weights."""
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return gradient.square().sum(-1)
