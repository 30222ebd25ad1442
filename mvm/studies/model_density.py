"""The density that a run's model had learned by a step, evaluated in data space.

    log p(x), in nats, of standardised points      own units, as in `learned_metric`, for places only

The level curves of a share s enclose the places that are denser than the share s of the generated points:

    level_s = quantile of log p(fakes) at 1 − s
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mvm.data.points import PointData
from mvm.errors import RunError
from mvm.methods import METHODS
from mvm.runs.run import Run
from mvm.studies.learned_metric import cells, trained_at, units_of
from mvm.training.experiment import Experiment

__all__ = ["DEPTH", "GRID", "SHARES", "ModelDensity", "density_at", "level_curves", "levels", "shade_limits"]

GRID = 96  # cells along each side of the plane
SHARES = (0.5, 0.9, 0.99)  # of the generated points, that level curves enclose
DEPTH = 12.0  # nats below the largest density that colours tell apart


@dataclass(frozen=True)
class ModelDensity:
    """The density of one member of a run.

    Attributes:
        step: training step of its checkpoint.
        experiment: of the member alone.
        units: the run's data set without its points.
    """

    step: int
    experiment: Experiment
    units: PointData

    def __call__(self, points: Tensor) -> Tensor:
        """log p of points `(n, D)` in own units, in standardised coordinates, `(n,)`."""
        found = self.experiment.log_density(self.units.standardise(points))
        assert found is not None
        return found[0]

    def on_plane(self, span: Sequence[Sequence[float]]) -> np.ndarray:
        """log p at the centres of `GRID` × `GRID` cells of a rectangle `((x0, x1), (y0, y1))`, uppermost row first."""
        found: np.ndarray = self(cells(span, GRID)).view(GRID, GRID).numpy()
        return found


def density_at(run: Run, member: int, step: int, *, units: PointData | None = None) -> ModelDensity:
    """The density of one member at the last checkpoint up to a step; arguments as for `learned_metric.metric_at`.

    Raises:
        RunError: the checkpoint is missing or damaged, or the method has no density of these data; one line.
        ConfigError: the data have been removed.
    """
    units = units or units_of(run)
    experiment = trained_at(run, member, step, units)
    if experiment.log_density(torch.zeros(1, units.dim)) is None:
        title = METHODS[run.config.method].title
        raise RunError(f"run: {run.name} is of {title}, which has no density to compute in {units.dim} dimensions")
    return ModelDensity(experiment.step, experiment, units)


def levels(log_density: np.ndarray) -> list[float]:
    """Levels of log p above which `SHARES` of the generated points lie, from their log p `(n,)`; ascending."""
    known = log_density[np.isfinite(log_density)]
    found = {float(level) for level in np.quantile(known, [1 - share for share in SHARES])} if len(known) else set()
    return sorted(found)


def level_curves(values: np.ndarray, span: Sequence[Sequence[float]], at: Sequence[float]) -> list[np.ndarray]:
    """Curves `(m, 2)` on which values at the centres of cells, uppermost row first, have some levels."""
    from contourpy import contour_generator  # matplotlib's own

    rows, columns = values.shape
    (x0, x1), (y0, y1) = span
    x, y = x0 + (x1 - x0) * (np.arange(columns) + 0.5) / columns, y1 + (y0 - y1) * (np.arange(rows) + 0.5) / rows
    generator = contour_generator(x, y, np.ma.masked_invalid(values))
    return [line for level in at for line in cast(list[np.ndarray], generator.lines(level))]


def shade_limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest log p of a colour scale for all panels: `DEPTH` nats below the largest value."""
    known = np.concatenate([np.ravel(each) for each in values])
    known = known[np.isfinite(known)]
    high = float(known.max()) if len(known) else 0.0
    return high - DEPTH, high
