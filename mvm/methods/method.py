"""Base of every method: networks, players, the losses that players descend, sampling and embedding.

    for player, loss in method.updates(draws):
        players[player].descend(loss)

A pass over `updates` is one training step in the order of the paper's algorithm. Each loss is descended before the next
is requested, so that code after a `yield`, such as a projection of weights, sees the updated weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.networks.compiled import twice_differentiable
from mvm.settings import Settings
from mvm.variants import PAIRED_KINDS, own_settings

__all__ = [
    "PAIRED_KINDS",
    "Loss",
    "Method",
    "Moment",
    "Network",
    "Task",
    "Update",
    "gradient",
    "jacobian",
    "last",
    "peer_recipes",
    "squared_slope",
]

Network = Callable[..., Tensor]
"""`(V, B, in)` to `(V, B, out)`; networks that can do more than one thing take its name as `verb`"""

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Loss:
    """A player's objective.

    Attributes:
        total: value that the player descends, per variant, `(V,)`.
        terms: named parts of the total before weighting, `(V,)` each.
        reused: the step's next loss shares a part of this loss's graph, so the graph is kept after the descent.
    """

    total: Tensor
    terms: dict[str, Tensor]
    reused: bool = False


Update = tuple[str, Loss]
"""Name of a player, and the loss that it descends."""


class Moment(NamedTuple):
    """Samples at one time of their sampling.

    Attributes:
        time: the time in the method's own terms, such as "t = 0.20".
        points: `(V, B, D)`.
    """

    time: str
    points: Tensor


@dataclass(frozen=True)
class Task:
    """Networks, batch, members and weights that a method is built for.

    Attributes:
        architecture: builds networks for the data.
        batch: B, number of data points in a batch.
        steps: of the whole training.
        members: (variant, seed) of each of the V members, in the order of the variant axis.
        weights: weight of each descriptor, and of each term of a loss on pairs, by name.
        pairs: settings of the losses on pairs; None for data without pairs.
    """

    architecture: Architecture
    batch: int
    members: Sequence[tuple[str, int]]
    weights: Mapping[str, float]
    pairs: Settings | None = None
    steps: int = 1

    def values_of(self, name: str, value: float) -> list[float]:
        """Value of a setting in each member, by its name without a group: the variant's own, or `value`."""
        own = ({key.rpartition(".")[2]: each for key, each in own_settings(v).items()} for v, _ in self.members)
        return [each.get(name, value) for each in own]


