"""Pairs of patches for x4 super-resolution: an LR patch, the generator's input, and its HR patch, the data point.

    row  =  8 · (position of the LR patch among all positions of all pictures)  +  turn

Each of the 8 turns of the square (4 rotations, mirrored or not) is a pair of its own, so the table has 8 · (number of
positions) rows, and every position of every picture is drawn equally often. Training pairs are cut out of a
`Collection` of photographs at the draw: on the device if the pixels fit, else on the host, where later batches are
prefetched. Views and scores use four photographs that no training sees.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from mvm.data.images import SquarePictures, fits_on
from mvm.data.kind import Dataset, DataSettings, Generate, Kind, Members
from mvm.data.photographs import Collection, built_in, describe_collection, held_out, open_collection
from mvm.data.seeds import VIEW_SEED
from mvm.errors import ConfigError
from mvm.imaging.resize import SCALE, imresize
from mvm.methods.draws import Pair
from mvm.methods.pairs import PairSettings
from mvm.networks.architecture import Architecture
from mvm.networks.settings import NetworkSettings
from mvm.networks.superres import SuperresNetworks

if TYPE_CHECKING:
    from mvm.scoring.superres import SuperresReference

__all__ = ["SUPERRES", "PairData", "Patches", "Superres", "sample_patches"]

SUPERRES = "sr"  # name of the data set
TURNS = 8
WITH_NIQE = 1000  # samples asked for, from which on NIQE is among the scores
SHOWN = 12  # upscaled patches in each snapshot


class Patches:
    """Pairs of patches as a table: `patches[rows]` is a `Pair` of LR `(*rows.shape, 3 p²)` and HR `(*rows.shape, D)`.

    Args:
        collection: photographs to cut patches from.
        patch: p, side of an LR patch in pixels.
        device, dtype: device and dtype of the drawn patches.

    Raises:
        ConfigError: no picture is as large as a patch.
    """

    def __init__(self, collection: Collection, patch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.collection, self.patch, self.device, self.dtype = collection, patch, device, dtype
        heights, widths = torch.from_numpy(collection.sizes).unbind(1)
        across = (widths - patch + 1).clamp_min(0)
        positions = across * (heights - patch + 1).clamp_min(0)
        if not positions.any():
            raise ConfigError(f"patch: no picture has {SCALE * patch} x {SCALE * patch} pixels; give smaller patches")
        starts = torch.cat([torch.zeros(1, dtype=torch.long), (heights * widths).cumsum(0)])[:-1]
        self._count = int(positions.sum()) * TURNS
        if device.type == "cpu":
            self._fits = not isinstance(collection.high, np.memmap)
        else:
            self._fits = fits_on(device, collection.low.nbytes + collection.high.nbytes)
        place = device if self._fits else "cpu"  # where rows are drawn, and pixels gathered
        # of each picture: rows of the table before the next, positions per row of pixels, width, first pixel
        self._layout = [x.to(place) for x in (positions.cumsum(0), positions, across, widths, starts)]
        self._steps = {side: _turned_grid(side).to(place) for side in (patch, SCALE * patch)}

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor] | None:
        """LR and HR pixels `(·, 3)` uint8 on the device; None if they do not fit."""
        if not self._fits:
            return None
        low, high = (
            torch.as_tensor(array, device=self.device) for array in (self.collection.low, self.collection.high)
        )
        return low, high

    @property
    def streamed(self) -> bool:
        """Whether each batch is copied from the host to the device."""
        return self.device.type != "cpu" and self.pixels is None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: Tensor) -> Pair:
        return self.finish(self.gather(rows), rows)

    def gather(self, rows: Tensor) -> Tensor:
        """LR and HR values of `rows`, `(*rows.shape, 3 p² + D)` uint8; in pinned memory if streamed."""
        ends, positions, across, widths, starts = self._layout
        position, turn = rows.flatten() // TURNS, rows.flatten() % TURNS
        picture = torch.searchsorted(ends, position, right=True)
        local = position - (ends - positions)[picture]
        y, x = local // across[picture], local % across[picture]
        values, sources = [], self.pixels or (self.collection.low, self.collection.high)
        for pixels, scale in ((sources[0], 1), (sources[1], SCALE)):
            side, width = scale * self.patch, scale * widths[picture]
            first = scale**2 * starts[picture] + scale * (y * width + x)
            if rows.device.type == "cpu":
                values.append(_cut(np.asarray(pixels), first, width, turn, side=side))
            else:
                assert isinstance(pixels, Tensor)
                values.append(_indexed(pixels, first, width, self._steps[side][:, turn]))
        gathered: Tensor = torch.cat(values, dim=1).unflatten(0, rows.shape)
        if not self.streamed:
            return gathered
        with torch.cuda.device(self.device):  # each thread has its own current device
            return gathered.pin_memory()

    def finish(self, gathered: Tensor, rows: Tensor) -> Pair:
        """Convert gathered values to a pair of patches in [0, 1]."""
        values = gathered.to(self.device, non_blocking=True).to(self.dtype).div_(255)
        return Pair(*values.split([3 * self.patch**2, 3 * (SCALE * self.patch) ** 2], dim=-1))


def _turned_grid(side: int) -> Tensor:
    """Row and column steps from a patch's first pixel, in each turn of the patch: `(2, TURNS, side²)`."""
    down, right = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    grid = torch.stack([down, right])
    turned = [torch.rot90(g, k, (1, 2)) for g in (grid, grid.flip(2)) for k in range(4)]
    return torch.stack(turned, dim=1).flatten(2)


