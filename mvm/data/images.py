"""Pictures to train on: toy faces with ground truth, or a prepared image cache.

    one training point = 3 · size² numbers in [0, 1], in the order of a cache: row, column, colour

The pictures stay uint8, on the device where they fit, else memory-mapped on the host, from where batches are fetched
ahead of their steps. They become numbers when a batch is drawn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mvm.data.cache import Prepared, image_caches, open_cache
from mvm.data.kind import Dataset, DataSettings, Generate, Kind, Members
from mvm.data.seeds import FLOOR_SEED, REAL_SEED, TRAIN_SEED, VIEW_SEED
from mvm.errors import ConfigError
from mvm.networks.architecture import Architecture
from mvm.networks.resnet import ImageNetworks
from mvm.networks.settings import NetworkSettings
from toy_manifolds import MANIFOLDS
from toy_manifolds.faces import Faces

if TYPE_CHECKING:
    from mvm.scoring.features import Extractor
    from mvm.scoring.images import ImageReference

__all__ = ["FACES", "ImageData", "Images", "Pixels", "cache_digest", "load_images", "too_few"]

FACES = "faces"  # the data set of toy faces
RAW_FAKES = 64  # that a snapshot shows of the generator without averaging
HELD_OUT = 0.1  # share of a cache without official splits that is kept from training
MOST_HELD = 60_000
MIN_PICTURES = 32  # to train on, and as many held out
MOST_TRAIN = 200_000  # training pictures that scores look through: more than CelebA has; of more, evenly spread
PART = 4096  # training pictures read or rendered at a time
MEMORY_SHARE = 0.5  # of a device's memory that the pictures may take
TOY_SIZE = 32


class Toys:
    """Toy faces to train on, rendered when they are asked for: a run shows itself before that."""

    def __init__(self, faces: Faces, count: int) -> None:
        self.faces, self.count = faces, count

    def __len__(self) -> int:
        return self.count

    @cached_property
    def images(self) -> Tensor:
        """All of them, `(count, size, size, 3)` uint8."""
        return self.faces.pictures(self._factors)

    def sample(self, rows: np.ndarray) -> Tensor:
        """Those in these rows; no others are rendered."""
        return self.images[rows] if "images" in self.__dict__ else self.faces.pictures(self._factors[rows])

    @property
    def _factors(self) -> Tensor:
        return self.faces.draw(self.count, torch.Generator().manual_seed(TRAIN_SEED))


class Pixels:
    """Pictures as a table of training points: `pixels[rows]` is `(*rows.shape, D)`, of the given precision.

    Args:
        source: `(N, size, size, 3)` uint8, or toy faces; asked for at the first draw.
        device, dtype: of what is drawn.
        flips: rows from N to 2N are the pictures' mirror images, so that half of all draws are mirrored.
    """

    def __init__(
        self, source: np.ndarray | Tensor | Toys, device: torch.device, dtype: torch.dtype, *, flips: bool
    ) -> None:
        self.source, self.device, self.dtype, self.flips = source, device, dtype, flips

    @cached_property
    def images(self) -> np.ndarray | Tensor:
        """All of them: on the device where they fit, else memory-mapped."""
        return _on_device(_rendered(self.source), self.device)

    @property
    def streamed(self) -> bool:
        """Whether every batch must travel from the host to the device."""
        return self.device.type != "cpu" and not isinstance(self.images, Tensor)

    def __len__(self) -> int:
        return len(self.source) * (1 + self.flips)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.finish(self.gather(rows), rows)

    def gather(self, rows: Tensor) -> Tensor:
        """Pictures of these rows `(..., size, size, 3)` uint8, not yet mirrored; pinned if they must travel."""
        which = rows % len(self.source)
        if isinstance(self.images, Tensor):
            return self.images[which.to(self.images.device)]
        order, back = np.unique(which.cpu().numpy(), return_inverse=True)  # a disk is read in its order
        images = torch.from_numpy(self.images[order][back.reshape(which.shape)])
        if self.device.type == "cpu":
            return images
        with torch.cuda.device(self.device):  # of this thread
            return images.pin_memory()

    def finish(self, gathered: Tensor, rows: Tensor) -> Tensor:
        """Numbers of gathered pictures, on the device, half of them mirrored."""
        images = gathered.to(self.device, non_blocking=True)
        if self.flips:
            mirrored = (rows >= len(self.source)).to(self.device, non_blocking=True)
            images = torch.where(mirrored[..., None, None, None], images.flip(-2), images)
        return images.flatten(-3).to(self.dtype).div_(255)


@dataclass(frozen=True)
class ImageData:
    """A data set of pictures; every array is `(n, size, size, 3)` uint8.

    Attributes:
        source: to train on, memory-mapped, or toy faces.
        held_out: kept from training, for views and scores; drawn when asked for where there is a renderer.
        faces: the ground truth, or None.
        flips: mirror images count as pictures.
        view_count: pictures of a view.
    """

    source: np.ndarray | Toys
    held_out: np.ndarray | None
    faces: Faces | None
    flips: bool
    view_count: int

    manifold: ClassVar[None] = None
    scores_metric: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Pixels each way."""
        return self.source.faces.size if isinstance(self.source, Toys) else self.source.shape[1]

    @property
    def dim(self) -> int:
        """D, the numbers in one picture."""
        return 3 * self.size**2

    @property
    def train_size(self) -> int:
        """N, pictures to train on."""
        return len(self.source)

    @property
    def images(self) -> np.ndarray | Tensor:
        """To train on."""
        return _rendered(self.source)

    def table(self, device: torch.device, dtype: torch.dtype) -> Pixels:
        """Training points to draw from."""
        return Pixels(self.source, device, dtype, flips=self.flips)

    @cached_property
    def view_images(self) -> Tensor:
        """Held-out pictures that every snapshot's embeddings are of."""
        return self._sample(self.view_count, VIEW_SEED)

    @property
    def view(self) -> Tensor:
        """The same as training points, `(n, D)`."""
        return self.standardise(self.view_images)

    def standardise(self, images: Tensor) -> Tensor:
        """Pictures `(..., size, size, 3)` uint8 to training points `(..., D)`."""
        return images.flatten(-3).float() / 255

    def restore(self, points: Tensor) -> Tensor:
        """Training points to pictures; numbers beyond [0, 1], and NaN, are clipped."""
        whole = points.nan_to_num(0.5).clamp(0, 1).mul(255).round().byte()
        pictures: Tensor = whole.unflatten(-1, (self.size, self.size, 3))
        return pictures

    def snapshot(self, fake: Tensor, noise: Tensor, generate: Generate) -> dict[str, Tensor]:
        """Fakes `(V, n, size, size, 3)` uint8, and at most 64 of the generator without averaging."""
        raw = generate(noise[:RAW_FAKES], averaged=False)
        return {"fake": self.restore(fake), "raw": self.restore(raw)}

    def copied(self) -> None:
        """Nothing: pictures stay in their cache."""
        return None

    def shown_once(self) -> np.ndarray:
        """The real pictures of every view, `(n, size, size, 3)` uint8."""
        return self.view_images.numpy()

    def reference(self, n: int, *, repeat: int = 0, inception: bool = False) -> ImageReference:
        """Two held-out samples to score fakes against, through the features of this data set.

        Raises:
            ConfigError: Inception is not available.
        """
        from mvm.scoring.features import FIT, FactorRegressor, Inception, PixelPCA
        from mvm.scoring.images import ImageReference

        real, floor = self.evaluation(n, repeat=repeat)
        extractors: list[Extractor] = [PixelPCA(self.train_sample(FIT))]
        if self.faces is not None:
            extractors.insert(0, FactorRegressor())
        if inception:
            extractors.append(Inception())
        return ImageReference(real, floor, self.train_parts(MOST_TRAIN), extractors, flips=self.flips)

    def evaluation(self, n: int, *, repeat: int = 0) -> tuple[Tensor, Tensor]:
        """Two independent real samples of at most n pictures, none of them trained on."""
        if self.faces is not None:
            return self._sample(n, REAL_SEED + 10 * repeat), self._sample(n, FLOOR_SEED + 10 * repeat)
        assert self.held_out is not None
        half = min(n, len(self.held_out) // 2)
        both = self._sample(2 * half, REAL_SEED + 10 * repeat)
        return both[:half], both[half:]

    def train_sample(self, n: int) -> Tensor:
        """At most n of the training pictures, evenly spread; of toy faces no others are rendered."""
        return self._trained(self.train_rows(n))

    def train_parts(self, n: int) -> Iterator[Tensor]:
        """The same as `train_sample`, some at a time."""
        rows = self.train_rows(n)
        for first in range(0, len(rows), PART):
            yield self._trained(rows[first : first + PART])

    def _trained(self, rows: np.ndarray) -> Tensor:
        if isinstance(self.source, Toys):
            return self.source.sample(rows)
        return torch.from_numpy(np.asarray(self.source[rows]))

    def train_rows(self, n: int) -> np.ndarray:
        """Which of the training pictures those are, ascending."""
        return np.linspace(0, len(self.source) - 1, min(n, len(self.source))).astype(int)

    def _sample(self, n: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if self.faces is not None:
            return self.faces.images(n, generator)[0]
        assert self.held_out is not None
        rows = torch.randperm(len(self.held_out), generator=generator)[:n]
        return torch.from_numpy(self.held_out[rows.numpy()])


class Images(Kind):
    """Toy faces, or a prepared cache of pictures."""

    name = "images"
    title = "Pictures"
    noun = "pictures"
    network_settings = frozenset({"channels", "metric_channels"})
    sample_formats = (".npy", ".png")
    live_fakes = RAW_FAKES
    recipes: ClassVar = {
        "": {  # the paper's sizes
            "batch": 64, "steps": 50_000, "points": 20_000, "view_points": 256, "snapshots": 50, "records": 100,
            "network": {"noise_dim": 128, "embedding_dim": 10},
        },
        "stabilised": {  # in 128 dimensions, not the paper's 10, centroid and diameter hold more of a picture
            "network": {"embedding_dim": 128},
            "optimiser": {"generator_lr": 1e-3, "metric_lr": 1e-3, "decay_from": 0.5},
        },
    }  # fmt: skip

    def accepts(self, data: str) -> bool:
        """Every name that no other kind accepts: a cache is looked for when it is loaded."""
        return True

    def load(self, settings: DataSettings, *, own: Path | None = None) -> ImageData:
        """See `load_images`; pictures are never copied into a run."""
        return load_images(settings)

    def units(self, settings: DataSettings, *, own: Path | None, shown: Path) -> ImageData:
        """The pictures that the run shows in place of its training pictures: they have their size."""
        real = np.load(shown, mmap_mode="r", allow_pickle=False)
        return ImageData(real, real, None, settings.flips, len(real))

    def architecture(self, data: Dataset, settings: NetworkSettings, members: Members, *, bf16: bool) -> Architecture:
        """A residual generator and a convolutional metric per member."""
        size = math.isqrt(data.dim // 3)
        return ImageNetworks(settings, size, members.streams, members.seeds, copies=members.copies, bf16=bf16)

    def data_defaults(self, data: str) -> dict[str, Any]:
        """Toy faces train in minutes on two CPU cores."""
        small = {"steps": 800, "network": {"channels": 24}, "optimiser": {"ema": 0.995}}
        return small if data == FACES else {}

    def data_title(self, data: str) -> str:
        """Toy faces, or the cache's name."""
        return "Toy faces" if data == FACES else super().data_title(data)

    def digest(self, settings: DataSettings) -> str | None:
        """SHA-256 of the cache's pixels; None for toy faces, which the settings define."""
        return cache_digest(settings)

    def threads(self) -> int:
        """All cores."""
        return os.cpu_count() or 1


def load_images(settings: DataSettings) -> ImageData:
    """The pictures that settings name.

    Raises:
        ConfigError: there is no such cache, or too few pictures are in it; one line.
    """
    if settings.data == FACES:
        faces = Faces(settings.size or TOY_SIZE)
        return ImageData(Toys(faces, settings.points), None, faces, False, settings.view_points)
    images, prepared = _cache(settings)
    if settings.size not in (None, prepared.size):
        raise ConfigError(f"size: {settings.data} holds pictures of {prepared.size} pixels, not {settings.size}")
    if reason := too_few(prepared):
        raise ConfigError(f"data: {settings.data} has {reason}")
    train, held_out = _split(images, prepared.splits)
    return ImageData(train, held_out, None, settings.flips, min(settings.view_points, len(held_out)))


def too_few(prepared: Prepared) -> str:
    """In words, why a cache cannot be trained on; empty if it can."""
    train, held_out = map(len, _split(range(prepared.count), prepared.splits))
    if min(train, held_out) >= MIN_PICTURES:
        return ""
    return (
        f"{prepared.count} pictures, {train} to train on and {held_out} held out; "
        f"at least {MIN_PICTURES} of each are needed"
    )


def cache_digest(settings: DataSettings) -> str | None:
    """SHA-256 of the pixels of the cache that settings name; None of toy faces, which the settings define.

    Raises:
        ConfigError: as for `load_images`.
    """
    return None if settings.data == FACES else _cache(settings)[1].sha256


def _cache(settings: DataSettings) -> tuple[np.ndarray, Prepared]:
    caches = image_caches()
    if settings.data not in caches:
        known = ", ".join([*MANIFOLDS, FACES, *caches])
        raise ConfigError(
            f"data: unknown {settings.data!r}; give a file ending in .csv or .npy, or one of {known}; "
            "`python -m mvm prepare` makes a cache of pictures"
        )
    return open_cache(caches[settings.data])


def _split(images: np.ndarray | range, splits: dict[str, list[int]]) -> tuple[Any, Any]:
    """Training pictures, and those kept from it: the official valid and test, else the last tenth."""
    first, last = splits.get("train", (0, 0))  # all can be of other splits
    if last - first < len(images):
        return images[first:last], images[last:]
    held = min(MOST_HELD, int(len(images) * HELD_OUT))
    return images[: len(images) - held], images[len(images) - held :]


def _rendered(source: np.ndarray | Tensor | Toys) -> np.ndarray | Tensor:
    return source.images if isinstance(source, Toys) else source


def _on_device(images: np.ndarray | Tensor, device: torch.device) -> np.ndarray | Tensor:
    if isinstance(images, Tensor):
        return images.to(device)
    if device.type == "cpu":
        return images  # the system keeps what fits in memory
    _, whole = torch.cuda.mem_get_info(device)  # not what is free now: a resumed run must draw as before
    return torch.from_numpy(np.ascontiguousarray(images)).to(device) if images.nbytes < MEMORY_SHARE * whole else images
