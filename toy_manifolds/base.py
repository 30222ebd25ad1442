"""A manifold M in R^D with known geometry: ground truth for generated points.

    sample    x = embed(c) + noise · z,   c uniform in volume on M,   z ~ N(0, I)
    project   c(x) = argmin_c ‖x − embed(c)‖
    distance  d(x, M) = ‖x − embed(project(x))‖, zero on the manifold only
    geodesic  d(u, v) = length of the shortest path from u to v that stays in M

Settings are pydantic fields with bounds and help; the app makes sliders of them, the command line flags.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny
from torch import Tensor

__all__ = ["Chart", "Embedded", "Manifold", "Sample", "embedded", "in_float64"]


@dataclass(frozen=True)
class Sample:
    """`points` (n, ambient_dim) and their intrinsic `coordinates` (n, k), both of torch's default dtype."""

    points: Tensor
    coordinates: Tensor


@dataclass(frozen=True)
class Chart:
    """A component of a manifold laid out flat: a curve by its arc length, a surface as a map.

    Attributes:
        axes: name of each of its k axes, with the unit.
        low, high: limits of each axis.
        place: from intrinsic coordinates to places on the chart, (n, ·) -> (n, k) float64; NaN on other components.
        density: of samples per unit of the axes, (..., k) -> (...), up to a factor that all charts of a manifold share;
            uniform when None.
        title: name of the component; empty if it is the only one.
        aspect: its length along the first axis over that along the second, on the manifold.
        cells: number of cells along each axis, if only that one makes sense.
    """

    axes: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    place: Callable[[Tensor], Tensor]
    density: Callable[[Tensor], Tensor] | None = None
    title: str = ""
    aspect: float = 1.0
    cells: tuple[int, ...] | None = None


def in_float64(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a method compute in float64 and return the dtype of its first tensor."""

    @functools.wraps(function)
    def wrapper(self: "Manifold", first: Tensor, *others: Tensor) -> Tensor:
        return function(self, first.double(), *(other.double() for other in others)).to(first.dtype)

    return wrapper


class Manifold(BaseModel):
    """A set with known geometry. A subclass defines `draw`, `embed`, `project` and `geodesic`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: ClassVar[str]
    intrinsic_dim: ClassVar[int]
    ambient_dim: ClassVar[int]

    noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Standard deviation of isotropic Gaussian noise added to each sampled point, "
        "in units of the coordinates",
    )

    def sample(self, n: int, generator: torch.Generator | None = None) -> Sample:
        """Draw `n` points on the generator's device, uniform in volume unless the class says otherwise."""
        coordinates = self.draw(n, generator).to(torch.get_default_dtype())
        points = self.embed(coordinates.double()).to(coordinates.dtype)
        if self.noise:
            shake = torch.randn(points.shape, generator=generator, device=points.device, dtype=points.dtype)
            points = points + self.noise * shake
        return Sample(points=points, coordinates=coordinates)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Intrinsic coordinates of `n` random points, (n, k) float64."""
        raise self._lacks("draw(n, generator)")

    def embed(self, coordinates: Tensor) -> Tensor:
        """Points with these intrinsic coordinates, (..., k) -> (..., ambient_dim)."""
        raise self._lacks("embed(coordinates)")

    def project(self, points: Tensor) -> Tensor:
        """Coordinates of a nearest point of the manifold, (n, ambient_dim) -> (n, k)."""
        raise self._lacks("project(points)")

    @in_float64
    def distance(self, points: Tensor) -> Tensor:
        """Euclidean distance to the manifold, (n, ambient_dim) -> (n,). NaN in, NaN out, row by row."""
        distance: Tensor = torch.linalg.vector_norm(points - self.embed(self.project(points)), dim=-1)
        return distance

    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        """Length of the shortest path in the manifold between paired coordinates, (n, k), (n, k) -> (n,).

        It is inf between two components.
        """
        raise self._lacks("geodesic(u, v)")

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        """All coordinates by which a shortest path from `start` may reach the point `end`, (k,), (k,) -> (c, k).

        A chart that closes up names one point several times: an angle t and t − 2π. By default, `end` alone.
        """
        return end[None]

    @property
    def betti(self) -> tuple[int, ...] | None:
        """Betti numbers of the noiseless set: components, loops, voids ..., up to intrinsic_dim; None if not stated."""
        return None

    @property
    def chart_bounds(self) -> tuple[Tensor, Tensor] | None:
        """Lower and upper limits (k,) of the coordinates, if a shortest path would otherwise leave the chart."""
        return None

    def evenly(self, n: int) -> Tensor:
        """Coordinates of `n` points spread uniformly in volume, for averages over the manifold, (n, k) float64.

        By default fixed random ones, of a class that draws uniformly.
        """
        return self.draw(n, torch.Generator().manual_seed(0))

    def density(self, coordinates: Tensor) -> Tensor:
        """Density of samples without noise by volume, up to a factor, (n, k) -> (n,); uniform by default."""
        return torch.ones_like(coordinates[..., 0])

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Its components laid out flat, on which samples are counted; none by default: then they are not counted."""
        return ()

    def _lacks(self, method: str) -> NotImplementedError:
        """Error for a method that a subclass must define."""
        return NotImplementedError(f"{type(self).__name__} must define {method}")


