"""A run's data seen through the metric it had learned by a step, in the data's own units.

    lens(x)      g_w((x − mean) / scale)            x: own units;  g_w: the critic's embedding, out of a checkpoint
    move_k(x_j)  scale · force_k((x_j − mean) / scale)      where training's units would move the point, in own units
    G(x)         ∂lens/∂xᵀ ∂lens/∂x                 lengths of small steps of own units

Training standardises points: a toy manifold by one number, each column of a person's own file by its own. A force is a
step that training takes, and steps are mapped back by `scale`; a metric is of the space that is looked at, and its
derivative is taken there.

Snapshots hold no weights. They are those of the last checkpoint up to a step: of those kept to fork from, or the last.
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
from toy_manifolds import Manifold, MobiusStrip, Sphere, Torus
from toy_manifolds.curves import Arcs, Curve

__all__ = [
    "ELLIPSES",
    "FIELD",
    "FILL",
    "Field",
    "Lens",
    "Local",
    "Route",
    "cells",
    "checkpoint_at",
    "field_on",
    "metric_at",
    "moves",
    "on_manifold",
    "routes",
    "step_length",
    "true_route",
    "units_of",
]

FIELD, ELLIPSES = 64, 9  # cells each way of the plane, of the log volume and of the ellipses
FILL = 0.48  # of the space between two centres: no half-axis is longer
AGREE = 0.01  # a path is the true one if its length is the manifold's own up to this share


@dataclass(frozen=True)
class Lens:
    """The metric of one member of a run.

    Attributes:
        step: of the checkpoint that it was read from.
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
class Local:
    """The metric inside the manifold at some of its points.

    Attributes:
        centres: `(n, D)`.
        bases: orthonormal, of the tangent spaces, `(n, D, d)`.
        metric: `(n, d, d)` float64.
    """

    centres: Tensor
    bases: Tensor
    metric: Tensor


@dataclass(frozen=True)
class Field:
    """The metric on a rectangle of the plane.

    Attributes:
        local: at the middles of `ELLIPSES` cells each way.
        volume: log volume at the middles of `FIELD` cells each way, `(rows, columns)`, the uppermost row first.
        spacing: between two centres of the former.
    """

    local: Local
    volume: Tensor
    spacing: float


@dataclass(frozen=True)
class Route:
    """A way from one point to another.

    Attributes:
        path: `(m, D)` in own units; None where only its length is known.
        seen: its length under the metric; None without a path.
        length: in own units.
    """

    path: Tensor | None
    seen: float | None
    length: float


# -- out of a checkpoint -----------------------------------------------------------------------------------------------


def checkpoint_at(run: Run, step: int) -> Path:
    """The last checkpoint up to a step; the first there is where all are later.

    Raises:
        RunError: there is none yet.
    """
    known = {kept: run.kept_path(kept) for kept in run.checkpoint_steps()}
    last = run.path / CHECKPOINT
    with contextlib.suppress(OSError, SafetensorError, KeyError), safe_open(last, framework="pt") as file:
        known = {int(file.get_tensor("step")): last} | known
    if not known:
        if last.exists():
            return last  # it will be said what is wrong with it
        raise RunError(f"run: {run.name} has no checkpoint yet, and so no metric to look through")
    return known[max((kept for kept in known if kept <= step), default=min(known))]


def units_of(run: Run) -> PointData:
    """The run's data set without its points: mean, scale and manifold.

    Raises:
        ConfigError: the data are gone, or they are no points.
    """
    units = run.units
    if not isinstance(units, PointData):
        raise ConfigError(f"run: {run.name} is on {KINDS[run.config.kind].noun}; only a metric of points is shown")
    return units


def metric_at(run: Run, member: int, step: int, *, units: PointData | None = None) -> Lens:
    """The metric of one member at the last checkpoint up to a step; nothing else of the checkpoint is read.

    Args:
        run: a run on points.
        member: place on the variant axis.
        step: of training.
        units: of the run, if they are at hand.

    Raises:
        RunError: there is no checkpoint, or it is damaged; one line.
        ConfigError: the data are not there any more.
    """
    path, units = checkpoint_at(run, step), units or units_of(run)
    try:
        experiment = load_member(path, run.config, member, units)
    except FileNotFoundError:
        raise RunError(f"run: {run.name} has no checkpoint yet, and so no metric to look through") from None
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, SafetensorError) as error:
        where = path.relative_to(run.path)
        raise RunError(f"run: {run.name}'s {where} is damaged: {str(error).splitlines()[0]}") from None
    method = experiment.method
    for network in method.networks.values():
        network.requires_grad_(False)

    def embed(points: Tensor) -> Tensor:
        embeddings = method.embed(points[None])
        return points if embeddings is None else embeddings[0]

    return Lens(experiment.step, embed, units)


# -- what is seen ------------------------------------------------------------------------------------------------------


def moves(lens: Lens, real: Tensor, fake: Tensor, terms: Iterable[str]) -> dict[str, Tensor]:
    """How each descriptor would move each fake, unweighted: `mvm.geometry.forces` in the data's own units.

    Args:
        lens: the metric.
        real, fake: points `(n, D)` and `(m, D)` in own units.
        terms: names in `DESCRIPTORS`.

    Returns:
        `(m, D)` for each term; NaN where a fake is not finite.
    """
    standardise = lens.units.standardise
    found = forces(standardise(real), standardise(fake), embed=lens.embed, terms=terms)
    return {name: force * lens.units.scale for name, force in found.items()}


def on_manifold(lens: Lens, points: Tensor) -> Local:
    """The metric inside the run's manifold, at those of its points that are nearest to the given ones `(n, D)`."""
    manifold = lens.units.manifold
    coordinates = manifold.project(points.double())
    centres, bases = manifold.embed(coordinates), tangents(manifold, coordinates)
    return Local(centres, bases, restrict(pull_back(centres.float(), lens), bases))


