"""Point clouds to train on: toy manifolds with ground truth, and users' CSV or NPY files.

    x_train = (x − mean) / scale          inverted before fakes are shown and scored

All coordinates of a toy manifold share one scale, which preserves its geometry. In a user's file, whose columns may
have different units, each column has its own scale.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from mvm.data.kind import Dataset, DataSettings, Generate, Kind, Members
from mvm.data.seeds import FLOOR_SEED, REAL_SEED, TRAIN_SEED, VIEW_SEED
from mvm.errors import ConfigError
from mvm.networks.architecture import Architecture
from mvm.networks.mlp import Perceptrons
from mvm.networks.settings import NetworkSettings
from toy_manifolds import MANIFOLDS, embedded, manifold
from toy_manifolds.base import Manifold

if TYPE_CHECKING:
    from mvm.scoring.points import Reference

__all__ = [
    "MIN_POINTS",
    "POINT_FILES",
    "WAVES",
    "Evaluation",
    "PointData",
    "Points",
    "describe",
    "load_points",
    "read_points",
]

MIN_POINTS = 64
MAX_BYTES = 2**31
MOST_NAMES = 8  # column names listed in one line
GRID = 21  # points per side of the noise grid that the generator warps
POINT_FILES = (".csv", ".npy")
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
        view: standardised real points that every snapshot shows, `(n, D)`.
        mean, scale: `(D,)` each; x = train · scale + mean is in the data's own units.
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
        """Map points `(..., D)` from the data's own units to training units."""
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

    def reference(self, n: int, *, repeat: int = 0, inception: bool = False) -> Reference:
        """Draw two held-out samples to score fakes against; `n` and `repeat` as in `evaluation`.

        Raises:
            ConfigError: `inception` is set, which needs pictures.
        """
        from mvm.scoring.points import Reference

        if inception:
            raise ConfigError("--inception: these data are points; the FID is defined for pictures")
        held_out = self.evaluation(n, repeat=repeat)
        return Reference(held_out.real, held_out.floor, manifold=self.manifold, real_coordinates=held_out.coordinates)

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
    network_settings = frozenset({"width", "depth", "activation", "generator_activation", "frequencies"})
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

    def data_title(self, data: str) -> str:
        """Title of a manifold, or name of a file."""
        return MANIFOLDS[data].title if data in MANIFOLDS else super().data_title(data)

    def describe(self, data: str) -> list[str]:
        """Describe a file as in `describe`; empty for a toy manifold."""
        return [] if data in MANIFOLDS else describe(Path(data))


