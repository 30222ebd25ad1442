"""Pictures to train on: toy faces with ground truth, or a prepared image cache.

    one training point = 3 · size² values in [0, 1], in the order of a cache: row, column, colour

Pictures are stored as uint8: on the device if they fit, else memory-mapped on the host, with prefetched batches.
Drawing a batch converts its pictures to floating point.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
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
from mvm.data.tables import POINT_FILES
from mvm.errors import ConfigError
from mvm.networks.architecture import Architecture
from mvm.networks.resnet import ImageNetworks
from mvm.networks.settings import NetworkSettings
from toy_manifolds import MANIFOLDS
from toy_manifolds.faces import Faces

if TYPE_CHECKING:
    from mvm.scoring.features import Extractor
    from mvm.scoring.images import ImageReference

__all__ = [
    "FACES",
    "ImageData",
    "Images",
    "Pixels",
    "SquarePictures",
    "cache_digest",
    "fits_on",
    "load_images",
    "too_few",
]

FACES = "faces"  # name of the toy faces data set
RAW_FAKES = 64  # fakes of the unaveraged generator in each snapshot
HELD_OUT = 0.1  # held-out fraction of a cache without official splits
MOST_HELD = 60_000  # held-out pictures of a cache without official splits, at most
MIN_PICTURES = 32  # training pictures, and held-out pictures, at least
MOST_TRAIN = 200_000  # training pictures that scores search for copies, evenly spaced; CelebA has fewer
PART = 4096  # training pictures read or rendered at a time
MEMORY_SHARE = 0.5  # largest fraction of a device's memory for the pictures
TOY_SIZE = 32  # default side of a toy face in pixels


class Toys:
    """Toy faces to train on, rendered at first use, so that a run's folder appears before the rendering."""

    def __init__(self, faces: Faces, count: int) -> None:
        self.faces, self.count = faces, count

    def __len__(self) -> int:
        return self.count

    @cached_property
    def images(self) -> Tensor:
        """All pictures, `(count, size, size, 3)` uint8."""
        return self.faces.pictures(self._factors)

    def sample(self, rows: np.ndarray) -> Tensor:
        """Pictures of some rows, `(len(rows), size, size, 3)` uint8; renders only these."""
        return self.images[rows] if "images" in self.__dict__ else self.faces.pictures(self._factors[rows])

    @property
    def _factors(self) -> Tensor:
        return self.faces.draw(self.count, torch.Generator().manual_seed(TRAIN_SEED))


class Pixels:
    """Pictures as a table of training points: `pixels[rows]` is `(*rows.shape, D)` of the given dtype.

    Args:
        source: `(N, size, size, 3)` uint8, or toy faces; read or rendered at the first draw.
        device, dtype: device and dtype of the drawn points.
        flips: rows N to 2N − 1 are the mirror images, so that a drawn picture is mirrored with probability 1/2.
    """

    def __init__(
        self, source: np.ndarray | Tensor | Toys, device: torch.device, dtype: torch.dtype, *, flips: bool
    ) -> None:
        self.source, self.device, self.dtype, self.flips = source, device, dtype, flips

    @cached_property
    def images(self) -> np.ndarray | Tensor:
        """All pictures, `(N, size, size, 3)` uint8: on the device if they fit, else memory-mapped."""
        return _on_device(_rendered(self.source), self.device)

    @property
    def streamed(self) -> bool:
        """Whether each batch is copied from the host to the device."""
        return self.device.type != "cpu" and not isinstance(self.images, Tensor)

    def __len__(self) -> int:
        return len(self.source) * (1 + self.flips)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.finish(self.gather(rows), rows)

    def gather(self, rows: Tensor) -> Tensor:
        """Pictures of `rows`, `(*rows.shape, size, size, 3)` uint8, before mirroring; in pinned memory for a GPU."""
        indices = rows % len(self.source)
        if isinstance(self.images, Tensor):
            return self.images[indices.to(self.images.device)]
        ascending, back = np.unique(indices.cpu().numpy(), return_inverse=True)  # reads the file in its order
        images = torch.from_numpy(self.images[ascending][back.reshape(indices.shape)])
        if self.device.type == "cpu":
            return images
        with torch.cuda.device(self.device):  # each thread has its own current device
            return images.pin_memory()

    def finish(self, gathered: Tensor, rows: Tensor) -> Tensor:
        """Mirror gathered pictures as `rows` demands, and convert them to points `(*rows.shape, D)` in [0, 1]."""
        images = gathered.to(self.device, non_blocking=True)
        if self.flips:
            mirrored = (rows >= len(self.source)).to(self.device, non_blocking=True)
            images = torch.where(mirrored[..., None, None, None], images.flip(-2), images)
        return images.flatten(-3).to(self.dtype).div_(255)


