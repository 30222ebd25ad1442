"""Curves c(t): a parameter in an interval, points in the plane or in space.

    arc length   s(t) = ∫ ‖c′(τ)‖ dτ from the start of the interval
    uniform      t = s⁻¹(U · s(end))
    geodesic     |s(t) − s(t′)|, or on a closed curve the other way round if that is shorter

A curve consists of its formula `at(t)` and the derivative `tangent(t)`; everything else is derived. Its coordinate is
the parameter t, (n, 1). Sets of circle arcs have the coordinates (angle from the start of the arc, component).
"""

import functools
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from toy_manifolds.base import Chart, Manifold, in_float64, uniform
from toy_manifolds.nearest import nearest_parameter

__all__ = [
    "Arcs",
    "Circle",
    "ConcentricCircles",
    "Curve",
    "Ellipse",
    "FigureEight",
    "Helix",
    "Moons",
    "Spiral",
    "TwoCircles",
    "VonMisesCircle",
]


class Curve(Manifold):
    """A smooth curve c(t) with ‖c′‖ > 0. Arc lengths and geodesics are exact to 1e-9, relative."""

    intrinsic_dim: ClassVar[int] = 1
    ambient_dim: ClassVar[int] = 2
    closed: ClassVar[bool] = False

    @property
    def interval(self) -> tuple[float, float]:
        """First and last value of the parameter."""
        return 0.0, math.tau

    @property
    def betti(self) -> tuple[int, ...]:
        """One component, and a loop if the curve closes; a curve that crosses itself has more."""
        return 1, int(self.closed)

    def at(self, t: Tensor) -> Tensor:
        """Point c(t), (...) -> (..., ambient_dim)."""
        raise self._lacks("at(t)")

    def tangent(self, t: Tensor) -> Tensor:
        """Derivative c′(t), (...) -> (..., ambient_dim)."""
        raise self._lacks("tangent(t)")

    def weight(self, t: Tensor) -> Tensor:
        """Unnormalised density of samples with respect to arc length, (...) -> (...)."""
        return torch.ones_like(t)

    @property
    def length(self) -> float:
        """Arc length of the whole curve."""
        return _tables(self).length[-1].item()

    def arc_length(self, t: Tensor) -> Tensor:
        """Arc length from the start of the interval, (...) float64 -> (...)."""
        knots, length = (table.to(t) for table in _tables(self)[:2])
        low, high = self.interval
        if self.closed:
            t = low + (t - low) % (high - low)
        i = ((t - low) * ((len(knots) - 1) / (high - low))).nan_to_num(0).long().clamp(0, len(knots) - 2)
        return length[i] + _integral(self.speed, knots[i], t)

    def speed(self, t: Tensor) -> Tensor:
        """‖c′(t)‖, (...) -> (...)."""
        speed: Tensor = torch.linalg.vector_norm(self.tangent(t), dim=-1)
        return speed

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        u = uniform(n, generator)
        knots, mass = _tables(self).knots.to(u), _tables(self).mass.to(u)
        return _interpolate(u * mass[-1], mass, knots)[:, None]

    def embed(self, coordinates: Tensor) -> Tensor:
        return self.at(coordinates[..., 0])

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        t = nearest_parameter(
            lambda t, x: self.at(t),
            lambda t, x: self.tangent(t),
            points,
            self.interval,
            closed=self.closed,
        )
        return t[:, None]

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        direct = (self.arc_length(u[..., 0]) - self.arc_length(v[..., 0])).abs()
        return torch.minimum(direct, self.length - direct) if self.closed else direct

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        low, high = self.interval
        return torch.stack([end, _other_way(start, end, high - low)]) if self.closed else end[None]

    def evenly(self, n: int) -> Tensor:
        """The middles of `n` pieces of equal length."""
        length = _tables(self).length
        middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        return _interpolate(middles * length[-1], length, _tables(self).knots)[:, None]

    def density(self, coordinates: Tensor) -> Tensor:
        return self.weight(coordinates[..., 0])

    @property
    def charts(self) -> tuple[Chart, ...]:
        def density(place: Tensor) -> Tensor:
            knots, length, _ = (table.to(place) for table in _tables(self))
            return self.weight(_interpolate(place[..., 0].contiguous(), length, knots))

        return (Chart(("arc length",), (0.0,), (self.length,), lambda c: self.arc_length(c.double()), density),)


