"""What a kind of data is: how its data sets are named, loaded, learned, viewed and scored.

    kind       settings -> data set, networks, defaults           points, images
    data set   training points to draw, a view, a reference       swiss roll, a CSV file, toy faces, a cache of pictures

Everything above this package knows data by these two alone. A new kind is one file with a `Kind` and its `Dataset`, one
line in `mvm.data.kinds`, and one page of the app.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from mvm.networks.architecture import Architecture
from mvm.networks.settings import NetworkSettings
from mvm.settings import Settings

if TYPE_CHECKING:
    from toy_manifolds.base import Manifold

__all__ = ["DataSettings", "Dataset", "Generate", "Kind", "Members", "Reference"]


class DataSettings(Settings):
    """Which data, and how much of them."""

    data: str = Field(
        "circle",
        description="a toy manifold by name, a file of points (FILE.csv or FILE.npy), faces (toy faces), or the name "
        "of a prepared cache of pictures",
    )
    settings: dict[str, float] = Field({}, description="the manifold's own settings, such as: noise 0.05")
    ambient_dim: int | None = Field(
        None, ge=2, le=4096, description="embed the manifold in this many dimensions by a seeded isometry"
    )
    points: int = Field(
        50_000, ge=64, le=5_000_000, description="training points drawn from a toy manifold, or toy faces"
    )
    size: int | None = Field(None, ge=8, le=512, description="toy faces: pixels each way (32 when left out)")
    flips: bool = Field(True, description="pictures of a cache: mirror half of the drawn ones")
    view_points: int = Field(512, ge=16, le=4096, description="real and fake points in each snapshot")

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int | None) -> int | None:
        if size is not None and size & (size - 1):
            raise ValueError("must be a power of two")
        return size


class Generate(Protocol):
    """Fakes `(V, B, D)`, standardised, from noise `(B, m)`."""

    def __call__(self, noise: Tensor, *, averaged: bool = True) -> Tensor: ...


class Reference(Protocol):
    """Two held-out real samples, ready to score fakes against.

    Attributes:
        size: data points in each sample.
        criterion: key of the score that chooses the best generator of a run.
    """

    @property
    def size(self) -> int: ...

    @property
    def criterion(self) -> str: ...

    @property
    def score(self) -> Callable[..., dict[str, float | None]]:
        """Every score of fakes `(n, ...)` in the data's own units, by key, each beside its `_floor`.

        Where the data set `scores_metric`, it also takes `embed` and `initial_embed`, the trained and untrained metric.
        """
        ...


class Dataset(Protocol):
    """Real data, standardised for training and mapped back to their own units for everything that is shown.

    Attributes:
        manifold: the ground truth, if there is one.
        scores_metric: the reference also scores the learned metric, from `embed` and `initial_embed`.
    """

    @property
    def manifold(self) -> Manifold | None: ...

    @property
    def scores_metric(self) -> bool: ...

    @property
    def dim(self) -> int:
        """D, numbers in one data point."""
        ...

    @property
    def train_size(self) -> int:
        """N, data points to train on."""
        ...

    @property
    def view(self) -> Tensor:
        """Standardised real points that every snapshot embeds, `(n, D)`."""
        ...

    def table(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Training points to draw from: a tensor `(N, D)`, or a `mvm.methods.draws.Table`."""
        ...

    def standardise(self, points: Tensor) -> Tensor:
        """Own units `(n, ...)` to training units `(n, D)`."""
        ...

    def restore(self, points: Tensor) -> Tensor:
        """Training units `(..., D)` to own units."""
        ...

    def snapshot(self, fake: Tensor, noise: Tensor, generate: Generate) -> dict[str, Tensor]:
        """What a snapshot shows of fakes `(V, n, D)` beside their embeddings, in own units.

        Args:
            fake: standardised, from the averaged generator.
            noise: that they were generated from, `(n, m)`.
            generate: the generator, for further views.
        """
        ...

    def copied(self) -> np.ndarray | None:
        """Data of which a run keeps a copy, so that it is complete: a person's own points `(N, D)`."""
        ...

    def shown_once(self) -> np.ndarray | None:
        """Real data points that every snapshot shows, if they are kept once for all of them."""
        ...

    def reference(self, n: int, *, repeat: int = 0, inception: bool = False) -> Reference:
        """Two independent real samples of at most n data points, none of them trained on.

        Args:
            n: wanted in each sample.
            repeat: another pair of samples for another number.
            inception: use Inception's features, too; pictures only.

        Raises:
            ConfigError: Inception is not available, or the data are no pictures.
        """
        ...


@dataclass(frozen=True)
class Members:
    """The V members that networks are built for.

    Attributes:
        streams: one random generator per seed, at the start of that seed's stream of first weights.
        seeds: the 64-bit seed of each of these generators.
        copies: variants per seed; V = copies · len(seeds), seeds vary fastest.
    """

    streams: Sequence[torch.Generator]
    seeds: Sequence[int]
    copies: int


class Kind(ABC):
    """A kind of data.

    Attributes:
        name: in the registry.
        title: on the screen.
        noun: what its data points are called, in the plural.
        network_settings: fields of `NetworkSettings` that only this kind reads.
        sample_formats: file endings that samples can be written to.
        live_fakes: how many fakes the live view shows; all when None.
        recipes: config defaults by recipe; "" holds for every recipe.
        settings_type: model of settings of its own, a field of `Config` under the kind's name; None without.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    noun: ClassVar[str]
    network_settings: ClassVar[frozenset[str]] = frozenset()
    sample_formats: ClassVar[tuple[str, ...]] = (".npy",)
    live_fakes: ClassVar[int | None] = None
    recipes: ClassVar[dict[str, dict[str, Any]]] = {}
    settings_type: ClassVar[type[Settings] | None] = None

    @abstractmethod
    def accepts(self, data: str) -> bool:
        """Whether a config's `data` names a data set of this kind."""

    @abstractmethod
    def load(self, settings: DataSettings, *, own: Path | None = None) -> Dataset:
        """The data set that the settings name.

        Args:
            settings: `data` and what belongs to it.
            own: read this file in place of `settings.data` (a run keeps a copy of a person's own points).

        Raises:
            ConfigError: it cannot be trained on; one line.
        """

    @abstractmethod
    def units(self, settings: DataSettings, *, own: Path | None, shown: Path) -> Dataset:
        """The data set of a run without its training points: dimension and units, for trained networks.

        Args:
            settings: `data` and what belongs to it.
            own: the run's copy of a person's own points, if it has one.
            shown: where the run keeps `Dataset.shown_once`.

        Raises:
            ConfigError: the data are gone, and the run holds too little of them.
            OSError: there is no `shown` where it is needed.
        """

    @abstractmethod
    def architecture(self, data: Dataset, settings: NetworkSettings, members: Members, *, bf16: bool) -> Architecture:
        """Builds networks for a data set; with `bf16` they compute in bfloat16 where that is safe."""

    def data_defaults(self, data: str) -> dict[str, Any]:
        """Further config defaults of one data set, whatever the recipe."""
        return {}

    def data_title(self, data: str) -> str:
        """What tables call a data set."""
        return Path(data).name

    def describe(self, data: str) -> list[str]:
        """One line on a person's own data, then one for each oddity; empty for data of this lab."""
        return []

    def digest(self, settings: DataSettings) -> str | None:
        """SHA-256 of data that are neither in the run's folder nor defined by its config; None for all others."""
        return None

    def threads(self) -> int:
        """CPU threads of a training whose config leaves them out."""
        return 1