class SquarePictures:
    """What data sets of square pictures share: pictures `(..., size, size, 3)` uint8 as points `(..., D)` in [0, 1].

    Attributes:
        view_images: real pictures that every snapshot embeds, `(n, size, size, 3)` uint8.
    """

    manifold: ClassVar[None] = None
    scores_metric: ClassVar[bool] = False

    if TYPE_CHECKING:

        @property
        def view_images(self) -> Tensor: ...

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """D = 3 · size², dimension of a training point."""
        return 3 * self.size**2

    @property
    def view(self) -> Tensor:
        """`view_images` as training points, `(n, D)`."""
        return self.standardise(self.view_images)

    def standardise(self, images: Tensor) -> Tensor:
        """Pictures `(..., size, size, 3)` uint8 to training points `(..., D)`."""
        return images.flatten(-3).float() / 255

    def restore(self, points: Tensor) -> Tensor:
        """Training points `(..., D)` to pictures `(..., size, size, 3)` uint8; clips to [0, 1], NaN becomes 0.5."""
        whole = points.nan_to_num(0.5).clamp(0, 1).mul(255).round().byte()
        pictures: Tensor = whole.unflatten(-1, (self.size, self.size, 3))
        return pictures

    def copied(self) -> None:
        """None: a run does not copy pictures out of their cache."""
        return None

    def shown_once(self) -> np.ndarray:
        """Real pictures shown beside every snapshot, `(n, size, size, 3)` uint8."""
        return self.view_images.numpy()


