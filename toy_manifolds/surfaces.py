"""Surfaces in space, with coordinates (n, 2).

    Sheet        X(t, h) = (x(t), h, z(t)): a plane curve swept along a line
    Sphere       great circles, exact
    Torus, Möbius strip    geodesics are computed numerically

A sheet unrolls to a flat rectangle: its geodesic is exactly ‖(s(t) − s(t′), h − h′)‖ with s the curve's arc length.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from toy_manifolds.base import Chart, Manifold, in_float64, uniform
from toy_manifolds.curves import Curve, Spiral
from toy_manifolds.geodesics import shortest_length
from toy_manifolds.nearest import nearest_parameter

__all__ = ["MobiusStrip", "SCurve", "Sheet", "Sphere", "SwissRoll", "Torus"]


class Surface(Manifold):
    """Base of the surfaces: two-dimensional, in space."""

    intrinsic_dim: ClassVar[int] = 2
    ambient_dim: ClassVar[int] = 3


class Sheet(Surface):
    """A plane curve times a segment, X(t, h) = (x(t), h, z(t)). Coordinates: (t, h). Everything is exact."""

    @property
    def profile(self) -> Curve:
        """The curve (x, z)."""
        raise self._lacks("profile")

    @property
    def extent(self) -> float:
        """Upper limit of h, which starts at 0."""
        raise self._lacks("extent")

    @property
    def betti(self) -> tuple[int, ...]:
        return 1, 0, 0

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([self.profile.draw(n, generator), self.extent * uniform(n, generator)[:, None]], -1)

    def embed(self, coordinates: Tensor) -> Tensor:
        t, h = coordinates.unbind(-1)
        x, z = self.profile.at(t).unbind(-1)
        return torch.stack([x, h, z], dim=-1)

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        return torch.cat([self.profile.project(points[:, ::2]), points[:, 1:2].clamp(0, self.extent)], dim=-1)

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        along = self.profile.geodesic(u[..., :1], v[..., :1])
        return torch.hypot(along, u[..., 1] - v[..., 1])

    @property
    def charts(self) -> tuple[Chart, ...]:
        (along,) = self.profile.charts
        high = (*along.high, self.extent)

        def place(coordinates: Tensor) -> Tensor:
            return torch.cat([along.place(coordinates[:, :1]), coordinates[:, 1:].double()], dim=-1)

        return (Chart(("arc length", "height"), (0.0, 0.0), high, place, aspect=high[0] / high[1]),)


class SwissRoll(Sheet):
    """X(t, h) = (t cos t, h, t sin t), t from 3π/2, as in scikit-learn, but uniform by area."""

    title: ClassVar[str] = "Swiss roll"

    turns: float = Field(default=1.5, ge=0.5, le=3, description="Number of turns")
    height: float = Field(default=21.0, ge=1, le=50, description="Length of the roll along its axis")

    @property
    def profile(self) -> Curve:
        return Spiral(turns=self.turns, pitch=math.tau, start=1.5 * math.pi)

    @property
    def extent(self) -> float:
        return self.height


class _SProfile(Curve):
    """Two arcs of a unit circle, (sin t, ±(cos t − 1)): the parameter is the arc length."""

    @property
    def interval(self) -> tuple[float, float]:
        return -1.5 * math.pi, 1.5 * math.pi

    def at(self, t: Tensor) -> Tensor:
        return torch.stack([t.sin(), t.sign() * (t.cos() - 1)], dim=-1)

    def tangent(self, t: Tensor) -> Tensor:
        return torch.stack([t.cos(), -t.sign() * t.sin()], dim=-1)


class SCurve(Sheet):
    """X(t, h) = (sin t, h, sign(t) (cos t − 1)), t in [−3π/2, 3π/2], as in scikit-learn."""

    title: ClassVar[str] = "S curve"

    height: float = Field(default=2.0, ge=0.1, le=10, description="Length of the sheet along its axis")

    @property
    def profile(self) -> Curve:
        return _SProfile()

    @property
    def extent(self) -> float:
        return self.height


class Sphere(Surface):
    """X(λ, β) = r (cos β cos λ, cos β sin λ, sin β). Coordinates: (longitude λ, latitude β)."""

    title: ClassVar[str] = "Sphere"

    radius: float = Field(default=1.0, ge=0.1, le=5, description="Radius")

    @property
    def betti(self) -> tuple[int, ...]:
        return 1, 0, 1

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        longitude, height = math.tau * uniform(n, generator), 2 * uniform(n, generator) - 1
        return torch.stack([longitude, height.asin()], dim=-1)

    def embed(self, coordinates: Tensor) -> Tensor:
        longitude, latitude = coordinates.unbind(-1)
        around = latitude.cos()
        unit = torch.stack([around * longitude.cos(), around * longitude.sin(), latitude.sin()], dim=-1)
        return self.radius * unit

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        longitude = torch.atan2(y, x) % math.tau
        return torch.stack([longitude, torch.atan2(z, torch.hypot(x, y))], dim=-1)

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        # 2 atan2(‖a − b‖, ‖a + b‖) stays accurate for equal and opposite points, unlike acos(a · b).
        a, b = self.embed(u), self.embed(v)
        apart, together = torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1)
        return self.radius * 2 * torch.atan2(apart, together)

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        """The coordinates of `end`, and those reached over each pole."""
        longitude, latitude = end
        over_pole = longitude + math.pi
        around = start[0] + _wrap(torch.stack([longitude, over_pole, over_pole]) - start[0])
        return torch.stack([around, torch.stack([latitude, -math.pi - latitude, math.pi - latitude])], dim=-1)

    @property
    def charts(self) -> tuple[Chart, ...]:
        axes = ("longitude (°)", "latitude (°)")
        return (Chart(axes, (0.0, -90.0), (360.0, 90.0), _degrees, lambda p: p[..., 1].deg2rad().cos(), aspect=2.0),)


class Torus(Surface):
    """X(θ, φ) = ((R + r cos φ) cos θ, (R + r cos φ) sin θ, r sin φ).

    Coordinates: (θ around the axis, φ around the tube).
    """

    title: ClassVar[str] = "Torus"

    radius: float = Field(default=2.0, ge=1, le=3, description="Radius of the circle that is the tube's centre")
    tube: float = Field(default=0.7, ge=0.3, le=0.9, description="Radius of the tube")

    @property
    def betti(self) -> tuple[int, ...]:
        return 1, 2, 1

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        theta, phi = math.tau * uniform(n, generator), math.tau * uniform(n, generator)
        # The area is ∝ 1 + (r/R) cos φ. Moving φ to φ + π with probability (1 − (r/R) cos φ) / 2 gives that exactly.
        moved = uniform(n, generator) > (1 + self.tube / self.radius * phi.cos()) / 2
        return torch.stack([theta, (phi + math.pi * moved) % math.tau], dim=-1)

    def embed(self, coordinates: Tensor) -> Tensor:
        theta, phi = coordinates.unbind(-1)
        around = self.radius + self.tube * phi.cos()
        return torch.stack([around * theta.cos(), around * theta.sin(), self.tube * phi.sin()], dim=-1)

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        theta, phi = torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y) - self.radius)
        return torch.stack([theta, phi], dim=-1) % math.tau

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        """Numerical, within 1e-5 relative: measured against twelve times the starts and three times the nodes."""
        start, turn = _wrap(u), _wrap(v - u)
        # Around the axis the shorter way is right (scaling θ down shortens a path). Around the tube either way may be,
        # and the outer equator is a saddle that long paths leave on either side. Thin tori need 32 segments.
        other = turn - math.tau * torch.sign(turn) * turn.new_tensor([0, 1])
        ends = start + torch.stack([turn, turn, other])
        bulges = torch.zeros_like(ends)
        bulges[0, :, 1], bulges[1, :, 1] = turn[:, 0].abs() / 2, -turn[:, 0].abs() / 2
        return shortest_length(self.embed, start, ends, bulges=bulges, segments=(32, 64))

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        """The shorter way around the axis, and both ways around the tube."""
        theta = start[0] + _wrap(end[0] - start[0])
        turn = math.copysign(math.tau, end[1] - start[1])
        return torch.stack([torch.stack([theta, phi]) for phi in (end[1], end[1] - turn)])

    @property
    def charts(self) -> tuple[Chart, ...]:
        def density(place: Tensor) -> Tensor:
            return self.radius + self.tube * place[..., 1].deg2rad().cos()

        axes, high = ("angle around the axis (°)", "angle around the tube (°)"), (360.0, 360.0)
        return (Chart(axes, (0.0, 0.0), high, _degrees, density, aspect=self.radius / self.tube),)


class MobiusStrip(Surface):
    """X(θ, w) = ((R + w cos θ/2) cos θ, (R + w cos θ/2) sin θ, w sin θ/2), w in [−half_width, half_width].

    Coordinates: (θ, w), where (θ + 2π, −w) is the same point.
    """

    title: ClassVar[str] = "Möbius strip"

    radius: float = Field(default=1.0, ge=1, le=5, description="Radius of the circle in its middle")
    half_width: float = Field(default=0.4, ge=0.1, le=0.9, description="Half of the strip's width")

    @property
    def betti(self) -> tuple[int, ...]:
        return 1, 1, 0

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Rejection: θ and w uniform, kept with probability ∝ the area element ‖∂θX‖ (∂θX ⟂ ∂wX, ‖∂wX‖ = 1)."""
        kept, count = [], 0
        largest = math.hypot(self.radius + self.half_width, self.half_width / 2)
        while count < n:
            tries = 2 * (n - count) + 16
            theta = math.tau * uniform(tries, generator)
            w = self.half_width * (2 * uniform(tries, generator) - 1)
            area = torch.hypot(self.radius + w * (theta / 2).cos(), w / 2)
            kept.append(torch.stack([theta, w], dim=-1)[uniform(tries, generator) * largest < area])
            count += len(kept[-1])
        return torch.cat([*kept, uniform(0, generator).view(0, 2)])[:n]

    def embed(self, coordinates: Tensor) -> Tensor:
        return self._at(*coordinates.unbind(-1))

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        """Exact on each ruling θ = const, a segment; the nearest ruling is found as on a curve."""
        theta = nearest_parameter(
            lambda theta, x: self._at(theta, self._nearest_w(theta, x)),
            lambda theta, x: self._around(theta, self._nearest_w(theta, x)),
            points,
            (0.0, math.tau),
            closed=True,
        )
        return torch.stack([theta, self._nearest_w(theta, points)], dim=-1)

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        """Numerical, within 1e-5 relative, as for the torus; the path may run along the boundary."""
        flip = torch.round((v[:, 0] - u[:, 0]) / math.tau)
        nearest = torch.stack([v[:, 0] - math.tau * flip, v[:, 1] * (1 - 2 * (flip % 2))], dim=-1)
        side = torch.where(nearest[:, 0] < u[:, 0], -1, 1)
        other = torch.stack([nearest[:, 0] - math.tau * side, -nearest[:, 1]], dim=-1)
        low, high = (bound.to(u) for bound in self.chart_bounds)
        return shortest_length(self.embed, u, torch.stack([nearest, other]), bounds=(low, high))

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        turn = math.copysign(math.tau, end[0] - start[0])
        return torch.stack([end, torch.stack([end[0] - turn, -end[1]])])

    @property
    def chart_bounds(self) -> tuple[Tensor, Tensor]:
        high = torch.tensor([torch.inf, self.half_width], dtype=torch.float64)
        return -high, high

    @property
    def charts(self) -> tuple[Chart, ...]:
        def place(coordinates: Tensor) -> Tensor:
            theta, w = coordinates.double().unbind(-1)
            return torch.stack([theta.rad2deg(), w], dim=-1)

        def density(place: Tensor) -> Tensor:
            theta, w = place[..., 0].deg2rad(), place[..., 1]
            return torch.hypot(self.radius + w * (theta / 2).cos(), w / 2)

        low, high = (0.0, -self.half_width), (360.0, self.half_width)
        aspect = math.pi * self.radius / self.half_width
        return (Chart(("angle around (°)", "place across"), low, high, place, density, aspect=aspect),)

    def _at(self, theta: Tensor, w: Tensor) -> Tensor:
        radius = self.radius + w * (theta / 2).cos()
        return torch.stack([radius * theta.cos(), radius * theta.sin(), w * (theta / 2).sin()], dim=-1)

    def _around(self, theta: Tensor, w: Tensor) -> Tensor:
        """∂X/∂θ."""
        radius, change = self.radius + w * (theta / 2).cos(), -w / 2 * (theta / 2).sin()
        x = change * theta.cos() - radius * theta.sin()
        y = change * theta.sin() + radius * theta.cos()
        return torch.stack([x, y, w / 2 * (theta / 2).cos()], dim=-1)

    def _nearest_w(self, theta: Tensor, x: Tensor) -> Tensor:
        """w of the point nearest to x on the ruling at θ."""
        outwards = x[..., 0] * theta.cos() + x[..., 1] * theta.sin() - self.radius
        w = outwards * (theta / 2).cos() + x[..., 2] * (theta / 2).sin()
        return w.clamp(-self.half_width, self.half_width)


def _wrap(angle: Tensor) -> Tensor:
    """The same angle in (−π, π]."""
    return angle - math.tau * torch.ceil(angle / math.tau - 0.5)


def _degrees(coordinates: Tensor) -> Tensor:
    """Angles in degrees, float64."""
    return coordinates.double().rad2deg()
