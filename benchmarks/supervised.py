"""Supervised upper bound for a generator: every noise vector has a known target, so that nothing has to be matched.

    loss = E ‖f_θ(z) − x(z)‖²,   x(z) = the point whose k-th intrinsic coordinate is its Φ(z_k)-quantile

x(z) has the law of the data if the coordinates are independent, as on every curve and surface here. The loss has no
sampling noise: errors that remain come from the generator's size, learning rate and number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mvm.data.points import PointData
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, Update
from mvm.settings import Settings
from mvm.training.experiment import Experiment

__all__ = ["Supervised"]


class Supervised(Method[Settings]):
    """Replaces the method of an experiment and trains its generator; no metric is trained."""

    def __init__(self, experiment: Experiment) -> None:
        self.settings, self.task = experiment.method.settings, experiment.method.task
        self.batch, self.networks, self.state = self.task.batch, experiment.method.networks, {}
        self.data: PointData = experiment.data
        generator = torch.Generator().manual_seed(0)
        self.quantiles = self.data.manifold.sample(experiment.config.points, generator).coordinates.sort(0).values

    def target(self, noise: Tensor) -> Tensor:
        """x(z) in training units, `(V, B, D)`, for noise `(V, B, m)`."""
        n, k = self.quantiles.shape
        rows = (torch.special.ndtr(noise[..., :k]) * n).long().clamp_max(n - 1)
        coordinates = torch.stack([self.quantiles[rows[..., i], i] for i in range(k)], dim=-1)
        return self.data.standardise(self.data.manifold.embed(coordinates.double())).to(noise)

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Mean squared distance to the targets."""
        noise = draws.noise(self.batch)
        error = (self.networks["generator"](noise) - self.target(noise)).square().sum(-1).mean(-1)
        yield "generator", Loss(error, {"error": error})