class Method(Generic[S]):
    """A training method for V members at once.

    Args:
        settings: the method's settings.
        task: networks, batch, members and weights.

    Attributes:
        title: name on the screen and in tables.
        settings_type: model of the method's settings, which `Config` holds under the method's name.
        times: what the times of its `path` are, in a few words; "" for a method of a single pass.
        recipes: config defaults by recipe. Every method has "stabilised", the default, and "paper".
        kind_recipes: config defaults by kind of data, then by recipe, on top of the kind's own defaults.
        kinds: names of the kinds of data that the method can train on; None for every kind without pairs.
        paired_kinds: names of kinds with pairs that it learns, too, by a class of its own (`mvm.methods.method_on`).
        matches_descriptors: variants are descriptor sets; if False, the single variant has the method's name.
        learns_metric: `embed` returns learned embeddings.
        players: names of the networks that each player's optimiser updates, by player. The player `metric` has the
            optimiser settings of the metric; every other player has the generator's.
        opponent: what the network that learns at the metric's rate is called.
        averaged: players whose weights are averaged over training for `sample`.
        networks: networks by name, with inputs and outputs `(V, B, ·)`.
        values: present values of the settings in `movable`, one for each member.
        state: further tensors that a checkpoint must hold; changed in place.
        coefficients: settings among `movable` as tensors, changed in place, so that a captured graph sees it: 0-dim, or
            `(V,)` where members have values of their own.
    """

    title: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    times: ClassVar[str] = ""
    recipes: ClassVar[dict[str, dict[str, Any]]]
    kind_recipes: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {}
    kinds: ClassVar[tuple[str, ...] | None] = None
    paired_kinds: ClassVar[tuple[str, ...]] = ()
    matches_descriptors: ClassVar[bool] = False
    learns_metric: ClassVar[bool] = True
    players: ClassVar[dict[str, tuple[str, ...]]] = {"generator": ("generator",), "metric": ("metric",)}
    opponent: ClassVar[str] = "metric"
    averaged: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, settings: S, task: Task) -> None:
        self.settings, self.task, self.batch = settings, task, task.batch
        self.networks = self.build(task.architecture)
        self.state: dict[str, Tensor] = {}
        self.values = {name: task.values_of(name, getattr(settings, name)) for name in self.movable(settings)}
        self.coefficients: dict[str, Tensor] = {}
        for name, values in self.values.items():
            each = [torch.full((), value, dtype=torch.float64) for value in values]
            self.coefficients[name] = torch.stack(each) if len({*values}) > 1 else each[0]

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """Build untrained networks by name: by default a generator and a metric."""
        return {"generator": architecture.generator(self.noise_dim), "metric": architecture.metric()}

    @property
    def noise_dim(self) -> int:
        """m, dimension of the noise that `sample` takes."""
        return self.task.architecture.noise_dim

    @property
    def host_work(self) -> str:
        """What a step computes on the host, in a few words; "" if a CUDA graph can capture the step."""
        return ""

    def phase(self, step: int) -> str:
        """Phase of the training at a step: `updates` starts the same operations in every step of a phase."""
        return ""

    @classmethod
    def learns(cls, kind: str) -> bool:
        """Whether the method can train on a kind of data, by its name."""
        known = kind not in PAIRED_KINDS if cls.kinds is None else kind in cls.kinds
        return known or kind in cls.paired_kinds

    @classmethod
    def terms(cls, pairs: Any) -> tuple[str, ...]:
        """Names in `mvm.methods.pairs.TERMS` of its losses, with the settings of losses on pairs."""
        return ()

    @classmethod
    def movable(cls, settings: Any) -> tuple[str, ...]:
        """Names of its settings that may be changed while training: numbers that `updates` reads as `coefficients`."""
        return ()

    @classmethod
    def refusal(cls, pairs: Any) -> str:
        """Why the method cannot train with the settings of losses on pairs, in a line; "" if it can."""
        return ""

    def prepare(self) -> None:
        """Load, before a step, what training needs and a trained generator does not; does nothing by default.

        Raises:
            ConfigError: it is not there; one line.
        """

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """Name of a variant in legends and tables: its title, with what the settings add to it.

        Args:
            title: of the variant.
            settings: the method's.
            pairs: settings of the losses on pairs; None for data without pairs.
        """
        return title

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield the losses of one step, each with its player, in the order of the algorithm."""
        raise NotImplementedError

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Set new descriptor weights during training; does nothing in a method without descriptors."""

    def move(self, values: Mapping[str, float]) -> None:
        """Set new values of some `movable` settings, of all members, from the next step on."""
        for name, value in values.items():
            self.values[name] = [value] * len(self.task.members)
            self.coefficients[name].fill_(value)

    def acts(self, name: str) -> bool:
        """Whether a coefficient of its losses differs from 0 in any member; False for one that it does not have."""
        return any(self.values.get(name, ()))

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """Number of evaluations of the generator network per sample."""
        return 1

    def sample(self, networks: Mapping[str, Network], noise: Tensor) -> Tensor:
        """Generate fakes `(V, B, D)` from standard Gaussian noise `(V, B, m)`.

        Args:
            networks: the method's networks by name, in evaluation mode, with current or averaged weights.
            noise: generator inputs.
        """
        path = self.path(networks, noise)
        return networks["generator"](noise) if path is None else last(path)

    def path(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment] | None:
        """Fakes at every time of sampling, from noise to what `sample` returns; None for a method of a single pass.

        Args:
            networks: as for `sample`.
            noise: as for `sample`.
        """
        return None

    def log_density(self, networks: Mapping[str, Network], x: Tensor) -> Tensor | None:
        """log p of standardised points `(V, B, D)` under the generator, `(V, B)`; None for a method without a density.

        Args:
            networks: as for `sample`.
            x: points.
        """
        return None

    def decode(self, networks: Mapping[str, Network], latents: Tensor) -> Tensor | None:
        """Points `(V, B, D)` of latents `(V, B, n)`, which `embed` encodes; None unless it is an autoencoder."""
        return None

    def score(self, networks: Mapping[str, Network], x: Tensor, sigma: float) -> Tensor | None:
        """∇ log p of points `(V, B, D)` with noise of deviation σ, `(V, B, D)`; None for a method that learns none."""
        return None

    def embed(self, x: Tensor) -> Tensor | None:
        """Embed points `(V, B, D)` as `(V, B, n)`; None for a method without a metric."""
        return self.networks["metric"](x) if "metric" in self.networks else None


def peer_recipes(*, lr: float, betas: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """Recipes of a peer: "paper" has its paper's optimiser, "stabilised" the paper's β with this lab's other defaults.

    Args:
        lr: the paper's Adam step size, for both players.
        betas: the paper's Adam β₁ and β₂, for both players.
    """
    stabilised = {"generator_betas": betas, "metric_betas": betas}
    paper = stabilised | {"generator_lr": lr, "metric_lr": lr, "decay_to": 1.0, "ema": 0.0}
    return {"stabilised": {"optimiser": stabilised}, "paper": {"optimiser": paper}}


def last(path: Iterable[Moment]) -> Tensor:
    """Points of a path's last moment, `(V, B, D)`; the earlier ones are not kept."""
    for moment in path:  # noqa: B007
        pass
    return moment.points


def gradient(function: Network, x: Tensor) -> Tensor:
    """∇ function(x) at each point, `(V, B, D)` to `(V, B, D)`, for one number a point; without a graph."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x)
    return slope


def jacobian(function: Network, x: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Values `(V, B, c)` and Jacobian `(V, B, c, D)` of a function at points `(V, B, D)`.

    Args:
        function: `(V, B, D)` to `(V, B, c)`, each row by itself.
        x: points; the results carry no gradient to them.
        create_graph: the results are differentiable in the function's weights.
    """
    with torch.enable_grad(), twice_differentiable():
        x = x.detach().requires_grad_()
        values = function(x)
        rows = [
            torch.autograd.grad(value.sum(), x, create_graph=create_graph, retain_graph=True)[0]
            for value in values.unbind(-1)
        ]
    return (values if create_graph else values.detach()), torch.stack(rows, dim=-2)


def squared_slope(function: Network, x: Tensor) -> Tensor:
    """‖∇Σ function(x)‖² at each point, `(V, B, D)` to `(V, B)`; differentiable in the function's weights, not in x."""
    x = x.detach().requires_grad_()
    with twice_differentiable():
        y = function(x).sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    return gradient.square().sum(-1)
