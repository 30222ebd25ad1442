"""Disconnected sets: eight centres, and the black squares of a checkerboard.

Neither is a smooth manifold, but both have exact distances and geodesics. They are the classic tests for modes that a
generator misses.
"""

import functools
import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from toy_manifolds.base import Chart, Manifold, in_float64, uniform

__all__ = ["Checkerboard", "EightGaussians"]


class EightGaussians(Manifold):
    """Eight centres on a circle, each blurred by `noise`. Coordinate: the component, counted from angle 0, (n, 1).

    The defaults are those of torchcfm: its `eight_normal_sample(scale=5, var=0.1)` takes the square root of `var`
    for the *covariance*, so that the standard deviation of a component is 0.1^(1/4) ≈ 0.562.
    """

    title: ClassVar[str] = "Eight Gaussians"
    intrinsic_dim: ClassVar[int] = 0
    ambient_dim: ClassVar[int] = 2

    noise: float = Field(
        default=0.1**0.25,
        ge=0,
        le=1,
        description="Standard deviation of each component, in units of the coordinates",
    )
    radius: float = Field(default=5.0, ge=0.5, le=10, description="Radius of the circle of centres")

    @property
    def betti(self) -> tuple[int, ...]:
        return (8,)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return (8 * uniform(n, generator)).floor()[:, None]

    def embed(self, coordinates: Tensor) -> Tensor:
        angle = coordinates.round() * (math.tau / 8)
        return self.radius * torch.cat([angle.cos(), angle.sin()], dim=-1)

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        angle = torch.atan2(points[:, 1:], points[:, :1])
        return (angle * (8 / math.tau)).round() % 8

    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        return torch.where(u[..., 0].round() == v[..., 0].round(), 0.0, torch.inf).to(u.dtype)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The modes by number, from 1 at angle 0."""
        return (Chart(("mode",), (0.5,), (8.5,), lambda c: c.double().round() + 1, cells=(8,)),)


class Checkerboard(Manifold):
    """The eight black squares of a 4 x 4 board about the origin. Coordinates: the point itself, (n, 2).

    Black squares meet at corners only. A shortest path between two of them is a polyline through corners, and its
    length is a shortest path length in the graph of the nine inner corners. Everything is exact.
    """

    title: ClassVar[str] = "Checkerboard"
    intrinsic_dim: ClassVar[int] = 2
    ambient_dim: ClassVar[int] = 2

    side: float = Field(default=2.0, ge=0.1, le=5, description="Side of one square")

    @property
    def betti(self) -> tuple[int, ...]:
        return 1, 2, 0

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        lowest = _black_squares().to(uniform(0, generator))
        square = (len(lowest) * uniform(n, generator)).long()
        inside = torch.stack([uniform(n, generator), uniform(n, generator)], dim=-1)
        return self.side * (lowest[square] + inside)

    def embed(self, coordinates: Tensor) -> Tensor:
        return coordinates

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        nearest, distance = self._feet(points)
        square = distance.argmin(-1)[:, None, None].expand(-1, 1, 2)
        return nearest.gather(1, square)[:, 0]

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        corners, squares_of, lengths = (table.to(u) for table in _corner_graph())
        (in_u, in_v), (to_u, to_v) = zip(*(self._neighbourhood(x, corners, squares_of) for x in (u, v)), strict=True)
        together = (in_u & in_v).any(-1)
        through = (to_u[:, :, None] + self.side * lengths + to_v[:, None]).flatten(1).amin(-1)
        return torch.where(together, torch.linalg.vector_norm(u - v, dim=-1), through)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The whole board, whose white squares have no density."""
        half = 2 * self.side

        def density(place: Tensor) -> Tensor:
            return (((place + half) / self.side).floor().sum(-1) % 2 == 0).to(place)

        low, high = (-half, -half), (half, half)
        return (Chart(("x", "y"), low, high, lambda c: c.double(), density, cells=(8, 8)),)

    def _feet(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest point of each square (n, 8, 2), and its distance (n, 8)."""
        low = self.side * _black_squares().to(points)
        x = points[:, None]
        nearest = torch.maximum(torch.minimum(x, low + self.side), low)
        return nearest, torch.linalg.vector_norm(x - nearest, dim=-1)

    def _neighbourhood(self, x: Tensor, corners: Tensor, squares_of: Tensor) -> tuple[Tensor, Tensor]:
        """Squares that contain x, (n, 8), and distances to their corners, (n, 9), inf for other corners."""
        distance = self._feet(x)[1]
        # Rounding may put a point just outside its square, or close to two squares at a corner.
        holds = distance <= distance.amin(-1, keepdim=True) + 1e-6 * self.side
        reach = torch.linalg.vector_norm(x[:, None] - self.side * corners, dim=-1)
        return holds, reach.masked_fill(holds.to(x) @ squares_of == 0, torch.inf)


@functools.cache
@torch.inference_mode(False)  # cached tensors must support autograd
def _black_squares() -> Tensor:
    """Lower left corners of the black squares of side 1, (8, 2)."""
    return torch.tensor([(i - 2.0, j - 2.0) for i in range(4) for j in range(4) if (i + j) % 2 == 0])


@functools.cache
@torch.inference_mode(False)  # cached tensors must support autograd
def _corner_graph() -> tuple[Tensor, Tensor, Tensor]:
    """Inner corners (9, 2), incidence of squares and corners (8, 9), and shortest path lengths (9, 9), for side 1."""
    squares = _black_squares().double()
    corners = torch.tensor([(i, j) for i in (-1.0, 0.0, 1.0) for j in (-1.0, 0.0, 1.0)], dtype=torch.float64)
    has = ((corners - squares[:, None] - 0.5).abs() <= 0.5).all(-1).double()
    lengths = torch.cdist(corners, corners).masked_fill(has.T @ has == 0, torch.inf)
    for k in range(len(corners)):  # Floyd-Warshall
        lengths = torch.minimum(lengths, lengths[:, k, None] + lengths[k])
    return corners, has, lengths