def uniform(n: int, generator: torch.Generator | None) -> Tensor:
    """`n` uniform random numbers in [0, 1), float64, on the generator's device."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(n, generator=generator, device=device, dtype=torch.float64)


class Embedded(Manifold):
    """x = Q y: a manifold y placed in a higher dimension by a seeded isometry Q, (D, d) with QᵀQ = I.

    It has the coordinates, geodesics and settings of `manifold`; noise fills all D dimensions.
    """

    manifold: SerializeAsAny[Manifold] = Field(description="The manifold to place")
    # of its class for any other manifold, here of each object
    ambient_dim: int = Field(description="Dimension of the space it is placed in")  # type: ignore[misc]
    seed: int = Field(default=0, description="Seed of the isometry")

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"{self.manifold.title} in {self.ambient_dim} dimensions"

    @property
    def intrinsic_dim(self) -> int:  # type: ignore[override]
        return self.manifold.intrinsic_dim

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.manifold.draw(n, generator)

    def embed(self, coordinates: Tensor) -> Tensor:
        points = self.manifold.embed(coordinates)
        return points @ self._frame(points).T

    @in_float64
    def project(self, points: Tensor) -> Tensor:
        return self.manifold.project(points @ self._frame(points))

    def geodesic(self, u: Tensor, v: Tensor) -> Tensor:
        return self.manifold.geodesic(u, v)

    def lifts(self, start: Tensor, end: Tensor) -> Tensor:
        return self.manifold.lifts(start, end)

    @property
    def betti(self) -> tuple[int, ...] | None:
        return self.manifold.betti

    @property
    def chart_bounds(self) -> tuple[Tensor, Tensor] | None:
        return self.manifold.chart_bounds

    def evenly(self, n: int) -> Tensor:
        return self.manifold.evenly(n)

    def density(self, coordinates: Tensor) -> Tensor:
        return self.manifold.density(coordinates)

    @property
    def charts(self) -> tuple[Chart, ...]:
        return self.manifold.charts

    def _frame(self, like: Tensor) -> Tensor:
        return orthonormal_frame(self.ambient_dim, self.manifold.ambient_dim, self.seed).to(like)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # cached tensors must support autograd
def orthonormal_frame(rows: int, columns: int, seed: int) -> Tensor:
    """Random orthonormal columns, (rows, columns) float64, by QR of a Gaussian matrix."""
    generator = torch.Generator().manual_seed(seed)
    frame: Tensor = torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64)).Q
    return frame


def embedded(manifold: Manifold, ambient_dim: int, seed: int = 0) -> Embedded:
    """Place `manifold` in `ambient_dim` dimensions by a random isometry (no translation).

    Raises:
        ValueError: `ambient_dim` is smaller than the manifold's own.
    """
    if ambient_dim < manifold.ambient_dim:
        raise ValueError(
            f"ambient_dim={ambient_dim}: {manifold.title} needs at least {manifold.ambient_dim} dimensions"
        )
    return Embedded(manifold=manifold, ambient_dim=ambient_dim, seed=seed, noise=manifold.noise)
