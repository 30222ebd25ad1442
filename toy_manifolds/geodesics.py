"""Shortest paths on a parametrised surface X(q), q in R².

A path is N + 1 nodes q₀ … q_N in the parameters. With fixed ends, its energy

    E = N/2 · Σ ‖X(qᵢ₊₁) − X(qᵢ)‖²   →   L²/2  at the minimum

is minimised by damped Newton steps, all paths at once. Its gradient and Hessian come from J = ∂X and ∂²X:

    cᵢ = X(qᵢ₊₁) − 2X(qᵢ) + X(qᵢ₋₁)      gᵢ = −Jᵢᵀcᵢ      Hᵢᵢ = 2JᵢᵀJᵢ − cᵢ·∂²Xᵢ      Hᵢ,ᵢ₊₁ = −JᵢᵀJᵢ₊₁

The length is the sum of chords, extrapolated in N from all nodes and every second one: L = (4 L_N − L_N/2) / 3.

A minimum is local: the caller gives a start for each homotopy class, and for both sides of a bulge.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["shortest_length"]

Surface = Callable[[Tensor], Tensor]
Bounds = tuple[Tensor, Tensor]


@torch.no_grad()
def shortest_length(
    surface: Surface,
    start: Tensor,
    ends: Tensor,
    *,
    bulges: Tensor | None = None,
    bounds: Bounds | None = None,
    segments: tuple[int, int] = (16, 64),
    iterations: tuple[int, int] = (24, 8),
    chunk: int = 2048,
) -> Tensor:
    """Length of the shortest of several paths, each a local minimum, for n pairs of points.

    Args:
        surface: the parametrisation X, (..., 2) -> (..., D), elementwise.
        start: first node of each path, (n, 2) float64.
        ends: last nodes, one per class of paths, (classes, n, 2).
        bulges: offset of the middle of each initial path from the straight line, (classes, n, 2).
        bounds: lower and upper limits of the parameters, (2,) each, for a surface with a boundary.
        segments: N of the search over all classes, and N of the refinement of the best one, a multiple of the former.
        iterations: largest number of Newton steps of each.
        chunk: pairs per batch, which bounds memory.

    Returns:
        (n,) lengths.
    """
    bulges = torch.zeros_like(ends) if bulges is None else bulges
    parts = zip(start.split(chunk), ends.split(chunk, 1), bulges.split(chunk, 1), strict=True)
    return torch.cat([_search(surface, *part, bounds, segments, iterations) for part in parts])


def _search(
    surface: Surface,
    start: Tensor,
    ends: Tensor,
    bulges: Tensor,
    bounds: Bounds | None,
    segments: tuple[int, int],
    iterations: tuple[int, int],
) -> Tensor:
    s = torch.linspace(0, 1, segments[0] + 1, dtype=start.dtype, device=start.device)[:, None]
    paths = start[:, None] + s * (ends - start)[:, :, None] + torch.sin(torch.pi * s) * bulges[:, :, None]
    paths = _relax(surface, paths.flatten(0, 1), bounds, iterations[0], 1e-6)
    best = _length(surface, paths).unflatten(0, ends.shape[:2]).argmin(0)
    paths = paths.unflatten(0, ends.shape[:2])[best, torch.arange(len(start), device=start.device)]
    paths = _subdivide(paths, segments[1] // segments[0])
    return _length(surface, _relax(surface, paths, bounds, iterations[1], 1e-10))


def _length(surface: Surface, paths: Tensor) -> Tensor:
    points = surface(paths)
    fine, coarse = (torch.linalg.vector_norm(points[:, ::step].diff(dim=1), dim=-1).sum(-1) for step in (1, 2))
    extrapolated: Tensor = (4 * fine - coarse) / 3
    return extrapolated


def _subdivide(paths: Tensor, factor: int) -> Tensor:
    fraction = torch.arange(factor, dtype=paths.dtype, device=paths.device)[:, None] / factor
    inner = paths[:, :-1, None] + fraction * paths.diff(dim=1)[:, :, None]
    return torch.cat([inner.flatten(1, 2), paths[:, -1:]], dim=1)


def _energy(points: Tensor) -> Tensor:
    return (points.shape[1] - 1) / 2 * points.diff(dim=1).square().sum((-2, -1))


def _relax(surface: Surface, paths: Tensor, bounds: Bounds | None, iterations: int, tolerance: float) -> Tensor:
    """Levenberg-Marquardt: each path has its own damping and takes a step only if it lowers the path's energy.

    A path is finished when a step lowers its energy by less than `tolerance`, relative, or no step lowers it.
    """
    paths = paths.clone() if bounds is None else paths.clamp(*bounds)
    energy = _energy(surface(paths))
    damping = torch.full_like(energy, 1e-2)
    moving = torch.arange(len(paths), device=paths.device)
    for _ in range(iterations):
        old, before = paths[moving], energy[moving]
        trial = old.clone()
        trial[:, 1:-1] += _step(surface, old, bounds, damping[moving])
        trial = trial if bounds is None else trial.clamp(*bounds)
        points = surface(_subdivide(trial, 2))
        after = _energy(points[:, ::2])
        # A chord that jumps by 2π in an angle costs nothing, but is no path: the middle of its parameters reveals it.
        lower = (after < before) & (_energy(points) < 1.5 * after)
        paths[moving] = torch.where(lower[:, None, None], trial, old)
        energy[moving] = torch.where(lower, after, before)
        damping[moving] *= torch.where(lower, 0.1, 5.0)
        done = (lower & (before - after < tolerance * before)) | (damping[moving] > 1e4)
        moving = moving[~done]
    return paths


def _step(surface: Surface, paths: Tensor, bounds: Bounds | None, damping: Tensor) -> Tensor:
    inner = paths[:, 1:-1]
    jet = _jet(surface, inner)
    ends = surface(paths[:, [0, -1]])
    points = torch.cat([ends[:, :1], jet.point, ends[:, 1:]], dim=1)
    bend = points[:, 2:] - 2 * points[:, 1:-1] + points[:, :-2]
    # Layout (node, 2, 2, path): the sweep below runs over nodes, and is fast if paths are contiguous.
    tangents = torch.stack(jet.tangents).permute(2, 0, 3, 1)  # (node, 2, D, path)
    hessian = torch.stack([_dot(bend, second).T for second in jet.seconds], dim=1)  # uu, uv, vv
    gradient = -torch.stack([_dot(bend, tangent).T for tangent in jet.tangents], dim=1)
    metric = _gram(tangents, tangents)
    diagonal = (2 + damping) * metric - hessian[:, [0, 1, 1, 2]].unflatten(1, (2, 2))
    beside = -_gram(tangents[:-1], tangents[1:])
    if bounds is not None:
        low, high = (bound[:, None] for bound in bounds)
        q = inner.permute(1, 2, 0)
        free = (~(((q <= low) & (gradient > 0)) | ((q >= high) & (gradient < 0)))).to(gradient)
        gradient = gradient * free
        held = torch.eye(2).to(free)[:, :, None] * (1 - free)[:, None]
        diagonal = diagonal * free[:, :, None] * free[:, None] + held
        beside = beside * free[:-1, :, None] * free[1:, None]
    return -_solve(diagonal, beside, gradient).permute(2, 0, 1)


def _solve(diagonal: Tensor, beside: Tensor, right: Tensor) -> Tensor:
    """Solve symmetric block tridiagonal systems, (n, 2, 2, m), (n − 1, 2, 2, m), (n, 2, m) -> (n, 2, m).

    Block LDLᵀ, all m systems at once; NaN where one is not positive definite.
    """
    pivots, rights = [_inverse(diagonal[0])], [right[0]]
    for block, couple, value in zip(diagonal[1:], beside, right[1:], strict=True):
        reduce = _product(couple.transpose(0, 1), pivots[-1])
        pivots.append(_inverse(block - _product(reduce, couple)))
        rights.append(value - _apply(reduce, rights[-1]))
    solution = [_apply(pivots[-1], rights[-1])]
    for pivot, value, couple in zip(pivots[-2::-1], rights[-2::-1], beside.flip(0), strict=True):
        solution.append(_apply(pivot, value - _apply(couple, solution[-1])))
    return torch.stack(solution[::-1])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot product over D, the last axis. torch is slow at sums over short axes, hence the loop here and below."""
    return reduce(torch.add, [x * y for x, y in zip(a.unbind(-1), b.unbind(-1), strict=True)])