def field_on(lens: Lens, span: Sequence[Sequence[float]]) -> Field:
    """The metric of points of the plane, on a rectangle `((x0, x1), (y0, y1))` in own units."""
    fine, coarse = (cells(span, count) for count in (FIELD, ELLIPSES))
    local = Local(coarse, torch.eye(2).expand(len(coarse), 2, 2), pull_back(coarse, lens))
    return Field(local, log_volume(pull_back(fine, lens)).view(FIELD, FIELD), (span[0][1] - span[0][0]) / ELLIPSES)


def cells(span: Sequence[Sequence[float]], count: int) -> Tensor:
    """Middles of `count` cells each way, row by row from the upper left, `(count², 2)`."""
    (x0, x1), (y0, y1) = span
    middle = (torch.arange(count) + 0.5) / count
    y, x = torch.meshgrid(y1 + (y0 - y1) * middle, x0 + (x1 - x0) * middle, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)


def step_length(local: Local, spacing: float) -> float:
    """A round length of a step in the embedding whose ellipse, at most places, fills the space it has."""
    small = log_volume(local.metric)
    finite = small[small.isfinite()]
    middle = finite.quantile(0.5).item() / local.metric.shape[-1] if len(finite) else 0.0
    return round_number(0.36 * spacing * math.exp(min(max(middle, -80.0), 80.0)))


def routes(
    lens: Lens, start: Tensor, end: Tensor, *, bounds: tuple[Tensor, Tensor], true: Route | None = None
) -> dict[str, Route]:
    """Ways between two points, and how long they are under the metric.

    Args:
        lens: the metric.
        start, end: `(D,)` in own units.
        bounds: lower and upper corner of the box that the metric's geodesic keeps to, `(D,)` each.
        true: what `true_route` gives; it is no matter of the metric, but for its length as seen.

    Returns:
        `geodesic`, `straight` and, if given, `true`.
    """
    line = torch.lerp(start, end, torch.linspace(0, 1, 129)[:, None])
    found = geodesic(start, end, embed=lens, bounds=bounds)
    ways = {"geodesic": _measured(found.path, lens), "straight": _measured(line, lens)}
    if true is not None:
        seen = None if true.path is None else _measured(true.path, lens).seen
        ways["true"] = dataclasses.replace(true, seen=seen)
    return ways


def true_route(manifold: Manifold | None, start: Tensor, end: Tensor) -> Route | None:
    """The manifold's own geodesic between its points nearest to two given ones `(D,)`; None without one.

    Its length is inf between two components. The path is None where the chart cannot go that way: over a crossing, or
    round a hole.
    """
    if manifold is None or manifold.intrinsic_dim == 0:
        return None
    start, end = manifold.project(torch.stack([start, end]).double())
    length = manifold.geodesic(start[None], end[None]).item()
    if not math.isfinite(length):
        return Route(None, None, length)
    names = torch.stack(_names(manifold, start, end))
    bent = geodesic(start, names, embed=lambda x: x, chart=manifold.embed, bounds=_bounds(manifold), segments=16)
    agrees = abs(bent.length - length) <= AGREE * length
    return Route(bent.path.float() if agrees else None, None, length)


@torch.no_grad()
def _measured(path: Tensor, lens: Lens) -> Route:
    finer = torch.stack([torch.lerp(path[:-1], path[1:], part) for part in (0, 0.25, 0.5, 0.75)], dim=1).flatten(0, 1)
    finer = torch.cat([finer, path[-1:]])
    return Route(path, lens(finer).diff(dim=0).norm(dim=-1).sum().item(), path.diff(dim=0).norm(dim=-1).sum().item())


def _names(manifold: Manifold, start: Tensor, end: Tensor) -> list[Tensor]:
    """Coordinates of one point by which a shortest path from `start` may reach it: the other way round, too."""
    manifold = getattr(manifold, "manifold", manifold)  # an embedded one has the coordinates of what it embeds
    match manifold:
        case MobiusStrip():
            turn = math.copysign(math.tau, end[0] - start[0])
            return [end, torch.stack([end[0] - turn, -end[1]])]
        case Torus():  # around the axis the shorter way is the right one, around the tube either may be
            theta, phi = end.tolist()
            theta, other = _nearest_turn(theta, start[0].item()), phi - math.copysign(math.tau, end[1] - start[1])
            return [end.new_tensor([theta, phi]), end.new_tensor([theta, other])]
        case Sphere():  # round it, or over a pole
            longitude, latitude = end.tolist()
            ways = [(longitude, latitude), *((longitude + math.pi, pole - latitude) for pole in (-math.pi, math.pi))]
            return [end.new_tensor([_nearest_turn(way, start[0].item()), height]) for way, height in ways]
    period = 0.0
    if isinstance(manifold, Arcs):
        span = manifold.arcs[int(end[1])].span
        period = span if span >= math.tau else 0.0
    elif isinstance(manifold, Curve) and manifold.closed:
        period = manifold.interval[1] - manifold.interval[0]
    other = end.clone()
    other[0] -= math.copysign(period, end[0] - start[0])
    return [end, other] if period else [end]


def _nearest_turn(angle: float, start: float) -> float:
    """The same angle, at most half a turn from `start`."""
    return angle - math.tau * round((angle - start) / math.tau)


def _bounds(manifold: Manifold) -> tuple[Tensor, Tensor] | None:
    """Limits of the coordinates, where a shortest path would leave the chart."""
    manifold = getattr(manifold, "manifold", manifold)
    if not isinstance(manifold, MobiusStrip):
        return None
    high = torch.tensor([torch.inf, manifold.half_width], dtype=torch.float64)
    return -high, high
