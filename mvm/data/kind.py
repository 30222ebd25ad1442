"""Kinds of data: one interface to name, load, learn, view and score data sets.

    kind       settings -> data set, networks, defaults           points, images
    data set   training points to draw, a view, a reference       swiss roll, a CSV file, toy faces, a cache of pictures

Higher packages use data through `Kind` and `Dataset` only. A new kind is one file with both, one line in
`mvm.data.kinds`, and one page of the app.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import BeforeValidator, Field, field_validator
from torch import Tensor

from mvm.networks.architecture import Architecture
from mvm.networks.settings import NetworkSettings
from mvm.settings import Settings

if TYPE_CHECKING:
    from mvm.scoring.score import Coordinates
    from toy_manifolds.base import Manifold

__all__ = ["SWITCHES", "DataSettings", "Dataset", "Generate", "Kind", "Members", "PairedDataset", "Reference"]


SWITCHES = ("header", "missing", "drop_columns")
MARK = re.compile(r"(?i)nan|[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?")  # of a missing number


def _words(value: Any) -> Any:
    """Accept a single word or number as a tuple of length 1, and numbers as words."""
    values = value if isinstance(value, tuple | list) else (value,)
    return tuple(str(item) if isinstance(item, int | float) else item for item in values)


class DataSettings(Settings):
    """Data set, and number of points."""

    data: str = Field(
        "circle",
        max_length=4096,
        description="a toy manifold by name, a file of points (.csv, .tsv, .txt or .npy), faces (toy faces), the name "
        "of a prepared cache of pictures, or sr (super-resolution)",
    )
    data_from: str | None = Field(
        None,
        max_length=4096,
        description="sr: folder, ZIP or prepared cache of high-resolution pictures to train on; none is the "
        "photographs that come with scikit-image and scikit-learn",
    )
    patch: int = Field(
        48, ge=8, le=256, multiple_of=8, description="sr: side of the low-resolution patches in pixels, a multiple of 8"
    )
    settings: dict[str, float] = Field({}, description="settings of the toy manifold, for example: noise 0.05")
    ambient_dim: int | None = Field(
        None, ge=2, le=4096, description="embed the toy manifold in this many dimensions by a seeded isometry"
    )
    points: int = Field(
        50_000, ge=64, le=5_000_000, description="number of training points of a toy manifold, or of toy faces"
    )
    size: int | None = Field(None, ge=8, le=512, description="toy faces: width and height in pixels; none is 32")
    flips: bool = Field(True, description="cache of pictures: mirror each drawn picture with probability 1/2")
    header: bool = Field(
        False, description="file of points: the first row holds the columns' names, even if they are numbers"
    )
    missing: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        (),
        description="file of points: leave rows out that contain one of these numbers, such as -9999; nan also stands "
        "for cells that are empty, NA or null",
    )
    drop_columns: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        (), description="file of points: leave out columns, by number from 1 or by name"
    )
    view_points: int = Field(512, ge=16, le=4096, description="number of real points and of fakes in each snapshot")

    @field_validator("data", "data_from", mode="before")
    @classmethod
    def _can_be_a_path(cls, data: Any) -> Any:
        if isinstance(data, str) and ("\0" in data or any("\ud800" <= letter <= "\udfff" for letter in data)):
            raise ValueError("must be text in UTF-8; rename the file or its folder")
        return data

    @field_validator("missing")
    @classmethod
    def _marks(cls, marks: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [mark for mark in marks if not MARK.fullmatch(mark)]:
            raise ValueError(f"{wrong[0]!r} is neither a number nor nan")
        return marks

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int | None) -> int | None:
        if size is not None and size & (size - 1):
            low = 2 ** (size.bit_length() - 1)
            raise ValueError(f"must be a power of two, such as {low if 3 * low > 2 * size else 2 * low}")
        return size

    @property
    def switches(self) -> dict[str, Any]:
        """How to read a file of points, by name of the field: arguments of `mvm.data.tables.read_table`."""
        return {name: getattr(self, name) for name in SWITCHES}


class Generate(Protocol):
    """Generates standardised fakes `(V, B, D)` from noise `(B, m)`, with or without averaged weights."""

    def __call__(self, noise: Tensor, *, averaged: bool = True) -> Tensor: ...


class Reference(Protocol):
    """Two held-out real samples to score fakes against.

    Attributes:
        size: number of data points in each sample.
        criterion: key of the score that selects the best generator of a run.
        coordinates: in which distances are measured: "own" units, or "standardised". Scores in different coordinates
            are not comparable.
    """

    @property
    def size(self) -> int: ...

    @property
    def criterion(self) -> str: ...

    @property
    def coordinates(self) -> Coordinates: ...

    @property
    def score(self) -> Callable[..., dict[str, float | None]]:
        """Function from fakes `(n, ...)` in the data's own units to scores by key, with baselines under KEY_floor.

        For a data set with `scores_metric`, it also takes `embed` and `initial_embed`, the trained and the untrained
        metric.
        """
        ...


class Dataset(Protocol):
    """Real data, standardised for training and mapped back to their own units for views and scores.

    Attributes:
        manifold: the ground truth, or None.
        scores_metric: `Reference.score` also scores the learned metric.
    """

    @property
    def manifold(self) -> Manifold | None: ...

    @property
    def scores_metric(self) -> bool: ...

    @property
    def dim(self) -> int:
        """D, dimension of a standardised data point."""
        ...

    @property
    def train_size(self) -> int:
        """N, number of training points."""
        ...

    @property
    def view(self) -> Tensor:
        """Real points that every snapshot embeds, standardised, `(n, D)`."""
        ...

    def table(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Training points to draw batches from: a tensor `(N, D)`, or a `mvm.methods.draws.Table`."""
        ...

    def standardise(self, points: Tensor) -> Tensor:
        """Map data points from their own units `(n, ...)` to training units `(n, D)`."""
        ...

    def restore(self, points: Tensor) -> Tensor:
        """Map data points from training units `(..., D)` to their own units."""
        ...

    def snapshot(self, fake: Tensor, noise: Tensor, generate: Generate) -> dict[str, Tensor]:
        """Tensors that a snapshot stores besides embeddings, in the data's own units, by name.

        Args:
            fake: standardised fakes of the averaged generator, `(V, n, D)`.
            noise: generator inputs of these fakes, `(n, m)`.
            generate: the generator, for further views.
        """
        ...

    def copied(self) -> np.ndarray | None:
        """Points `(N, D)` of a user's file, which a run copies into its folder; None for other data."""
        ...

    def shown_once(self) -> np.ndarray | None:
        """Real data points `(n, ...)` stored once per run; None if each snapshot stores its own."""
        ...

    def reference(
        self, n: int, *, repeat: int = 0, inception: bool = False, on_progress: Callable[[float], None] | None = None
    ) -> Reference:
        """Draw two separate real samples of at most n data points outside the training set.

        Args:
            n: data points in each sample; a small data set gives fewer.
            repeat: index of the pair of samples; another index gives another pair.
            inception: also extract Inception features; pictures only.
            on_progress: called with the number of samples measured so far, of the two real ones and of every fake one.

        Raises:
            ConfigError: Inception is not available, or the data are not pictures.
        """
        ...


