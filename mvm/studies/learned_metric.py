"""The metric that a run had learned by a step, evaluated on its data in the data's own units.

    e(x)         g_w((x − mean) / scale)            x: own units;  g_w: the learned embedding, read from a checkpoint
    move_k(x_j)  scale · force_k((x_j − mean) / scale)      the step that descriptor k asks of training, in own units
    G(x)         (∂e/∂x)ᵀ ∂e/∂x                     pull-back metric: length of small steps in own units

Training standardises points: a toy manifold by one number, an own file column by column. Forces are steps of training
and are mapped back by `scale`; the pull-back metric belongs to the displayed space, and its derivative is taken there.

Snapshots hold no weights. The weights are those of the last checkpoint up to a step: a kept one, or the last one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mvm.data.kinds import KINDS
from mvm.data.points import PointData
from mvm.errors import ConfigError, RunError
from mvm.geometry.forces import forces
from mvm.geometry.pullback import Map, geodesic, log_volume, pull_back, restrict, tangents
from mvm.look.scales import round_number
from mvm.runs.layout import CHECKPOINT
from mvm.runs.run import Run
from mvm.training.checkpoint import load_member
from mvm.training.experiment import Experiment
from toy_manifolds import Manifold

__all__ = [
    "ELLIPSES",
    "FIELD",
    "FILL",
    "Field",
    "LearnedMetric",
    "LocalMetric",
    "Route",
    "cells",
    "checkpoint_at",
    "field_on",
    "metric_at",
    "moves",
    "on_manifold",
    "routes",
    "step_length",
    "trained_at",
    "true_route",
    "units_of",
]

FIELD, ELLIPSES = 64, 9  # cells along each side of the plane, for the log volume and for the ellipses
FILL = 0.48  # longest half-axis, as a share of the distance between two centres
NO_CHECKPOINT = "run: {} has no checkpoint yet, and so no learned metric"
AGREE = 0.01  # largest relative difference between a path's length and the manifold's own geodesic distance


@dataclass(frozen=True)
class LearnedMetric:
    """The learned embedding of one member of a run; distances between embeddings are its metric.

    Attributes:
        step: training step of its checkpoint.
        embed: g_w, standardised points `(B, D)` to `(B, n)`; differentiable, float32, on the CPU.
        units: the run's data set without its points.
    """

    step: int
    embed: Map
    units: PointData

    def __call__(self, points: Tensor) -> Tensor:
        """Embeddings `(B, n)` of points `(B, D)` in the data's own units."""
        return self.embed(self.units.standardise(points))


@dataclass(frozen=True)
class LocalMetric:
    """The pull-back metric inside the manifold at some of its points.

    Attributes:
        centres: `(n, D)`.
        bases: orthonormal bases of the tangent spaces, `(n, D, d)`.
        metric: `(n, d, d)` float64.
    """

    centres: Tensor
    bases: Tensor
    metric: Tensor


@dataclass(frozen=True)
class Field:
    """The pull-back metric on a rectangle of the plane.

    Attributes:
        local: at the centres of `ELLIPSES` × `ELLIPSES` cells.
        volume: log volume at the centres of `FIELD` × `FIELD` cells, `(rows, columns)`, the uppermost row first.
        spacing: distance between two centres of `local`.
    """

    local: LocalMetric
    volume: Tensor
    spacing: float


@dataclass(frozen=True)
class Route:
    """A path from one point to another.

    Attributes:
        path: `(m, D)` in own units; None if only its length is known.
        metric_length: its length under the learned metric; None without a path.
        length: its length in own units.
    """

    path: Tensor | None
    metric_length: float | None
    length: float


# -- reading a checkpoint ----------------------------------------------------------------------------------------------


def checkpoint_at(run: Run, step: int) -> Path:
    """The last checkpoint up to a step, or the earliest one if all are later.

    Raises:
        RunError: the run has no checkpoint yet.
    """
    known = {kept: run.kept_path(kept) for kept in run.checkpoint_steps()}
    last = run.path / CHECKPOINT
    with contextlib.suppress(OSError, SafetensorError, RuntimeError), safe_open(last, framework="pt") as file:
        known = {int(file.get_tensor("step")): last} | known
    if not known:
        if last.exists():
            return last  # damaged: reading it gives the reason
        raise RunError(NO_CHECKPOINT.format(run.name))
    return known[max((kept for kept in known if kept <= step), default=min(known))]


def units_of(run: Run) -> PointData:
    """The run's data set without its points: mean, scale and manifold.

    Raises:
        ConfigError: the data have been removed, or are not points.
    """
    units = run.units
    if not isinstance(units, PointData):
        raise ConfigError(f"run: {run.name} is on {KINDS[run.config.kind].noun}; only a metric of points is shown")
    return units


def metric_at(run: Run, member: int, step: int, *, units: PointData | None = None) -> LearnedMetric:
    """The learned metric of one member at the last checkpoint up to a step; only its own tensors are read.

    Args:
        run: a run on points.
        member: place on the variant axis.
        step: training step.
        units: result of `units_of`, if known.

    Raises:
        RunError: the checkpoint is missing or damaged; one line.
        ConfigError: the data have been removed.
    """
    units = units or units_of(run)
    experiment = trained_at(run, member, step, units)
    method = experiment.method
    for network in method.networks.values():
        network.requires_grad_(False)

    def embed(points: Tensor) -> Tensor:
        embeddings = method.embed(points[None])
        return points if embeddings is None else embeddings[0]

    return LearnedMetric(experiment.step, embed, units)


