"""Energy-based model, trained by contrastive divergence with persistent Langevin chains (Du & Mordatch, NeurIPS 2019).

    energy     E(x) = ½ ‖x‖² + f_θ(x),   p(x) = exp(−E(x)) / Z        f_θ grows linearly at most: Z is finite
    chains     x ← x − d + η ε,   d = ½ η² ∇E(x), no longer than η
    generator  E f_θ(y + σε) − E f_θ(x) + α E (f_θ(y + σε)² + f_θ(x)²)         y: data, x: chains, constant
    sample     chains from Gaussian points; the last evaluation is Tweedie's:  x − σ² ∇E(x)

The chains continue from step to step, and a few of them restart from Gaussian points. Like every density of full
dimension, p has no limit on a manifold: σ > 0 bounds its energy, and its thinnest part should not be thinner than η.
A chain's random numbers are a part of the generator's input, so that a fake is a function of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, Moment, Network, Task, Update, gradient, peer_recipes
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["EBM", "EBMSettings", "chain_start", "contrast", "energy", "langevin", "log_normaliser"]

REACH, CELLS = 6.0, 256  # half the side of the square that a density in two dimensions is normalised on; its cells

RECIPES = peer_recipes(lr=1e-4, betas=(0.0, 0.999))
RECIPES["stabilised"]["optimiser"]["generator_lr"] = 1e-3  # energies at higher rates outrun their chains


class EBMSettings(Settings):
    """Energy-based model: Langevin chains."""

    evaluations: int = Field(100, ge=1, le=1000, description="Langevin steps, each one network evaluation, per sample")
    chain_steps: int = Field(20, ge=1, le=200, description="Langevin steps of the persistent chains in a training step")
    step: float = Field(0.1, gt=0, le=1, description="η: noise of a Langevin step, in standard deviations of the data")
    restart: float = Field(0.05, ge=0, le=1, description="probability that a chain restarts in a training step")
    noise: float = Field(0.1, ge=0, le=10, description="σ: noise added to the data, in their standard deviations")
    strength: float = Field(0.02, ge=0, le=100, description="α: weight of the squared energies, which bounds them")


class EBM(Method[EBMSettings]):
    """A density of full dimension, known up to a constant."""

    title = "Energy-based"
    times = "Langevin steps from Gaussian points; the last one takes their noise away"
    settings_type = EBMSettings
    recipes = RECIPES
    kinds = ("points",)
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}

    def __init__(self, settings: EBMSettings, task: Task) -> None:
        super().__init__(settings, task)
        self.state = {"chains": chain_start(task)}

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """f_θ, `(V, B, D)` to `(V, B, 1)`."""
        return {"generator": architecture.perceptron(architecture.dim, 1)}

    @property
    def noise_dim(self) -> int:
        """D for a chain's start and for each of its random steps; Tweedie's is not random."""
        return self.task.architecture.dim * self.settings.evaluations

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """One for each step of a chain."""
        assert isinstance(settings, EBMSettings)
        return settings.evaluations

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Move the chains, and yield one loss: how much lower the energy of data is than of chains."""
        s, chains, network = self.settings, self.state["chains"], self.networks["generator"]
        real = draws.real(self.batch)
        real = real + s.noise * draws.normal(*real.shape[1:])
        fresh, restarted = draws.normal(*real.shape[1:]), draws.uniform(self.batch, 1) < s.restart
        fake = torch.where(restarted, fresh, chains)
        for _ in range(s.chain_steps):
            fake = langevin(energy(network), fake, draws.normal(*real.shape[1:]), step=s.step)
        chains.copy_(fake)
        yield "generator", contrast(network, real, fake, strength=s.strength)

    def path(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment]:
        """Run chains from the first D numbers of `(V, B, m)`; the others are their steps'."""
        s, dim, function = self.settings, self.task.architecture.dim, energy(networks["generator"])
        x, *steps = noise.split(dim, dim=-1)
        yield Moment("step 0", x)
        for i, increment in enumerate(steps, start=1):
            x = langevin(function, x, increment, step=s.step)
            yield Moment(f"step {i}", x)
        yield Moment(f"step {s.evaluations}", x - s.noise**2 * gradient(function, x))

    def log_density(self, networks: Mapping[str, Network], x: Tensor) -> Tensor | None:
        """log p(x) of data with noise, `(V, B)`, normalised on a grid; None in more than two dimensions."""
        if x.shape[-1] != 2:
            return None
        function = energy(networks["generator"])
        return -function(x) - log_normaliser(function, like=x)[:, None]


def chain_start(task: Task) -> Tensor:
    """Gaussian points where the training's chains begin, `(V, B, D)`, equal for equal seeds."""
    architecture = task.architecture
    starts = [torch.randn(task.batch, architecture.dim, generator=stream) for stream in architecture.streams]
    return torch.stack(starts).repeat(architecture.copies, 1, 1)


def contrast(network: Network, real: Tensor, fake: Tensor, *, strength: float) -> Loss:
    """How much lower f_θ is at data than at chains, `(V, B, D)` each, and its squares at both by α = `strength`."""
    low, high = network(real).squeeze(-1), network(fake).squeeze(-1)
    gap = low.mean(-1) - high.mean(-1)
    bound = strength * (low.square() + high.square()).mean(-1)
    return Loss(gap + bound, {"energy_gap": gap, "bound": bound})


def energy(network: Network) -> Callable[[Tensor], Tensor]:
    """E, `(V, B, D)` to `(V, B)`, of a network f_θ, `(V, B, D)` to `(V, B, 1)`."""
    return lambda x: x.square().sum(-1) / 2 + network(x).squeeze(-1)


def langevin(energy: Callable[[Tensor], Tensor], x: Tensor, increment: Tensor, *, step: float) -> Tensor:
    """One step of chains x `(V, B, D)` with Gaussian increments ε `(V, B, D)`; `step` is η."""
    drift = step**2 / 2 * gradient(energy, x)
    length = drift.square().sum(-1, keepdim=True).clamp(min=step**2).sqrt()
    return x - drift * (step / length) + step * increment


def log_normaliser(energy: Callable[[Tensor], Tensor], *, like: Tensor) -> Tensor:
    """log Z of an energy in two dimensions, `(V,)`, by the midpoint rule on the square |x|, |y| < 6.

    Args:
        energy: E, `(V, B, 2)` to `(V, B)`.
        like: points `(V, ·, 2)` of whose device, dtype and V the grid is made.
    """
    side = 2 * REACH / CELLS
    axis = side * (torch.arange(CELLS, device=like.device, dtype=like.dtype) + 0.5) - REACH
    grid = torch.cartesian_prod(axis, axis).expand(like.shape[0], -1, -1)
    return (-energy(grid)).logsumexp(-1) + 2 * math.log(side)