@dataclass(frozen=True)
class ImageData(SquarePictures):
    """A data set of pictures; every array is `(n, size, size, 3)` uint8.

    Attributes:
        source: training pictures, memory-mapped, or toy faces.
        held_out: pictures kept from training for views and scores; None for toy faces, which are rendered on demand.
        faces: renderer of toy faces with known factors, or None.
        flips: mirror images count as training pictures.
        view_count: number of pictures in a view.
    """

    source: np.ndarray | Toys
    held_out: np.ndarray | None
    faces: Faces | None
    flips: bool
    view_count: int

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        return self.source.faces.size if isinstance(self.source, Toys) else self.source.shape[1]

    @property
    def train_size(self) -> int:
        """N, number of training pictures."""
        return len(self.source)

    @property
    def images(self) -> np.ndarray | Tensor:
        """All training pictures, `(N, size, size, 3)` uint8."""
        return _rendered(self.source)

    def table(self, device: torch.device, dtype: torch.dtype) -> Pixels:
        """Training pictures as a table of points, `(N, D)`, or `(2N, D)` with mirror images."""
        return Pixels(self.source, device, dtype, flips=self.flips)

    @cached_property
    def view_images(self) -> Tensor:
        """Held-out pictures that every snapshot embeds, `(n, size, size, 3)` uint8."""
        return self._sample(self.view_count, VIEW_SEED)

    def snapshot(self, fake: Tensor, noise: Tensor, generate: Generate) -> dict[str, Tensor]:
        """Fakes `(V, n, size, size, 3)` uint8, and `RAW_FAKES` fakes of the unaveraged generator."""
        raw = generate(noise[:RAW_FAKES], averaged=False)
        return {"fake": self.restore(fake), "raw": self.restore(raw)}

    def reference(
        self, n: int, *, repeat: int = 0, inception: bool = False, on_progress: Callable[[float], None] | None = None
    ) -> ImageReference:
        """Draw two held-out samples to score fakes against, with the feature extractors of this data set.

        Args:
            n: pictures in each sample; a small cache gives fewer.
            repeat: index of the pair of samples; another index gives other pictures.
            inception: also extract Inception features.
            on_progress: called with the number of samples measured so far.

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
        train = self.train_parts(MOST_TRAIN)
        return ImageReference(real, floor, train, extractors, flips=self.flips, on_progress=on_progress)

    def evaluation(self, n: int, *, repeat: int = 0) -> tuple[Tensor, Tensor]:
        """Draw two separate samples of at most n pictures outside the training set, `(n, size, size, 3)` uint8 each."""
        if self.faces is not None:
            return self._sample(n, REAL_SEED + 10 * repeat), self._sample(n, FLOOR_SEED + 10 * repeat)
        assert self.held_out is not None
        half = min(n, len(self.held_out) // 2)
        both = self._sample(2 * half, REAL_SEED + 10 * repeat)
        return both[:half], both[half:]

    def train_sample(self, n: int) -> Tensor:
        """At most n training pictures, evenly spaced, `(n, size, size, 3)` uint8; renders only these toy faces."""
        return self._train_pictures(self.train_rows(n))

    def train_parts(self, n: int) -> Iterator[Tensor]:
        """Yield the pictures of `train_sample` in parts, `(at most PART, size, size, 3)` uint8 each."""
        rows = self.train_rows(n)
        for start in range(0, len(rows), PART):
            yield self._train_pictures(rows[start : start + PART])

    def train_rows(self, n: int) -> np.ndarray:
        """Row numbers of the pictures in `train_sample`, ascending."""
        return np.linspace(0, len(self.source) - 1, min(n, len(self.source))).astype(int)

    def _train_pictures(self, rows: np.ndarray) -> Tensor:
        """Training pictures of some rows, `(len(rows), size, size, 3)` uint8."""
        if isinstance(self.source, Toys):
            return self.source.sample(rows)
        return torch.from_numpy(np.asarray(self.source[rows]))

    def _sample(self, n: int, seed: int) -> Tensor:
        """Draw at most n held-out pictures, or render n toy faces, `(n, size, size, 3)` uint8."""
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
    snapshot_arrays: ClassVar = {"fake": "uint8 V n s s 3", "raw": "uint8 V r s s 3"}
    shown_once = "uint8 n s s 3"
    recipes: ClassVar = {
        "": {  # the paper's sizes
            "batch": 64, "steps": 50_000, "points": 20_000, "view_points": 256, "snapshots": 50, "records": 100,
            "network": {"noise_dim": 128, "embedding_dim": 10},
        },
        "stabilised": {  # in 128 dimensions instead of the paper's 10, centroid and diameter describe pictures better
            "network": {"embedding_dim": 128},
            "optimiser": {"generator_lr": 1e-3, "metric_lr": 1e-3, "decay_from": 0.5},
        },
    }  # fmt: skip

    def accepts(self, data: str) -> bool:
        """Every name, as this is the last kind; `load` raises if no cache has the name."""
        return True

    def load(self, settings: DataSettings, *, own: Path | None = None) -> ImageData:
        """Load pictures as in `load_images`; `own` is ignored, as a run has no copy of its pictures."""
        return load_images(settings)

    def units(self, settings: DataSettings, *, own: Path | None, shown: Path) -> ImageData:
        """Build a data set from the run's stored view pictures, which have the training pictures' size."""
        real = np.load(shown, mmap_mode="r", allow_pickle=False)
        return ImageData(real, real, None, settings.flips, len(real))

    def architecture(self, data: Dataset, settings: NetworkSettings, members: Members, *, bf16: bool) -> Architecture:
        """One residual generator and one convolutional metric per member."""
        size = math.isqrt(data.dim // 3)
        return ImageNetworks(settings, size, members.streams, members.seeds, copies=members.copies, bf16=bf16)

    def data_defaults(self, data: str) -> dict[str, Any]:
        """Smaller networks and fewer steps for toy faces: minutes on two CPU cores."""
        small = {"steps": 800, "network": {"channels": 24}, "optimiser": {"ema": 0.995}}
        return small if data == FACES else {}

    def data_title(self, data: str) -> str:
        """Toy faces, or the cache's name."""
        return "Toy faces" if data == FACES else super().data_title(data)

    def digest(self, settings: DataSettings) -> str | None:
        """SHA-256 of the cache's pixels; None for toy faces, which the settings define."""
        return cache_digest(settings)

    def threads(self) -> int:
        """The number of cores."""
        return os.cpu_count() or 1


