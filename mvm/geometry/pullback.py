"""Pull-back metric of an embedding: g_w maps a small step dx at x to a step of length √(dxᵀ G(x) dx).

    pull-back    G(x) = J(x)ᵀ J(x),   J = ∂g_w/∂x
    ellipse      {dx : dxᵀ G dx = s²} = s G^(−½) u,   ‖u‖ = 1        all steps of length s
    volume       ½ log det G                                         expansion (+) or contraction (−) of space by g_w
    tangents     TᵀGT,   TᵀT = I                                     the same, inside a manifold
    geodesic     min over q₁ … q_N−1 of Σ ‖g_w(p_j+1) − g_w(p_j)‖²    p_j: points on the polyline q₀ … q_N

The energy of a geodesic sums chords, several per segment, and does not use G: it stays exact for a ReLU network, whose
G jumps. Damped Gauss-Newton steps (Levenberg-Marquardt) lower it; steps that would raise it are rejected. The path is a
local minimum. With a chart X, q are intrinsic coordinates and p_j = X(polyline): the path stays on the manifold, and
with g_w the identity it is the manifold's own geodesic.

Source: Arvanitidis, Hansen & Hauberg 2018 (pull-back metrics of networks).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Geodesic", "ellipses", "geodesic", "half_axes", "log_volume", "pull_back", "restrict", "tangents"]

Map = Callable[[Tensor], Tensor]
"""(B, in) -> (B, out), each row by itself, differentiable"""


class Chart(Protocol):
    """A parametrised manifold, such as a toy manifold."""

    @property
    def intrinsic_dim(self) -> int: ...

    def embed(self, coordinates: Tensor) -> Tensor: ...


CHUNK = 4096  # points differentiated at a time
CHORDS = 4  # per segment while a path is relaxed; each is split into as many again to measure it
TOLERANCE = 1e-7  # stop when a step lowers the energy by less than this, relative
LARGEST_DAMPING = 1e8


def pull_back(points: Tensor, embed: Map) -> Tensor:
    """The metric that an embedding induces on its domain.

    Args:
        points: `(n, D)`, in the units that `embed` takes.
        embed: `(B, D)` to `(B, k)`, differentiable (`Experiment.embed` is not).

    Returns:
        `(n, D, D)` float64, symmetric: a thin ellipse is a small difference of large numbers.
    """
    jacobian = _jacobian(embed, points).double()
    return jacobian.mT @ jacobian


def tangents(manifold: Chart, coordinates: Tensor) -> Tensor:
    """Orthonormal bases of a manifold's tangent spaces, `(n, ambient_dim, intrinsic_dim)`, at coordinates `(n, k)`.

    They hold for standardised points as well: a toy manifold is scaled by one number.
    """
    jacobian = _jacobian(manifold.embed, coordinates.double())
    basis: Tensor = torch.linalg.qr(jacobian[..., : manifold.intrinsic_dim]).Q
    return basis


def restrict(metric: Tensor, basis: Tensor) -> Tensor:
    """The metric inside a subspace at each point: `(n, D, D)` and a basis `(n, D, d)` in its columns to `(n, d, d)`."""
    return basis.mT @ metric @ basis


def ellipses(metric: Tensor, *, scale: float = 1.0, points: int = 48, longest: float = 10.0) -> Tensor:
    """Polygons about the origin on which the metric's length is `scale`; add the centres to draw them.

    Args:
        metric: `(n, 2, 2)`; on a surface the result of `restrict`, with `polygon @ basis.mT` in space.
        scale: length of the steps, in embedding space.
        points: corners of each polygon; the first is not repeated.
        longest: upper limit of the half-axes, in data space: they are infinite where g_w is flat.

    Returns:
        `(n, points, 2)`, with one orientation; NaN where the metric is NaN.

    Raises:
        ValueError: the metric is not two-dimensional.
    """
    axes, half, finite = _halved(metric, scale, longest)
    root = axes * half.unsqueeze(-2) @ axes.mT
    angle = torch.arange(points, dtype=metric.dtype, device=metric.device) * (math.tau / points)
    circle = torch.stack([angle.cos(), angle.sin()], dim=-1)
    return (circle @ root).where(finite[:, None, None], torch.nan)


def half_axes(metric: Tensor, *, scale: float = 1.0, longest: float = 10.0) -> Tensor:
    """Half-axes of the ellipses as vectors, `(n, 2, 2)`, one per row, the longer first. Arguments as for `ellipses`."""
    axes, half, finite = _halved(metric, scale, longest)
    return (axes * half.unsqueeze(-2)).mT.where(finite[:, None, None], torch.nan)


def log_volume(metric: Tensor) -> Tensor:
    """½ log det: natural logarithm of the factor by which the embedding enlarges volumes.

    Args:
        metric: `(n, d, d)`; on a manifold the result of `restrict` with an orthonormal basis.

    Returns:
        `(n,)`; −inf where a direction is lost, NaN where the metric is NaN.
    """
    values, _, finite = _eigen(metric)
    return (values.clamp_min(0).log().sum(-1) / 2).where(finite, torch.nan)


@dataclass(frozen=True)
class Geodesic:
    """A shortest path under a metric.

    Attributes:
        path: `(m, D)`, from the start to the end.
        length: its length in embedding space, measured on four times as many points.
    """

    path: Tensor
    length: float


def geodesic(
    start: Tensor,
    end: Tensor,
    *,
    embed: Map,
    chart: Map | None = None,
    bounds: tuple[Tensor, Tensor] | None = None,
    segments: int = 32,
    iterations: int = 60,
) -> Geodesic:
    """Shortest path between two points, found by relaxing the straight line; never longer than that line.

    Args:
        start: point `(D,)`, or its coordinates `(k,)` in the chart.
        end: likewise; or `(c, k)`, all coordinates of one point (an angle θ and θ − 2π), of which the nearest is used.
        embed: points `(B, D)` to `(B, n)`, where lengths are measured.
        chart: coordinates `(B, k)` to points `(B, D)`; None for free motion in data space.
        bounds: lower and upper limit of every node, `(D,)` or `(k,)` each, such as the boundary of a chart.
        segments: number of segments of the polyline.
        iterations: largest number of steps.

    Returns:
        Geodesic; its path has 4 points per segment. A local minimum: a path another way round may be shorter.

    Raises:
        ValueError: a start or end that is not finite.
    """
    if not (start.isfinite().all() and end.isfinite().all()):
        raise ValueError(f"a geodesic needs finite ends, got {start.tolist()} and {end.tolist()}")
    chart = chart or _free

    def mapping(q: Tensor) -> Tensor:
        return embed(chart(q))

    hats, finer = (_hats(segments, segments * chords).to(start) for chords in (CHORDS, CHORDS * CHORDS))
    along = torch.linspace(0, 1, segments + 1).to(start)[:, None]
    lines = [torch.lerp(start, last, along) for last in end.reshape(-1, start.shape[-1])]
    bent = [_relax(line, mapping, hats, bounds, iterations) for line in lines]
    with torch.no_grad():
        lengths = [float(mapping(finer @ nodes).diff(dim=0).double().norm(dim=-1).sum()) for nodes in bent + lines]
        best = min(range(len(lengths)), key=lengths.__getitem__)
        return Geodesic(chart(hats @ (bent + lines)[best]), lengths[best])


def _relax(nodes: Tensor, mapping: Map, hats: Tensor, bounds: tuple[Tensor, Tensor] | None, iterations: int) -> Tensor:
    """Lower Σ ‖Δ mapping(hats @ nodes)‖² over the inner nodes `(N + 1, k)`; every step taken lowers it."""

    def residual(nodes: Tensor) -> Tensor:
        with torch.no_grad():
            return mapping(hats @ nodes).diff(dim=0).double()

    chords, damping = residual(nodes), 1e-3
    energy = chords.square().sum()
    for _ in range(iterations):
        jacobian = _jacobian(mapping, hats @ nodes).double()
        slopes = torch.einsum("ja,jec->jeac", hats[:, 1:-1].double(), jacobian).diff(dim=0).flatten(2).flatten(0, 1)
        gradient, hessian = slopes.mT @ chords.flatten(), slopes.mT @ slopes
        if bounds is not None:  # hold coordinates at a bound that the step would cross
            inner = nodes[1:-1]
            outward = gradient.view_as(inner)
            free = (~((inner <= bounds[0]) & (outward > 0) | (inner >= bounds[1]) & (outward < 0))).flatten().double()
            gradient, hessian = gradient * free, hessian * free * free[:, None]
        mean = hessian.diagonal().mean()
        if not (mean > 0 and mean.isfinite()):
            break  # g_w is flat along the whole path, or has diverged
        before, eye = energy, torch.eye(len(hessian)).to(hessian)
        while damping <= LARGEST_DAMPING:
            step = torch.linalg.solve(hessian + damping * mean * eye, gradient)
            trial = nodes.clone()
            trial[1:-1] -= step.view_as(nodes[1:-1]).to(nodes)
            if bounds is not None:
                trial[1:-1] = trial[1:-1].clamp(*bounds)
            changed = residual(trial)
            if changed.square().sum() < energy:
                nodes, chords, energy = trial, changed, changed.square().sum()
                damping = max(damping / 10, 1e-9)
                break
            damping *= 4
        if before - energy <= TOLERANCE * before:
            break
    return nodes


def _hats(segments: int, chords: int) -> Tensor:
    """Interpolation weights `(chords + 1, segments + 1)`: points spaced evenly along a polyline's nodes."""
    place = torch.linspace(0, segments, chords + 1)
    return (1 - (place[:, None] - torch.arange(segments + 1)).abs()).clamp_min(0)


