"""Nearest member of a one-parameter family: argmin over t of ‖x − foot(t, x)‖.

A coarse grid brackets the local minima; the best few are refined by the slope of ½‖x − foot‖²,

    slope(t) = (foot(t, x) − x) · tangent(t, x)

which also holds if the foot is itself a projection, as on the segments of a ruled surface (envelope theorem).
"""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

__all__ = ["nearest_parameter"]

Family = Callable[[Tensor, Tensor], Tensor]
"""(t (...), x (..., D)) -> (..., D), broadcast"""


@torch.no_grad()
def nearest_parameter(
    foot: Family,
    tangent: Family,
    points: Tensor,
    interval: tuple[float, float],
    *,
    closed: bool,
    grid: int = 512,
    candidates: int = 3,
    chunk: int = 4096,
) -> Tensor:
    """Parameter of the nearest member, (n, D) float64 -> (n,), within `interval`.

    The refined minimum is exact to rounding; it is the global one if the grid separates the local minima.
    """
    low, high = interval
    knots = torch.linspace(low, high, grid + 1, dtype=points.dtype, device=points.device)
    knots = knots[:-1] if closed else knots
    best = [_nearest(foot, tangent, part, knots, closed, candidates) for part in points.split(chunk)]
    t = torch.cat(best) if best else points.new_empty(0)
    return low + (t - low) % (high - low) if closed else t


def _nearest(foot: Family, tangent: Family, points: Tensor, knots: Tensor, closed: bool, candidates: int) -> Tensor:
    x = points[:, None]
    squared = _squared(foot(knots[None], x), x)
    before, after = squared.roll(1, -1), squared.roll(-1, -1)
    if not closed:
        before[:, 0] = after[:, -1] = torch.inf
    minima = squared.masked_fill((squared > before) | (squared > after), torch.inf)
    index = minima.topk(candidates, largest=False).indices
    step = knots[1] - knots[0]
    low, high = knots[index] - step, knots[index] + step
    if not closed:
        low, high = low.clamp(min=knots[0]), high.clamp(max=knots[-1])

    def slope(t: Tensor) -> Tensor:
        return ((foot(t, x) - x) * tangent(t, x)).sum(-1)

    t = _rising_root(slope, low, high)
    return t.gather(1, _squared(foot(t, x), x).argmin(-1, keepdim=True))[:, 0]


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² over the last axis; torch is slow at sums over short axes."""
    return reduce(torch.add, [(x - y).square() for x, y in zip(a.unbind(-1), b.unbind(-1), strict=True)])


def _rising_root(slope: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, iterations: int = 16) -> Tensor:
    """Upward zero crossing of `slope` (Illinois false position); the nearer end if the sign does not change."""
    f_low, f_high = slope(low).clamp(max=0), slope(high).clamp(min=0)
    t, side = low, torch.zeros_like(low)
    for _ in range(iterations):
        t = low + (high - low) * (f_low / (f_low - f_high)).nan_to_num(0.5)
        f = slope(t)
        falls, stuck = f < 0, side == torch.sign(f)
        low, high = torch.where(falls, t, low), torch.where(falls, high, t)
        f_low, f_high = (
            torch.where(falls, f, torch.where(stuck, f_low / 2, f_low)),
            torch.where(falls, torch.where(stuck, f_high / 2, f_high), f),
        )
        side = torch.sign(f)
    return t