class PairedDataset(Dataset, Protocol):
    """Data of a kind in `mvm.methods.method.PAIRED_KINDS`: every data point has an input of the generator."""

    @property
    def view_inputs(self) -> Tensor:
        """Inputs of the view's points, `(n, m)`."""
        ...


@dataclass(frozen=True)
class Members:
    """Seeds and copies of the V members of a network.

    Attributes:
        streams: one random generator per seed, from which initial weights are drawn.
        seeds: seed of each random generator.
        copies: variants per seed; V = copies · len(seeds), seeds vary fastest.
    """

    streams: Sequence[torch.Generator]
    seeds: Sequence[int]
    copies: int


class Kind(ABC):
    """A kind of data.

    Attributes:
        name: key in the registry.
        title: name on the screen.
        noun: plural noun for its data points, in messages.
        network_settings: fields of `NetworkSettings` that it reads and some other kind does not.
        stacked: networks of all members compute each operation at once, so that many take hardly longer than one.
        sample_formats: suffixes of the files that samples can be written to.
        live_fakes: number of fakes in the live view; all when None.
        shown_once: type and axes of what `Dataset.shown_once` gives, as in `snapshot_arrays`; empty if None.
        snapshot_arrays: what `Dataset.snapshot` stores, by name: a type and the axes, as in "float V n D"; every
            letter is one size throughout a run, V the members of the variant axis, n the points of a view.
        recipes: config defaults by recipe; those under "" apply to every recipe.
        settings_type: model of the kind's own settings, which `Config` holds under the kind's name; None without.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    noun: ClassVar[str]
    network_settings: ClassVar[frozenset[str]] = frozenset()
    stacked: ClassVar[bool] = False
    sample_formats: ClassVar[tuple[str, ...]] = (".npy",)
    live_fakes: ClassVar[int | None] = None
    snapshot_arrays: ClassVar[dict[str, str]] = {}
    shown_once: ClassVar[str] = ""
    recipes: ClassVar[dict[str, dict[str, Any]]] = {}
    settings_type: ClassVar[type[Settings] | None] = None

    @abstractmethod
    def accepts(self, data: str) -> bool:
        """Whether a config's `data` names a data set of this kind."""

    @abstractmethod
    def load(self, settings: DataSettings, *, own: Path | None = None) -> Dataset:
        """Load the data set named by the settings.

        Args:
            settings: the name and the settings of the data set.
            own: file to read in place of `settings.data`: the run's copy of a user's points.

        Raises:
            ConfigError: the data set is missing or cannot be trained on; one line.
        """

    @abstractmethod
    def units(self, settings: DataSettings, *, own: Path | None, shown: Path) -> Dataset:
        """Build a run's data set without training points: dimension and units, all that trained networks need.

        Args:
            settings: the name and the settings of the data set.
            own: the run's copy of a user's points, or None.
            shown: file in which the run stores `Dataset.shown_once`.

        Raises:
            ConfigError: the data set is missing, and the run's folder cannot replace it.
            OSError: the kind needs `shown`, and the file does not exist.
        """

    @abstractmethod
    def architecture(self, data: Dataset, settings: NetworkSettings, members: Members, *, bf16: bool) -> Architecture:
        """Builder of networks for a data set; `bf16` lets picture networks compute in bfloat16."""

    def data_defaults(self, data: str) -> dict[str, Any]:
        """Config defaults of a data set for every recipe, on top of the recipe's."""
        return {}

    def coordinates(self, data: str) -> Coordinates:
        """Coordinates in which a data set is scored; scores of earlier versions may be in others."""
        return "own"

    def data_title(self, data: str) -> str:
        """Name of a data set in tables."""
        return Path(data).name

    def describe(self, settings: DataSettings) -> list[str]:
        """Describe a user's file: one line of summary, then one line per anomaly; empty for built-in data."""
        return []

    def digest(self, settings: DataSettings) -> str | None:
        """SHA-256 of data stored outside the run's folder; None if the config or the folder defines the data."""
        return None

    def threads(self) -> int:
        """Default number of CPU threads of a training."""
        return 1
