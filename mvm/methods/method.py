"""What every method shares: its networks, its players, the losses they descend, and how it samples and embeds.

    for player, loss in method.updates(draws):
        players[player].descend(loss)

One pass over `updates` is one training step, written in the order of the paper's algorithm: each loss is descended
before the next one is asked for, and what stands after a `yield` (a projection of weights) sees the new weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["Loss", "Method", "Network", "Task", "Update", "peer_recipes", "squared_slope"]

Network = Callable[[Tensor], Tensor]
"""`(V, B, in)` to `(V, B, out)`"""

S = TypeVar("S", bound=Settings)


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


Update = tuple[str, Loss]
"""A player's name and the loss that it descends."""


@dataclass(frozen=True)
class Task:
    """What a method is built for.

    Attributes:
        architecture: builds networks for the data.
        batch: B, data points in a batch.
        members: (variant, seed) of each of the V members, in the order of the variant axis.
        weights: weight of each descriptor by name.
    """

    architecture: Architecture
    batch: int
    members: Sequence[tuple[str, int]]
    weights: Mapping[str, float]


class Method(Generic[S]):
    """A training method for V members at once.

    Args:
        settings: its own settings.
        task: what it is built for.

    Attributes:
        title: its name on the screen and in tables.
        settings_type: the model of its settings; the field in `Config` has the method's name.
        recipes: config defaults by recipe. Every method has "stabilised", the default, and "paper".
        kind_recipes: further defaults by kind of data and recipe, on top of the kind's own.
        kinds: the kinds of data that it has networks for; every kind when None.
        matches_descriptors: variants are descriptor sets; else the one variant has the method's name.
        learns_metric: `embed` gives learned embeddings.
        players: the networks that each optimiser moves, by player. The optimiser's settings are those of the player's
            name, `generator` or `metric`; another player has the generator's.
        averaged: players whose weights are averaged over training for `sample`.
        networks: its networks by name; `(V, B, ·)` in and out.
        state: tensors beside all weights that a checkpoint must hold; changed in place.
    """

    title: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    recipes: ClassVar[dict[str, dict[str, Any]]]
    kind_recipes: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {}
    kinds: ClassVar[tuple[str, ...] | None] = None
    matches_descriptors: ClassVar[bool] = False
    learns_metric: ClassVar[bool] = True
    players: ClassVar[dict[str, tuple[str, ...]]] = {"generator": ("generator",), "metric": ("metric",)}
    averaged: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, settings: S, task: Task) -> None:
        self.settings, self.task, self.batch = settings, task, task.batch
        self.networks = self.build(task.architecture)
        self.state: dict[str, Tensor] = {}

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """Its untrained networks by name: a generator and a metric, unless the method has others."""
        return {"generator": architecture.generator(self.noise_dim), "metric": architecture.metric()}

    @property
    def noise_dim(self) -> int:
        """m, dimension of the noise that `sample` takes."""
        return self.task.architecture.noise_dim

    @property
    def capturable(self) -> bool:
        """Whether one step can be captured as a CUDA graph: `compute` asks the host for nothing."""
        return True

    @classmethod
    def learns(cls, kind: str) -> bool:
        """Whether it has networks for a kind of data, by the kind's name."""
        return cls.kinds is None or kind in cls.kinds

    def updates(self, draws: Draws) -> Iterator[Update]:
        """The losses of one step, each with the player that descends it, in the order of the algorithm."""
        raise NotImplementedError

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Take new descriptor weights while training, where the method has them."""

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """Evaluations of the generator network that one sample costs."""
        return 1

    def sample(self, networks: Mapping[str, Network], noise: Tensor) -> Tensor:
        """Fakes `(V, B, D)` from noise `(V, B, m)`.

        Args:
            networks: the method's networks by name, in evaluation mode, perhaps with averaged weights.
            noise: standard Gaussian.
        """
        return networks["generator"](noise)

    def embed(self, x: Tensor) -> Tensor | None:
        """The learned embedding `(V, B, n)` of points `(V, B, D)`; None for a method without a metric."""
        return self.networks["metric"](x) if "metric" in self.networks else None


def peer_recipes(*, lr: float, betas: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """Recipes of a peer: its paper's optimiser, or the paper's β with this lab's rates and averaging.

    Args:
        lr: the paper's Adam step size, for both players.
        betas: the paper's β₁ β₂, for both players.
    """
    own = {"generator_betas": betas, "metric_betas": betas}
    paper = own | {"generator_lr": lr, "metric_lr": lr, "decay_to": 1.0, "ema": 0.0}
    return {"stabilised": {"optimiser": own}, "paper": {"optimiser": paper}}


def squared_slope(function: Network, x: Tensor) -> Tensor:
    """‖∇Σ function(x)‖² at each point, `(V, B, D)` to `(V, B)`; differentiable in the function's weights, not in x."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return gradient.square().sum(-1)
