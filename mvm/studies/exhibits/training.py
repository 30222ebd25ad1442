"""Small trainings of all seeds together, on one CPU thread, followed at some of their steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.data.points import PointData
from mvm.training.experiment import Experiment, fit
from toy_manifolds.base import Manifold

__all__ = ["Along", "Study", "follow", "median_distance", "study"]

SMALL: dict[str, Any] = {"device": "cpu", "batch": 128, "optimiser": {"ema": 0.0}}
HELD_OUT = 1000  # points for likelihoods and distances
ALONG = 96  # places along a curve


@dataclass(frozen=True)
class Study:
    """An experiment on a toy manifold, with held-out points.

    Attributes:
        experiment: of all seeds.
        data: the data set, whose truth is known.
    """

    experiment: Experiment
    data: PointData

    @property
    def manifold(self) -> Manifold:
        """The truth."""
        assert self.data.manifold is not None
        return self.data.manifold

    def held_out(self, n: int = HELD_OUT) -> Tensor:
        """Other real points for each seed, standardised, `(V, n, D)`."""
        samples = [self.data.evaluation(n, repeat=seed).real for seed in self.experiment.config.seeds]
        return self.data.standardise(torch.stack(samples))

    def noise(self, n: int = HELD_OUT) -> Tensor:
        """Generator inputs `(n, m)`, equal for all seeds."""
        return self.experiment.view_inputs(n)

    def fakes(self, n: int = HELD_OUT) -> Tensor:
        """Generated points in the data's units, `(V, n, D)`."""
        return self.data.restore(self.experiment.generate(self.noise(n)))

    def scores(self, n: int) -> list[dict[str, float | None]]:
        """Scores of each seed's fakes against held-out points of its own."""
        seeds, fakes = self.experiment.config.seeds, self.fakes(n)
        return [self.data.reference(n, repeat=seed).score(fake) for seed, fake in zip(seeds, fakes, strict=True)]

    @property
    def networks(self) -> Any:
        """The networks, for the verbs of the method; without averaging they are the ones that are scored."""
        return self.experiment.method.networks


class Along:
    """Density along a closed curve.

    Args:
        study: on a curve with one chart.

    Attributes:
        place: arc length of places along the curve, `(ALONG,)`.
        truth: density of the data there, mean 1, `(ALONG,)`.
    """

    def __init__(self, study: Study) -> None:
        (chart,) = study.manifold.charts
        coordinates = torch.linspace(-np.pi, np.pi, ALONG + 1, dtype=torch.float64)[:-1, None]
        place = chart.place(coordinates)
        order = place[:, 0].argsort()
        self.place = place[order, 0].numpy()
        self.points = study.data.standardise(study.manifold.embed(coordinates[order])).float()
        density = torch.ones(ALONG) if chart.density is None else chart.density(place[order])
        self.truth = (density / density.mean()).double().numpy().ravel()

    def density(self, experiment: Experiment) -> np.ndarray:
        """The model's density at the places, with mean 1 along the curve, `(V, ALONG)`."""
        logs = experiment.log_density(self.points)
        assert logs is not None
        density = torch.softmax(logs.double(), dim=-1) * ALONG
        return density.numpy()

    def variation(self, density: np.ndarray) -> np.ndarray:
        """Total variation between densities `(V, ALONG)` and the truth, `(V,)`."""
        return np.asarray(np.abs(density - self.truth).mean(-1) / 2)


def study(seeds: Sequence[int], *, steps: int, **values: Any) -> Study:
    """Make an untrained experiment; `values` as for `Config.make`."""
    optimiser = SMALL["optimiser"] | values.pop("optimiser", {})
    config = Config.make(**SMALL | values | {"seeds": tuple(seeds), "steps": steps, "optimiser": optimiser})
    data = cast(PointData, load_data(config))
    return Study(Experiment(config, data), data)


def follow(study: Study, at: Sequence[int]) -> Iterator[int]:
    """Train to the end; yields the number of steps done at each of some steps, and at the end."""
    wanted, last = {*at}, study.experiment.config.steps
    if 0 in wanted:
        yield 0
    for step in fit(study.experiment):
        if step.number in wanted or step.number == last:
            yield step.number


def median_distance(manifold: Manifold, fakes: Tensor) -> np.ndarray:
    """Median distance of clouds `(V, n, D)` to a manifold, `(V,)`: a flow's few strays would rule the mean."""
    return np.array([manifold.distance(cloud.double()).median() for cloud in fakes])