def _indexed(pixels: Tensor, first: Tensor, width: Tensor, steps: Tensor) -> Tensor:
    """As `_cut`, in a fixed number of operations; `steps` `(2, n, side²)` are those of `_turned_grid`, by patch."""
    down, right = steps
    return pixels[first[:, None] + down * width[:, None] + right].flatten(1)


def _cut(pixels: np.ndarray, first: Tensor, width: Tensor, turn: Tensor, *, side: int) -> Tensor:
    """Square patches of the colours `(·, 3)` uint8 of pictures, turned: `(n, 3 · side²)`.

    Slices are several times as fast as indices of every pixel on a CPU, and read a memory-mapped array row by row.

    Args:
        pixels: of all pictures, row-major; may be memory-mapped.
        first: each patch's first pixel.
        width: of each patch's picture.
        turn: of each patch, as in `_turned_grid`.
        side: height and width of a patch.
    """
    whole = pixels.view("V3")[:, 0]  # an item per pixel: numpy then moves colours together
    patches = np.empty((len(first), side, side), "V3")
    for patch, start, row, k in zip(patches, first.tolist(), width.tolist(), turn.tolist(), strict=True):
        part = as_strided(whole[start : start + (side - 1) * row + side], (side, side), (3 * row, 3))
        patch[:] = np.rot90(part[:, ::-1] if k >= TURNS // 2 else part, k % (TURNS // 2))
    return torch.from_numpy(patches.view(np.uint8)).flatten(1)


@dataclass(frozen=True)
class PairData(SquarePictures):
    """Pairs of patches of photographs; a data point is a flat HR patch in [0, 1].

    Attributes:
        collection: photographs to train on.
        patch: p, side of an LR patch in pixels.
        view_images: HR patches of the held-out photographs that every snapshot embeds, `(n, 4p, 4p, 3)` uint8.
    """

    collection: Collection
    patch: int
    view_images: Tensor

    @property
    def size(self) -> int:
        """4p, side of an HR patch in pixels."""
        return SCALE * self.patch

    @property
    def train_size(self) -> int:
        """N, number of training photographs."""
        return len(self.collection)

    def table(self, device: torch.device, dtype: torch.dtype) -> Patches:
        """Training pairs."""
        return Patches(self.collection, self.patch, device, dtype)

    @cached_property
    def view_inputs(self) -> Tensor:
        """LR patches of the view, the generator's inputs, `(n, 3 p²)`."""
        return self.standardise(imresize(self.view_images, (self.patch, self.patch)))

    def snapshot(self, fake: Tensor, noise: Tensor, generate: Generate) -> dict[str, Tensor]:
        """The first `SHOWN` upscaled patches, `(V, SHOWN, side, side, 3)` uint8."""
        return {"fake": self.restore(fake[:, :SHOWN])}

    def reference(
        self, n: int, *, repeat: int = 0, inception: bool = False, on_progress: Callable[[float], None] | None = None
    ) -> SuperresReference:
        """The held-out photographs, to be upscaled and compared.

        Args:
            n: below `WITH_NIQE`, as for quick scores, NIQE is left out, which takes longer than all other scores.
            repeat: makes no difference.
            inception: not for photographs.
            on_progress: called with the number of samples measured so far.

        Raises:
            ConfigError: Inception is asked for.
        """
        from mvm.scoring.superres import SuperresReference

        if inception:
            raise ConfigError("inception: upscaled photographs are compared with their originals, without FID")
        photographs = held_out()
        high, low = (
            [torch.tensor(picture(i)) for i in range(len(photographs))]
            for picture in (photographs.high_picture, photographs.low_picture)
        )
        return SuperresReference(photographs.names, high, low, niqe=n >= WITH_NIQE)


class Superres(Kind):
    """Pairs of patches of photographs."""

    name = "superres"
    title = "Super-resolution"
    noun = "photographs"
    network_settings = frozenset({"backbone", "discriminator", "metric_channels"})
    sample_formats = ()
    live_fakes = SHOWN
    snapshot_arrays: ClassVar = {"fake": "uint8 V r s s 3"}
    shown_once = "uint8 n s s 3"
    settings_type = PairSettings
    recipes: ClassVar = {
        "": {  # section 4.2
            "batch": 32, "steps": 100_000, "patch": 48, "view_points": 64, "snapshots": 40, "records": 200,
            "network": {"backbone": "srresnet", "discriminator": "srgan", "embedding_dim": 32},
        },
        "stabilised": {  # minutes on two CPU cores
            "batch": 16, "steps": 2000, "patch": 24, "snapshots": 30, "records": 100,
            "network": {"backbone": "small", "discriminator": "light", "metric_channels": 8},
            "optimiser": {"generator_lr": 2e-3, "metric_lr": 1e-3, "decay_from": 0.0},
        },
    }  # fmt: skip

    def accepts(self, data: str) -> bool:
        """Only `SUPERRES`: `data_from` names the photographs."""
        return data == SUPERRES

    def load(self, settings: DataSettings, *, own: Path | None = None) -> PairData:
        """Open the photographs named by `data_from`, or the built-in ones; `own` is ignored."""
        return PairData(_collection(settings), settings.patch, _view(settings.patch, settings.view_points))

    def units(self, settings: DataSettings, *, own: Path | None, shown: Path) -> PairData:
        """Build a data set of the run's stored view patches."""
        view = torch.from_numpy(np.load(shown, allow_pickle=False))
        patch = view.shape[1] // SCALE
        low = imresize(view, (patch, patch)).view(-1, 3).numpy()
        sizes = np.full((len(view), 2), patch)
        patches = Collection(view.view(-1, 3).numpy(), low, sizes, ("",) * len(view), (), "")
        return PairData(patches, patch, view)

    def architecture(self, data: Dataset, settings: NetworkSettings, members: Members, *, bf16: bool) -> Architecture:
        """A backbone, a metric and a discriminator per member."""
        size = math.isqrt(data.dim // 3)
        return SuperresNetworks(settings, size, members.streams, members.seeds, copies=members.copies, bf16=bf16)

    def data_title(self, data: str) -> str:
        """Super-resolution."""
        return "Super-resolution ×4"

    def describe(self, settings: DataSettings) -> list[str]:
        """Counts and sizes of a person's photographs, then a line for each that was passed over."""
        return [] if settings.data_from is None else describe_collection(_collection(settings))

    def digest(self, settings: DataSettings) -> str | None:
        """SHA-256 of the photographs' pixels; None for the built-in ones."""
        return None if settings.data_from is None else _collection(settings).sha256

    def threads(self) -> int:
        """The number of cores."""
        return os.cpu_count() or 1


def _collection(settings: DataSettings) -> Collection:
    """The photographs to train on."""
    if settings.data_from is None:
        return built_in()
    return open_collection(settings.data_from, smallest=settings.patch)


def _view(patch: int, n: int) -> Tensor:
    """n HR patches of the held-out photographs, the same for all runs with this patch, `(n, 4p, 4p, 3)` uint8."""
    return sample_patches(held_out(), patch, n)[1]


def sample_patches(collection: Collection, patch: int, n: int) -> tuple[Tensor, Tensor]:
    """n pairs of patches of a collection, always the same: LR `(n, p, p, 3)` and HR `(n, 4p, 4p, 3)`, uint8.

    Raises:
        ConfigError: no picture is as large as a patch.
    """
    patches = Patches(collection, patch, torch.device("cpu"), torch.float32)
    rows = torch.randint(len(patches) // TURNS, (n,), generator=torch.Generator().manual_seed(VIEW_SEED)) * TURNS
    low, high = patches.gather(rows).split([3 * patch**2, 3 * (SCALE * patch) ** 2], dim=1)
    return low.reshape(n, patch, patch, 3), high.reshape(n, SCALE * patch, SCALE * patch, 3)
