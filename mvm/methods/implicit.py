"""Neural implicit manifold: data lie on the zeros of a network, and an energy on them is their density.

    1  manifold   E ‖F(y)‖² + λ E ‖J Jᵀ − I‖²,   F: R^D → R^c,  J: its Jacobian, at data y and between data and noise
    2  energy     contrastive divergence with persistent chains on F = 0      (mvm.methods.ebm)
       projection x ← x − Jᵀ (J Jᵀ)⁻¹ F(x)                                    Newton's steps onto F = 0
       chains     a Langevin step in space, then the projection

The penalty keeps J at full rank c, the codimension, so that F = 0 is a manifold of dimension D − c; F is then close to
the distance from it. No chart is needed: several components and holes are no obstacle.

Source: Ross et al., Neural implicit manifold learning for topology-aware density estimation, TMLR 2024; there the
penalty bounds the smallest singular value of J at the data alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mvm.errors import ConfigError
from mvm.methods.draws import Draws
from mvm.methods.ebm import chain_start, contrast, energy, langevin
from mvm.methods.method import Loss, Method, Moment, Network, Task, Update, jacobian, peer_recipes
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["Implicit", "ImplicitSettings", "project"]

FIRST, FURTHER = 8, 2  # Newton steps that bring a Gaussian point onto F = 0, and a point after a Langevin step back
DAMPING = 1e-4  # added to the diagonal of J Jᵀ
FARTHEST = 1.0  # longest Newton step, in standard deviations of the data


class ImplicitSettings(Settings):
    """Neural implicit manifold: level set, then an energy on it."""

    codimension: int = Field(
        1, ge=1, le=64, description="c: number of equations F = 0, such as 1 for a curve in the plane or 2 in space"
    )
    manifold_share: float = Field(
        0.5, gt=0, lt=1, description="fraction of the training steps that train F; the remaining steps train the energy"
    )
    penalty: float = Field(
        0.1,
        ge=0,
        le=1000,
        title="Rank penalty",
        description="λ: weight of the penalty that keeps the Jacobian of F at full rank",
    )
    langevin_steps: int = Field(50, ge=0, le=1000, description="Langevin steps on the manifold per sample")
    chain_steps: int = Field(5, ge=1, le=200, description="Langevin steps of the persistent chains in a training step")
    step: float = Field(0.1, gt=0, le=1, description="η: noise of a Langevin step, in standard deviations of the data")
    restart: float = Field(0.05, ge=0, le=1, description="probability that a chain restarts in a training step")
    strength: float = Field(0.1, ge=0, le=100, description="α: weight of the squared energies, which bounds them")


class Implicit(Method[ImplicitSettings]):
    """A level set, then a density on it."""

    title = "Neural implicit manifold"
    times = "Gaussian points are projected onto F = 0; Langevin steps follow on it"
    settings_type = ImplicitSettings
    recipes = peer_recipes(lr=1e-3, betas=(0.9, 0.999))
    kinds = ("points",)
    learns_metric = False
    players: ClassVar = {"generator": ("generator",), "energy": ("energy",)}
    averaged: ClassVar[tuple[str, ...]] = ("generator", "energy")

    def __init__(self, settings: ImplicitSettings, task: Task) -> None:
        super().__init__(settings, task)
        self.state = {"chains": chain_start(task)}
        self.first_steps = max(1, int(settings.manifold_share * task.steps))

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """F, `(V, B, D)` to `(V, B, c)`, and the energy's network, to `(V, B, 1)`."""
        dim, codimension = architecture.dim, self.settings.codimension
        if codimension >= dim:
            raise ConfigError(
                f"implicit.codimension: {codimension} equations leave no manifold in {dim} dimensions; "
                f"at most {dim - 1}"
            )
        return {"generator": architecture.perceptron(dim, codimension), "energy": architecture.perceptron(dim, 1)}

    @property
    def noise_dim(self) -> int:
        """D for a chain's start and for each of its steps."""
        return self.task.architecture.dim * (1 + self.settings.langevin_steps)

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """Of F and of the energy's network together."""
        assert isinstance(settings, ImplicitSettings)
        return FIRST + settings.langevin_steps * (1 + FURTHER)

    def phase(self, step: int) -> str:
        """The manifold's or the energy's."""
        return "manifold" if step < self.first_steps else "energy"

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield the loss of the level set, or of the energy on it."""
        real, s = draws.real(self.batch), self.settings
        normal = draws.normal(*real.shape[1:])
        level, potential = self.networks["generator"], self.networks["energy"]
        if self.phase(draws.step) == "manifold":
            residual = level(real).square().sum(-1).mean(-1)
            between = torch.lerp(real, normal, draws.uniform(self.batch, 1).square())
            penalty = (_rank_penalty(level, real) + _rank_penalty(level, between)) / 2
            yield "generator", Loss(residual + s.penalty * penalty, {"residual": residual, "rank": penalty})
            return
        chains = self.state["chains"]
        restarted = draws.uniform(self.batch, 1) < s.restart
        fake = project(level, torch.where(restarted, normal, chains), steps=FIRST)
        for _ in range(s.chain_steps):
            fake = langevin(energy(potential), fake, draws.normal(*real.shape[1:]), step=s.step)
            fake = project(level, fake, steps=FURTHER)
        chains.copy_(fake)
        yield "energy", contrast(potential, real, fake, strength=s.strength)

    def path(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment]:
        """Project Gaussian points, the first D numbers of `(V, B, m)`, onto F = 0, and run chains there."""
        level, function = networks["generator"], energy(networks["energy"])
        x, *increments = noise.split(self.task.architecture.dim, dim=-1)
        yield Moment("noise", x)
        x = project(level, x, steps=FIRST)
        yield Moment("projected", x)
        for i, increment in enumerate(increments, start=1):
            x = project(level, langevin(function, x, increment, step=self.settings.step), steps=FURTHER)
            yield Moment(f"step {i}", x)


def project(level: Network, x: Tensor, *, steps: int) -> Tensor:
    """Move points `(V, B, D)` onto the zeros of a function by Newton steps of least length; without a graph.

    Args:
        level: F, `(V, B, D)` to `(V, B, c)`.
        x: points.
        steps: number of Newton steps.
    """
    for _ in range(steps):
        values, slopes = jacobian(level, x)
        gram = slopes @ slopes.mT
        gram = gram + DAMPING * torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
        factor = torch.linalg.cholesky_ex(gram).L
        move = (slopes.mT @ torch.cholesky_solve(values[..., None], factor)).squeeze(-1)
        length = move.square().sum(-1, keepdim=True).clamp(min=FARTHEST**2).sqrt()
        x = x.detach() - move * (FARTHEST / length)
    return x


def _rank_penalty(level: Network, x: Tensor) -> Tensor:
    """E ‖J Jᵀ − I‖² at points `(V, B, D)`, `(V,)`."""
    _, slopes = jacobian(level, x, create_graph=True)
    gram = slopes @ slopes.mT
    eye = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    return (gram - eye).square().sum((-2, -1)).mean(-1)