def trained_at(run: Run, member: int, step: int, units: PointData) -> Experiment:
    """The networks of one member at the last checkpoint up to a step; arguments and errors as for `metric_at`."""
    path = checkpoint_at(run, step)
    try:
        return load_member(path, run.config, member, units)
    except FileNotFoundError:
        raise RunError(NO_CHECKPOINT.format(run.name)) from None
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, SafetensorError) as error:
        where = path.relative_to(run.path)
        raise RunError(f"run: {run.name}'s {where} is damaged: {str(error).splitlines()[0]}") from None


# -- evaluating it -----------------------------------------------------------------------------------------------------


def moves(metric: LearnedMetric, real: Tensor, fake: Tensor, terms: Iterable[str]) -> dict[str, Tensor]:
    """Unweighted force of each descriptor on each fake, in the data's own units; see `mvm.geometry.forces`.

    Args:
        metric: of the run.
        real, fake: points `(n, D)` and `(m, D)` in own units.
        terms: names in `DESCRIPTORS`.

    Returns:
        `(m, D)` for each term; NaN where a fake is not finite.
    """
    standardise = metric.units.standardise
    found = forces(standardise(real), standardise(fake), embed=metric.embed, terms=terms)
    return {name: force * metric.units.scale for name, force in found.items()}


def on_manifold(metric: LearnedMetric, points: Tensor) -> LocalMetric:
    """The pull-back metric inside the run's manifold, at its points nearest to the given ones `(n, D)`.

    Raises:
        ValueError: the run's data have no manifold.
    """
    manifold = metric.units.manifold
    if manifold is None:
        raise ValueError("the data have no known manifold")
    coordinates = manifold.project(points.double())
    centres, bases = manifold.embed(coordinates), tangents(manifold, coordinates)
    return LocalMetric(centres, bases, restrict(pull_back(centres.float(), metric), bases))


def field_on(metric: LearnedMetric, span: Sequence[Sequence[float]]) -> Field:
    """The pull-back metric on a rectangle `((x0, x1), (y0, y1))` of the plane, in own units."""
    fine, coarse = (cells(span, count) for count in (FIELD, ELLIPSES))
    local = LocalMetric(coarse, torch.eye(2).expand(len(coarse), 2, 2), pull_back(coarse, metric))
    return Field(local, log_volume(pull_back(fine, metric)).view(FIELD, FIELD), (span[0][1] - span[0][0]) / ELLIPSES)


def cells(span: Sequence[Sequence[float]], count: int) -> Tensor:
    """Centres of `count` × `count` cells, row by row from the upper left, `(count², 2)`."""
    (x0, x1), (y0, y1) = span
    middle = (torch.arange(count) + 0.5) / count
    y, x = torch.meshgrid(y1 + (y0 - y1) * middle, x0 + (x1 - x0) * middle, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)


def step_length(local: LocalMetric, spacing: float) -> float:
    """A round step length in embedding space whose ellipse fills the space between centres at a typical place."""
    small = log_volume(local.metric)
    finite = small[small.isfinite()]
    middle = finite.quantile(0.5).item() / local.metric.shape[-1] if len(finite) else 0.0
    return round_number(0.36 * spacing * math.exp(min(max(middle, -80.0), 80.0)))


def routes(
    metric: LearnedMetric, start: Tensor, end: Tensor, *, bounds: tuple[Tensor, Tensor], true: Route | None = None
) -> dict[str, Route]:
    """Paths between two points with their lengths under the learned metric.

    Args:
        metric: of the run.
        start, end: `(D,)` in own units.
        bounds: lower and upper corner, `(D,)` each, of the box that contains the metric's geodesic.
        true: result of `true_route`; its length under the metric is filled in.

    Returns:
        `geodesic`, `straight` and, if given, `true`.
    """
    line = torch.lerp(start, end, torch.linspace(0, 1, 129)[:, None])
    found = geodesic(start, end, embed=metric, bounds=bounds)
    paths = {"geodesic": _measured(found.path, metric), "straight": _measured(line, metric)}
    if true is not None:
        length = None if true.path is None else _measured(true.path, metric).metric_length
        paths["true"] = dataclasses.replace(true, metric_length=length)
    return paths


def true_route(manifold: Manifold | None, start: Tensor, end: Tensor) -> Route | None:
    """The manifold's own geodesic between its points nearest to two given ones `(D,)`; None without a manifold.

    The length is inf between two components. The path is None if the chart cannot follow it: across a crossing, or
    around a hole.
    """
    if manifold is None or manifold.intrinsic_dim == 0:
        return None
    start, end = manifold.project(torch.stack([start, end]).double())
    length = manifold.geodesic(start[None], end[None]).item()
    if not math.isfinite(length):
        return Route(None, None, length)
    bent = geodesic(
        start,
        manifold.lifts(start, end),
        embed=lambda x: x,
        chart=manifold.embed,
        bounds=manifold.chart_bounds,
        segments=16,
    )
    agrees = abs(bent.length - length) <= AGREE * length
    return Route(bent.path.float() if agrees else None, None, length)


@torch.no_grad()
def _measured(path: Tensor, metric: LearnedMetric) -> Route:
    """A path with both its lengths, the learned metric's on four times as many points."""
    finer = torch.stack([torch.lerp(path[:-1], path[1:], part) for part in (0, 0.25, 0.5, 0.75)], dim=1).flatten(0, 1)
    finer = torch.cat([finer, path[-1:]])
    metric_length = metric(finer).diff(dim=0).norm(dim=-1).sum().item()
    return Route(path, metric_length, path.diff(dim=0).norm(dim=-1).sum().item())