def load_images(settings: DataSettings) -> ImageData:
    """Load the pictures named by the settings.

    Raises:
        ConfigError: no cache has this name or size, or the cache has too few pictures; one line.
    """
    if settings.data == FACES:
        faces = Faces(settings.size or TOY_SIZE)
        return ImageData(Toys(faces, settings.points), None, faces, False, settings.view_points)
    images, prepared = _cache(settings)
    if settings.size not in (None, prepared.size):
        raise ConfigError(f"size: {settings.data} holds pictures of {prepared.size} pixels, not {settings.size}")
    if reason := too_few(prepared):
        raise ConfigError(f"data: {settings.data} has {reason}")
    if _all_equal(images):
        raise ConfigError(f"data: all pictures of {settings.data} are equal; prepare it again from another source")
    train, held_out = _split(images, prepared.splits)
    return ImageData(train, held_out, None, settings.flips, min(settings.view_points, len(held_out)))


def too_few(prepared: Prepared) -> str:
    """Reason why a cache has too few pictures to train on; empty if it has enough."""
    train, held_out = map(len, _split(range(prepared.count), prepared.splits))
    if min(train, held_out) >= MIN_PICTURES:
        return ""
    return (
        f"{prepared.count} pictures, {train} to train on and {held_out} held out; "
        f"at least {MIN_PICTURES} of each are needed"
    )


def cache_digest(settings: DataSettings) -> str | None:
    """SHA-256 of the pixels in the cache named by the settings; None for toy faces, which the settings define.

    Raises:
        ConfigError: as for `load_images`.
    """
    return None if settings.data == FACES else _cache(settings)[1].sha256


def _cache(settings: DataSettings) -> tuple[np.ndarray, Prepared]:
    """Open the cache named by the settings."""
    caches = image_caches()
    if settings.data not in caches:
        known = ", ".join([*MANIFOLDS, FACES, *caches])
        raise ConfigError(
            f"data: unknown {settings.data!r}; give a file ending in {', '.join(POINT_FILES)}, or one of {known}; "
            "`python -m mvm prepare` makes a cache of pictures"
        )
    return open_cache(caches[settings.data])


def _split(images: np.ndarray | range, splits: dict[str, list[int]]) -> tuple[Any, Any]:
    """Split into training and held-out pictures; held out are the official valid and test, else the last tenth."""
    start, stop = splits.get("train", (0, 0))  # without usable training pictures, the split is missing
    if stop - start < len(images):
        return images[start:stop], images[stop:]
    held = min(MOST_HELD, int(len(images) * HELD_OUT))
    return images[: len(images) - held], images[len(images) - held :]


def _all_equal(images: np.ndarray) -> bool:
    """Whether all pictures are the same; reads all of them only if a few are."""
    few = images[np.linspace(0, len(images) - 1, MIN_PICTURES).astype(int)]
    return bool((few == images[0]).all()) and all(
        (images[start : start + PART] == images[0]).all() for start in range(0, len(images), PART)
    )


def _rendered(source: np.ndarray | Tensor | Toys) -> np.ndarray | Tensor:
    """All pictures of a source, `(N, size, size, 3)` uint8; renders toy faces."""
    return source.images if isinstance(source, Toys) else source


def _on_device(images: np.ndarray | Tensor, device: torch.device) -> np.ndarray | Tensor:
    """Copy pictures to a device if they take less than `MEMORY_SHARE` of its memory; else return them as they are."""
    if isinstance(images, Tensor):
        return images.to(device)
    if device.type == "cpu" or not fits_on(device, images.nbytes):
        return images  # on a CPU, the operating system caches the file in free memory
    return torch.from_numpy(np.ascontiguousarray(images)).to(device)


def fits_on(device: torch.device, size: int) -> bool:
    """Whether pictures of `size` bytes take less than `MEMORY_SHARE` of a GPU's memory, and are kept on it."""
    _, total = torch.cuda.mem_get_info(device)  # not free memory: a resumed run must make the same choice
    return size < MEMORY_SHARE * total