class _Tables(NamedTuple):
    knots: Tensor
    length: Tensor
    mass: Tensor


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached tensors must support autograd
def _tables(curve: Curve, intervals: int = 4096) -> _Tables:
    """Cumulative length and sampling mass at equally spaced parameters, (intervals + 1,) each, float64."""
    knots = torch.linspace(*curve.interval, intervals + 1, dtype=torch.float64)
    length = _integral(curve.speed, knots[:-1], knots[1:])
    mass = _integral(lambda t: curve.weight(t) * curve.speed(t), knots[:-1], knots[1:])
    start = knots.new_zeros(1)
    return _Tables(knots, torch.cat([start, length.cumsum(0)]), torch.cat([start, mass.cumsum(0)]))


def _integral(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """∫ f from `low` to `high`, elementwise, with three Gauss-Legendre nodes: error O(width⁷)."""
    centre, half, offset = (low + high) / 2, (high - low) / 2, math.sqrt(3 / 5)
    weighted: Tensor = 5 * f(centre - offset * half) + 8 * f(centre) + 5 * f(centre + offset * half)
    return half * weighted / 9


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear interpolation y(x) of points (xs, ys) with increasing xs."""
    i = torch.searchsorted(xs, x).clamp(1, len(xs) - 1)
    return torch.lerp(ys[i - 1], ys[i], (x - xs[i - 1]) / (xs[i] - xs[i - 1]))


def _other_way(start: Tensor, end: Tensor, period: float) -> Tensor:
    """`end` (k,) with its first coordinate moved by one period towards `start` (k,)."""
    turn = math.copysign(period, end[0] - start[0])
    return torch.cat([end[:1] - turn, end[1:]])


def _plane(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x, y], dim=-1)


class Circle(Curve):
    """c(t) = r (cos t, sin t)."""

    title: ClassVar[str] = "Circle"
    closed: ClassVar[bool] = True

    radius: float = Field(default=1.0, ge=0.1, le=5, description="Radius")

    def at(self, t: Tensor) -> Tensor:
        return self.radius * _plane(t.cos(), t.sin())

    def tangent(self, t: Tensor) -> Tensor:
        return self.radius * _plane(-t.sin(), t.cos())

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        return torch.atan2(points[:, 1:], points[:, :1]) % math.tau


class VonMisesCircle(Circle):
    """A circle with the non-uniform density p(t) ∝ exp(κ cos t)."""

    title: ClassVar[str] = "Von Mises circle"

    kappa: float = Field(default=2.0, ge=0, le=20, description="Concentration at angle 0; 0 is uniform")

    def weight(self, t: Tensor) -> Tensor:
        return torch.exp(self.kappa * (t.cos() - 1))


class Ellipse(Curve):
    """c(t) = (a cos t, b sin t)."""

    title: ClassVar[str] = "Ellipse"
    closed: ClassVar[bool] = True

    semi_axis_x: float = Field(default=2.0, ge=0.2, le=5, description="Half of the width")
    semi_axis_y: float = Field(default=1.0, ge=0.2, le=5, description="Half of the height")

    def at(self, t: Tensor) -> Tensor:
        return _plane(self.semi_axis_x * t.cos(), self.semi_axis_y * t.sin())

    def tangent(self, t: Tensor) -> Tensor:
        return _plane(-self.semi_axis_x * t.sin(), self.semi_axis_y * t.cos())


class FigureEight(Curve):
    """Bernoulli's lemniscate c(t) = a (cos t, sin t cos t) / (1 + sin² t), which crosses itself at t = ±π/2.

    The crossing is a single point of the manifold: a path may change branch there.
    """

    title: ClassVar[str] = "Figure eight"
    closed: ClassVar[bool] = True

    half_width: float = Field(default=1.0, ge=0.1, le=5, description="Half of the width")

    @property
    def betti(self) -> tuple[int, ...]:
        return 1, 2

    @property
    def interval(self) -> tuple[float, float]:
        return -math.pi / 2, 3 * math.pi / 2

    def at(self, t: Tensor) -> Tensor:
        sin = t.sin()
        x = self.half_width * t.cos() / (1 + sin.square())
        return _plane(x, x * sin)

    def tangent(self, t: Tensor) -> Tensor:
        sin = t.sin()
        square = sin.square()
        scale = self.half_width / (1 + square).square()
        return scale[..., None] * _plane(-sin * (3 - square), 1 - 3 * square)

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        loop = self.length / 2
        s_u, s_v = self.arc_length(u[..., 0]), self.arc_length(v[..., 0])
        within = (s_u - s_v).abs()
        crossing_u, crossing_v = (torch.minimum(s % loop, loop - s % loop) for s in (s_u, s_v))
        through = crossing_u + crossing_v
        return torch.where((s_u < loop) == (s_v < loop), torch.minimum(within, through), through)


class Spiral(Curve):
    """Archimedes' spiral c(t) = p t / 2π · (cos t, sin t)."""

    title: ClassVar[str] = "Spiral"

    turns: float = Field(default=2.0, ge=0.5, le=5, description="Number of turns")
    pitch: float = Field(default=1.0, ge=0.1, le=10, description="Distance between two turns")
    start: float = Field(default=0.0, ge=0, le=10, description="Angle at which it begins, in radians")

    @property
    def interval(self) -> tuple[float, float]:
        return self.start, self.start + math.tau * self.turns

    def at(self, t: Tensor) -> Tensor:
        return self.pitch / math.tau * t[..., None] * _plane(t.cos(), t.sin())

    def tangent(self, t: Tensor) -> Tensor:
        return self.pitch / math.tau * _plane(t.cos() - t * t.sin(), t.sin() + t * t.cos())


class Helix(Curve):
    """c(t) = (r cos t, r sin t, p t / 2π)."""

    title: ClassVar[str] = "Helix"
    ambient_dim: ClassVar[int] = 3

    radius: float = Field(default=1.0, ge=0.1, le=5, description="Radius")
    pitch: float = Field(default=1.0, ge=0.1, le=5, description="Rise of one turn")
    turns: float = Field(default=2.0, ge=0.5, le=10, description="Number of turns")

    @property
    def interval(self) -> tuple[float, float]:
        return 0.0, math.tau * self.turns

    def at(self, t: Tensor) -> Tensor:
        return torch.stack([self.radius * t.cos(), self.radius * t.sin(), self.pitch / math.tau * t], dim=-1)

    def tangent(self, t: Tensor) -> Tensor:
        rise = torch.full_like(t, self.pitch / math.tau)
        return torch.stack([-self.radius * t.sin(), self.radius * t.cos(), rise], dim=-1)


class Arc(NamedTuple):
    """An arc of a circle: centre, radius, start angle and spanned angle."""

    centre: tuple[float, float]
    radius: float
    start: float = 0.0
    span: float = math.tau


class Arcs(Manifold):
    """A union of disjoint circle arcs; everything is exact. Coordinates: (angle from the arc's start, component)."""

    intrinsic_dim: ClassVar[int] = 1
    ambient_dim: ClassVar[int] = 2
    names: ClassVar[tuple[str, ...]]
    """Of the components, in the order of their index."""

    @property
    def arcs(self) -> tuple[Arc, ...]:
        """The components, in the order of their index."""
        raise self._lacks("arcs")

    @property
    def betti(self) -> tuple[int, ...]:
        return len(self.arcs), sum(arc.span >= math.tau for arc in self.arcs)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        u = uniform(n, generator)
        _, radius, _, span = self._table(u)
        ends = (radius * span).cumsum(0)
        component = torch.searchsorted(ends, u * ends[-1], right=True).clamp(max=len(ends) - 1)
        return _plane(uniform(n, generator) * span[component], component)

    def embed(self, coordinates: Tensor) -> Tensor:
        angle, component = coordinates.unbind(-1)
        component = component.round().long()
        centre, radius, start, _ = (column[component] for column in self._table(coordinates))
        angle = angle + start
        return centre + radius[..., None] * _plane(angle.cos(), angle.sin())

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        centre, radius, start, span = self._table(points)
        x, y = (points[:, None] - centre).unbind(-1)
        angle = (torch.atan2(y, x) - start) % math.tau
        # Beyond an arc, take the nearer end: each end has half of the remaining circle.
        angle = torch.where(angle <= span, angle, torch.where(angle < (span + math.tau) / 2, span, 0.0))
        nearest = centre + radius[:, None] * _plane((angle + start).cos(), (angle + start).sin())
        component = (points[:, None] - nearest).square().sum(-1).argmin(-1, keepdim=True)
        return torch.cat([angle.gather(1, component), component], dim=-1)

    @in_float64
    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        component = u[..., 1].round().long()
        _, radius, _, span = (column[component] for column in self._table(u))
        turn = (u[..., 0] - v[..., 0]).abs()
        turn = torch.where(span < math.tau, turn, torch.minimum(turn % math.tau, -turn % math.tau))
        return torch.where(component == v[..., 1].round().long(), radius * turn, torch.inf)

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        whole = self.arcs[int(end[1])].span >= math.tau
        return torch.stack([end, _other_way(start, end, math.tau)]) if whole else end[None]

    def evenly(self, n: int) -> Tensor:
        """The middles of `n` pieces of equal length of the arcs in a row."""
        middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        _, radius, _, span = self._table(middles)
        ends = (radius * span).cumsum(0)
        component = torch.searchsorted(ends, middles * ends[-1], right=True)
        passed = middles * ends[-1] - (ends - radius * span)[component]
        return _plane(passed / radius[component], component)

    @property
    def charts(self) -> tuple[Chart, ...]:
        def place(coordinates: Tensor, component: int, radius: float) -> Tensor:
            angle, of = coordinates.double().unbind(-1)
            return torch.where(of.round() == component, radius * angle, torch.nan)[:, None]

        return tuple(
            Chart(
                ("arc length",),
                (0.0,),
                (arc.radius * arc.span,),
                functools.partial(place, component=component, radius=arc.radius),
                title=name,
            )
            for component, (arc, name) in enumerate(zip(self.arcs, self.names, strict=True))
        )

    def _table(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.tensor(column, dtype=like.dtype, device=like.device) for column in zip(*self.arcs, strict=True)
        )


class ConcentricCircles(Arcs):
    """Two circles about the origin; component 0 is the inner one."""

    title: ClassVar[str] = "Concentric circles"
    names: ClassVar[tuple[str, ...]] = ("inner circle", "outer circle")

    inner_radius: float = Field(default=0.5, ge=0.1, le=0.9, description="Radius of the inner circle")
    outer_radius: float = Field(default=1.0, ge=1, le=5, description="Radius of the outer circle")

    @property
    def arcs(self) -> tuple[Arc, ...]:
        return Arc((0, 0), self.inner_radius), Arc((0, 0), self.outer_radius)


class TwoCircles(Arcs):
    """Two equal circles side by side; component 0 is the left one."""

    title: ClassVar[str] = "Two circles"
    names: ClassVar[tuple[str, ...]] = ("left circle", "right circle")

    radius: float = Field(default=1.0, ge=0.1, le=5, description="Radius of both circles")
    gap: float = Field(default=1.0, ge=0.1, le=10, description="Distance between the circles")

    @property
    def arcs(self) -> tuple[Arc, ...]:
        offset = self.radius + self.gap / 2
        return Arc((-offset, 0), self.radius), Arc((offset, 0), self.radius)


class Moons(Arcs):
    """Two interleaved half circles of radius 1, as in scikit-learn's make_moons; component 0 is the upper one."""

    title: ClassVar[str] = "Moons"
    names: ClassVar[tuple[str, ...]] = ("upper moon", "lower moon")

    @property
    def arcs(self) -> tuple[Arc, ...]:
        return Arc((0, 0), 1, 0, math.pi), Arc((1, 0.5), 1, math.pi, math.pi)