def load_points(settings: DataSettings, *, own: Path | None = None) -> PointData:
    """Sample a toy manifold, or read a user's file, as the settings name it.

    Args:
        settings: reads `data`, `settings`, `ambient_dim`, `points` and `view_points`.
        own: file to read in place of `settings.data`: the run's copy of a user's points.

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
    points = read_points(Path(own or settings.data))
    order = torch.randperm(len(points), generator=_generator(TRAIN_SEED))
    held = min(4000, len(points) // 5)
    train, held_out = points[order[held:]], points[order[:held]]
    exact = train.double()  # in float64 a constant column has a standard deviation of exactly 0, and stays unscaled
    mean, scale = exact.mean(0).float(), exact.std(0).float()
    scale = torch.where(scale > 0, scale, 1.0)
    train = (train - mean) / scale
    return PointData(train, train[: settings.view_points], mean, scale, None, points, held_out)


def read_points(path: Path) -> Tensor:
    """Read and check the points of a CSV or NPY file, `(N, D)` float32.

    Raises:
        ConfigError: the file is unreadable, or its points fail a check; one line with file, position and cause.
    """
    return _read(path)[0]


def describe(path: Path) -> list[str]:
    """Describe a file of points, for a look before training.

    Returns:
        A summary such as "800 points, 2 columns: x, y", then one line per anomaly: a column that counts the rows,
        constant columns, a first row that may be a header. Anomalous rows and columns are still trained on.

    Raises:
        ConfigError: as for `read_points`.
    """
    points, names = _read(path)
    n, dim = points.shape
    titles = [f"column {i + 1}" + (f" ({names[i] or 'unnamed'})" if names else "") for i in range(dim)]
    first, ranks = points[0], torch.arange(n, dtype=points.dtype)
    counters = [i for i in range(dim) if first[i] in (0, 1) and torch.equal(points[:, i], ranks + first[i])]
    constant = [titles[i].removeprefix("column ") for i in range(dim) if (points[:, i] == first[i]).all()]

    shown = f": {_few([name or '(unnamed)' for name in names])}" if names else ""
    lines = [f"{n:,} points, {dim} columns{shown}"]
    lines += [
        f"{titles[i]} counts the rows from {first[i]:.0f} and is trained on; if it is an index, take it out of the file"
        for i in counters
    ]
    if constant:
        which = (
            f"column {constant[0]} never changes" if len(constant) == 1 else f"columns {_few(constant)} never change"
        )
        lines.append(f"{which}, and can be left out of the file")
    if path.suffix.lower() == ".csv" and not names and torch.equal(first, ranks[:dim]):
        lines.append("the first row is 0, 1, ..., and is read as a point; if it is a header, take it out of the file")
    return lines


def _few(names: list[str]) -> str:
    """Join at most `MOST_NAMES` names by commas, with "..." for the rest."""
    return ", ".join([*names[:MOST_NAMES], *["..."] * (len(names) > MOST_NAMES)])


def _read(path: Path) -> tuple[Tensor, list[str]]:
    """Read checked points `(N, D)`, and the names of the columns (empty without a header)."""
    known = f"a toy manifold ({', '.join(MANIFOLDS)}) or a file ending in .csv or .npy"
    if path.suffix.lower() not in (".csv", ".npy"):
        raise ConfigError(f"data: unknown {str(path)!r}; give {known}")
    if not path.is_file():
        raise ConfigError(f"data: no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"data: {path} is larger than {MAX_BYTES >> 30} GiB; give a sample of its points")
    array, names = (_read_npy(path), []) if path.suffix.lower() == ".npy" else _read_csv(path)
    return check_points(array, path.name), names


def check_points(array: np.ndarray, name: str) -> Tensor:
    """Check an array of points, and convert it to a `(N, D)` float32 tensor.

    Raises:
        ConfigError: not two-dimensional, too few points or columns, NaN, infinite or all equal; one line.
    """
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"data: {name} holds {array.dtype} values; points must be numbers")
    if array.ndim != 2:
        pictures = "; if it holds pictures: mvm prepare images FILE" if array.ndim in (3, 4) else ""
        raise ConfigError(
            f"data: {name} has shape {array.shape}; points must be rows of one two-dimensional table{pictures}"
        )
    if array.shape[1] < 2:
        raise ConfigError(f"data: {name} has {array.shape[1]} column; a point needs at least 2")
    if len(array) < MIN_POINTS:
        raise ConfigError(f"data: {name} has {len(array)} points; at least {MIN_POINTS} are needed")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ConfigError(
            f"data: {name} has {array[row, column]} in point {row + 1}, column {column + 1}; remove or mend it"
        )
    if (array == array[0]).all():
        raise ConfigError(f"data: every point of {name} is the same")
    return torch.from_numpy(np.ascontiguousarray(array))


def _read_npy(path: Path) -> np.ndarray:
    """Read an NPY file without opening pickled objects."""
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, SyntaxError, TokenError) as error:  # a malformed header raises SyntaxError or TokenError
        reason = "it holds pickled objects, which are not opened" if "pickle" in str(error).lower() else error
        raise ConfigError(f"data: {path.name} is no plain .npy array: {reason}") from None
    except (EOFError, OSError, MemoryError) as error:
        raise ConfigError(f"data: {path.name} is no complete .npy file: {error}") from None


def _read_csv(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read rows of numbers `(N, D)`, and the header's cells if any; separated by comma, semicolon, tab or blanks."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"data: {path.name} is not a UTF-8 text file") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ConfigError(f"data: {path.name} is empty")
    delimiter = next((d for d in ",;\t" if d in lines[0][1]), None)

    def split(line: str) -> list[str]:
        try:
            return next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split()
        except csv.Error as error:
            raise ConfigError(f"data: {path.name} is no table of numbers: {error}") from None

    first = split(lines[0][1])
    header = not any(_is_number(cell) for cell in first)
    rows = []
    for number, line in lines[header:]:
        cells = split(line)
        if len(cells) != len(first):
            raise ConfigError(
                f"data: {path.name} line {number} has {len(cells)} cells, line {lines[0][0]} has {len(first)}"
            )
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            column, cell = next((c, cell) for c, cell in enumerate(cells, 1) if not _is_number(cell))
            raise ConfigError(f"data: {path.name} line {number}, column {column}: {cell!r} is not a number") from None
    names = [" ".join(cell.split()) for cell in first] if header else []
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(first)), names


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


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
