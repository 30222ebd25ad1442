"""Point clouds to train on: toy manifolds with ground truth, and users' files (`mvm.data.tables`).

    x_train = (x − mean) / scale          inverted before fakes are shown

All coordinates of a toy manifold share one scale, which preserves its geometry, and it is scored in its own units. In a
user's file, whose columns may have different units, each column has its own scale, and scores compare x_train: they do
not depend on the units. Numbers far from zero, such as UTM metres or Unix milliseconds, stay float64 until they are
standardised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from mvm.data.anomalies import describe
from mvm.data.kind import Dataset, DataSettings, Generate, Kind, Members
from mvm.data.seeds import FLOOR_SEED, REAL_SEED, TRAIN_SEED, VIEW_SEED
from mvm.data.tables import MIN_POINTS, POINT_FILES, Table, read_table
from mvm.errors import ConfigError
from mvm.networks.architecture import Architecture
from mvm.networks.mlp import Perceptrons
from mvm.networks.settings import NetworkSettings
from toy_manifolds import MANIFOLDS, embedded, manifold
from toy_manifolds.base import Manifold

if TYPE_CHECKING:
    from mvm.scoring.points import Reference
    from mvm.scoring.score import Coordinates

__all__ = [
    "POINT_FILES",
    "WAVES",
    "Evaluation",
    "Look",
    "PointData",
    "Points",
    "file_table",
    "load_points",
    "look_at",
    "truth_of",
]

GRID = 21  # points per side of the noise grid that the generator warps
FAR_OFF = 2**8  # float32 rounds a number of this many standard deviations by up to 2⁻¹⁶ of one
WAVES = (2.0, 4.0)  # frequencies of the metric's input in this lab's recipe


@dataclass(frozen=True)
class Evaluation:
    """Held-out real points for scoring, in the data's own units.

    Attributes:
        real: `(n, D)`.
        floor: `(n, D)`, a second independent sample; scores between `real` and `floor` are the baselines.
        coordinates: intrinsic coordinates of `real`, `(n, k)`, or None without ground truth.
    """

    real: Tensor
    floor: Tensor
    coordinates: Tensor | None


@dataclass(frozen=True)
class PointData:
    """A data set of points.

    Attributes:
        train: standardised training points `(N, D)`, float32.
        view: standardised real points that every snapshot shows, `(n, D)`, float32.
        mean, scale: `(D,)` each; x = train · scale + mean is in the data's own units. All points in own units have
            their type, float32 or float64.
        manifold: the ground truth, or None for a user's file.
        own: all points of the user's file `(n, D)`, in its order and units, or None for a toy manifold.
        held_out: points of the user's file kept from training for scores `(n, D)`, in its units, or None.
    """

    train: Tensor
    view: Tensor
    mean: Tensor
    scale: Tensor
    manifold: Manifold | None = None
    own: Tensor | None = None
    held_out: Tensor | None = None

    scores_metric: ClassVar[bool] = True

    @property
    def dim(self) -> int:
        """D, dimension of a point."""
        return self.train.shape[-1]

    @property
    def train_size(self) -> int:
        """N, number of training points."""
        return len(self.train)

    def table(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Standardised training points `(N, D)`."""
        return self.train.to(device=device, dtype=dtype)

    def standardise(self, points: Tensor) -> Tensor:
        """Map points `(..., D)` from the data's own units to training units.

        Returns:
            The type of `points`, but float32 for float64 points of data that are themselves float64.
        """
        standardised = self._standardise_exactly(points)
        return standardised.float() if self.mean.dtype == torch.float64 else standardised

    def _standardise_exactly(self, points: Tensor) -> Tensor:
        """Map points as `standardise` does; of float64 data to float64."""
        return (points - self.mean) / self.scale

    def restore(self, points: Tensor) -> Tensor:
        """Map points `(..., D)` from training units to the data's own units."""
        return points * self.scale + self.mean

    def snapshot(self, fake: Tensor, noise: Tensor, generate: Generate) -> dict[str, Tensor]:
        """Reals `(n, D)`, fakes `(V, n, D)`, and the generator's image of a noise grid, `(V, GRID, GRID, D)`."""
        grid = generate(_grid(noise.shape[-1]).to(noise)).unflatten(1, (GRID, GRID))
        shown = {"real": self.view, "fake": fake, "grid": grid}
        return {name: self.restore(points.cpu().float()) for name, points in shown.items()}

    def copied(self) -> np.ndarray | None:
        """All points of a user's file `(n, D)`; None for a toy manifold."""
        return None if self.own is None else self.own.numpy()

    def shown_once(self) -> None:
        """None: every snapshot stores the real points."""
        return None

    def reference(
        self, n: int, *, repeat: int = 0, inception: bool = False, on_progress: Callable[[float], None] | None = None
    ) -> Reference:
        """Draw two held-out samples to score fakes against; `n` and `repeat` as in `evaluation`.

        Raises:
            ConfigError: `inception` is set, which needs pictures.
        """
        from mvm.scoring.points import Reference

        if inception:
            raise ConfigError("--inception: these data are points; the FID is defined for pictures")
        held_out = self.evaluation(n, repeat=repeat)
        return Reference(
            held_out.real,
            held_out.floor,
            manifold=self.manifold,
            real_coordinates=held_out.coordinates,
            standardise=None if self.manifold else self._standardise_exactly,
            on_progress=on_progress,
        )

    def evaluation(self, n: int, *, repeat: int = 0) -> Evaluation:
        """Draw two separate real samples of at most `n` points outside the training set.

        Args:
            n: points in each sample; a user's file may give fewer.
            repeat: index of the pair of samples. Another index gives new points of a toy manifold, and another shuffle
                of the held-out points of a user's file.
        """
        if self.manifold is not None:
            real = self.manifold.sample(n, _generator(REAL_SEED + 10 * repeat))
            floor = self.manifold.sample(n, _generator(FLOOR_SEED + 10 * repeat))
            return Evaluation(real.points, floor.points, real.coordinates)
        assert self.held_out is not None
        shuffled = self.held_out[torch.randperm(len(self.held_out), generator=_generator(REAL_SEED + 10 * repeat))]
        half = min(n, len(shuffled) // 2)
        return Evaluation(shuffled[:half], shuffled[half : 2 * half], None)


class Points(Kind):
    """Points of a toy manifold, or of a user's file."""

    name = "points"
    title = "Points"
    noun = "points"
    stacked = True
    network_settings = frozenset({"width", "depth", "activation", "generator_activation", "frequencies"})
    snapshot_arrays: ClassVar = {"real": "float n D", "fake": "float V n D", "grid": "float V g g D"}
    recipes: ClassVar = {"stabilised": {"network": {"frequencies": WAVES}}}

    def accepts(self, data: str) -> bool:
        """Names of toy manifolds, and paths with the suffix of a point file."""
        return data in MANIFOLDS or data.lower().endswith(POINT_FILES)

    def load(self, settings: DataSettings, *, own: Path | None = None) -> PointData:
        """Load points as in `load_points`."""
        return load_points(settings, own=own)

    def units(self, settings: DataSettings, *, own: Path | None, shown: Path) -> PointData:
        """Load mean, scale and manifold, without points."""
        data = load_points(settings, own=own)
        return replace(data, train=data.train[:0].clone(), view=data.view[:0].clone(), held_out=None)

    def architecture(self, data: Dataset, settings: NetworkSettings, members: Members, *, bf16: bool) -> Architecture:
        """Stacked perceptrons, which always compute in float32."""
        return Perceptrons(settings, data.dim, members.streams, copies=members.copies)

    def coordinates(self, data: str) -> Coordinates:
        """Own units of a toy manifold, standardised coordinates of a file."""
        return "own" if data in MANIFOLDS else "standardised"

    def data_title(self, data: str) -> str:
        """Title of a manifold, or name of a file."""
        return MANIFOLDS[data].title if data in MANIFOLDS else super().data_title(data)

    def describe(self, settings: DataSettings) -> list[str]:
        """Describe a file as in `mvm.data.anomalies.describe`; empty for a toy manifold."""
        return [] if settings.data in MANIFOLDS else describe(file_table(settings))


def load_points(settings: DataSettings, *, own: Path | None = None) -> PointData:
    """Sample a toy manifold, or read a user's file, as the settings name it.

    Args:
        settings: reads `data`, `settings`, `ambient_dim`, `points` and `view_points`.
        own: file to read in place of `settings.data`: the run's copy of a user's points, to which the switches have
            been applied.

    Raises:
        ConfigError: the manifold, a setting or the file is unknown, or the points cannot be trained on; one line.
    """
    if own is None and settings.data in MANIFOLDS:
        truth = _manifold(settings)
        points = truth.sample(settings.points, _generator(TRAIN_SEED)).points
        view = truth.sample(settings.view_points, _generator(VIEW_SEED)).points
        mean = points.mean(0)
        scale = (points - mean).square().mean().sqrt().expand(truth.ambient_dim).clone()
        return PointData((points - mean) / scale, (view - mean) / scale, mean, scale, truth)
    if settings.settings or settings.ambient_dim:
        raise ConfigError(f"settings, ambient_dim: only toy manifolds have them, not the file {settings.data}")
    points = torch.from_numpy((read_table(own) if own else file_table(settings)).values)
    order = torch.randperm(len(points), generator=_generator(TRAIN_SEED))
    held = min(4000, len(points) // 5)
    precision = _precision_for(points)
    points = points.to(precision)
    train, held_out = points[order[held:]], points[order[:held]]
    exact = train.double()
    mean, scale = exact.mean(0).to(precision), _deviations(exact).to(precision)
    scale = torch.where(scale > 0, scale, 1.0)
    train = ((train - mean) / scale).float()
    return PointData(train, train[: settings.view_points], mean, scale, None, points, held_out)


@dataclass(frozen=True)
class Look:
    """Points to look at before training.

    Attributes:
        points: `(n, D)` in the data's own units, those that every snapshot of a run shows.
        count: number of points that a run trains on or is scored with.
    """

    points: np.ndarray
    count: int

    @property
    def dim(self) -> int:
        """D, dimension of a point."""
        return int(self.points.shape[1])


def look_at(settings: DataSettings, *, own: Path | None = None) -> Look:
    """The points that a run with these settings shows; arguments and errors as in `load_points`."""
    few = settings.model_copy(update={"points": MIN_POINTS})  # a toy manifold's view does not depend on its number
    data = load_points(few, own=own)
    return Look(data.restore(data.view).numpy(), settings.points if data.own is None else len(data.own))


def truth_of(settings: DataSettings) -> Manifold | None:
    """The manifold that the data are samples of, with its settings and noise; None for a user's file."""
    return _manifold(settings) if settings.data in MANIFOLDS else None


def _precision_for(points: Tensor) -> torch.dtype:
    """Type that holds points `(N, D)` float64: float32, unless its rounding exceeds 2⁻¹⁶ standard deviations.

    Of a constant column, float32 need only hold integers exactly.
    """
    limits = torch.finfo(torch.float32)
    largest, scale = points.abs().amax(0), _deviations(points)
    unit = torch.where(scale > 0, scale, 1 / limits.eps / FAR_OFF)
    coarse = (largest > FAR_OFF * unit).any()
    outside = (largest > limits.max).any() or (unit < limits.tiny / limits.eps).any()
    return torch.float64 if coarse or outside else torch.float32


def _deviations(points: Tensor) -> Tensor:
    """Standard deviations `(D,)` of float64 points `(N, D)`; exactly 0 of a constant column.

    Powers of two are taken out first, so that squares neither overflow nor vanish, and no bit changes otherwise.
    """
    _, exponent = torch.frexp(points.abs().amax(0))
    varying = (points != points[0]).any(0)  # the mean of a constant column can round
    return torch.ldexp(torch.ldexp(points, -exponent).std(0), exponent) * varying


def file_table(settings: DataSettings) -> Table:
    """Read the user's file that the settings name, with their switches.

    Raises:
        ConfigError: the file is unknown or unreadable, or its points fail a check; one line.
    """
    path = Path(settings.data)
    if path.suffix.lower() not in POINT_FILES:
        known = f"a toy manifold ({', '.join(MANIFOLDS)}) or a file ending in {', '.join(POINT_FILES)}"
        raise ConfigError(f"data: unknown {settings.data!r}; give {known}")
    return read_table(path, **settings.switches)


def _manifold(settings: DataSettings) -> Manifold:
    """Build the toy manifold named by the settings, embedded in `ambient_dim` dimensions."""
    try:
        truth = manifold(settings.data, **settings.settings)
        return embedded(truth, settings.ambient_dim) if settings.ambient_dim else truth
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _grid(noise_dim: int) -> Tensor:
    """Generator inputs on a square grid in the first two noise dimensions, `(GRID², m)`."""
    side = torch.linspace(-2, 2, GRID)
    grid = torch.zeros(GRID, GRID, noise_dim)
    grid[..., 0] = side[:, None]
    if noise_dim > 1:
        grid[..., 1] = side
    return grid.flatten(0, 1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