def _free(q: Tensor) -> Tensor:
    return q


def _jacobian(function: Map, points: Tensor) -> Tensor:
    """∂function/∂x at each row, `(n, in)` to `(n, out, in)`: one backward pass per output for all rows at once.

    Not torch.func: its first call imports for seconds, and it returns zeros for functions that disable gradients.
    """
    parts = []
    with torch.inference_mode(False), torch.enable_grad():
        for part in points.split(CHUNK):
            x = part.detach().clone().requires_grad_()
            totals = function(x).sum(0)
            slopes = [torch.autograd.grad(total, x, retain_graph=True)[0] for total in totals]
            parts.append(torch.stack(slopes, dim=1))
    return torch.cat(parts)


def _halved(metric: Tensor, scale: float, longest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit axes in columns, half-lengths with the longer first, and a mask of finite metrics."""
    if metric.shape[-2:] != (2, 2):
        raise ValueError(f"an ellipse needs metrics (n, 2, 2), got {tuple(metric.shape)}: restrict them to a surface")
    values, axes, finite = _eigen(metric)
    return axes, (scale / values.clamp_min(0).sqrt()).clamp_max(longest), finite


def _eigen(metric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, eigenvectors and a mask of finite metrics: the decomposition rejects NaN."""
    finite = metric.isfinite().flatten(1).all(-1)
    values, axes = torch.linalg.eigh(metric.where(finite[:, None, None], 0))
    return values, axes, finite