def _gram(a: Tensor, b: Tensor) -> Tensor:
    """JᵀJ′, (node, 2, D, path) twice -> (node, 2, 2, path)."""
    return reduce(torch.add, [x[:, :, None] * y[:, None] for x, y in zip(a.unbind(2), b.unbind(2), strict=True)])


def _product(a: Tensor, b: Tensor) -> Tensor:
    return a[:, :1] * b[:1] + a[:, 1:] * b[1:]


def _apply(a: Tensor, x: Tensor) -> Tensor:
    return a[:, 0] * x[0] + a[:, 1] * x[1]


def _inverse(a: Tensor) -> Tensor:
    """Inverse of symmetric 2 x 2 matrices, NaN where one is not positive definite."""
    determinant = a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
    valid = (determinant > 0) & (a[0, 0] > 0)
    cofactors = torch.stack([a[1, 1], -a[0, 1], -a[1, 0], a[0, 0]]).view_as(a)
    return cofactors / determinant.where(valid, torch.nan)


class _Jet(NamedTuple):
    point: Tensor
    tangents: tuple[Tensor, Tensor]
    seconds: tuple[Tensor, Tensor, Tensor]


def _jet(surface: Surface, q: Tensor, step: float = 1e-4) -> _Jet:
    """X, (X_u, X_v) and (X_uu, X_uv, X_vv), (..., D) each, by central differences.

    Their error of 1e-8 does not affect the length, which is stationary at the path.
    """
    offsets = step * q.new_tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)])
    o, e, w, n, s, ne, sw = (surface(q + offset) for offset in offsets)
    uu, vv = e + w - 2 * o, n + s - 2 * o
    uv = (ne + sw - 2 * o - uu - vv) / 2
    first = (e - w) / (2 * step), (n - s) / (2 * step)
    return _Jet(o, first, (uu / step**2, uv / step**2, vv / step**2))
