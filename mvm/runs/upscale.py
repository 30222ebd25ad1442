"""People's pictures upscaled ×4 by a network: an array, an image of Pillow's, a file, a folder.

Colour is upscaled by the network; grey as three equal channels, of which the mean is taken; transparency by itself and
bicubically, so that what is opaque stays opaque. 16 bits stay 16 bits. A file keeps its format, colour profile and
EXIF; its orientation is applied.

    Upscaler(network, receptive_field=...).values(array)
    plan = Plan.of(source, out);  for outcome in upscale_files(plan, upscaler): ...
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvm.data.picture_file import FORMS, FullPicture, encoding_memory, opened, picture_of, unwritable, write
from mvm.data.sources import walk
from mvm.errors import ConfigError, check_known, line_of
from mvm.files import sweep
from mvm.imaging.resize import SCALE, imresize
from mvm.imaging.tiles import TILE, Network, averaged_turns, memory_of, on_grey, upscale_tiled
from mvm.words import printable

__all__ = ["Done", "Plan", "Skipped", "Upscaler", "upscale_files", "upscale_picture"]

IN_MEMORY = 2**28  # bytes of a result that is held in memory; larger ones are in a temporary file, mapped
ADVICE = "; --overwrite replaces it"
BICUBIC_OVERLAP = 2  # pixels that bicubic upscaling depends on

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Upscaler:
    """A network with how it is applied.

    Attributes:
        network: `(1, 3, h, w)` in [0, 1] to `(1, 3, 4h, 4w)`, fully convolutional.
        receptive_field: input pixels on each side that an output pixel depends on.
        tile: input pixels each way that are upscaled at a time, without the overlap.
        ensemble: take the mean over the eight turns and flips of the picture, at eight times the cost.
    """

    network: Network
    receptive_field: int
    tile: int = TILE
    ensemble: bool = False

    def values(
        self, values: np.ndarray, *, out: np.ndarray | None = None, on_progress: Progress | None = None
    ) -> np.ndarray:
        """Upscale an array ×4.

        Args:
            values: `(h, w)` or `(h, w, C)`: grey, grey and alpha, RGB, RGB and alpha for C = 1 to 4. uint8 or uint16 of
                full range, or floating point in [0, 1].
            out: where to write, of the same dtype; a new array when None.
            on_progress: called with input pixels done, and how many there are.

        Returns:
            `out`: four times as high and as wide, clipped to the range and rounded.

        Raises:
            ValueError: another shape, dtype or range, or the network gives values that are not finite.
        """
        _check(values)
        flat = values.ndim == 2
        whole = np.require(values[..., None] if flat else values, requirements=["C", "W"])  # as PyTorch takes it
        height, width, channels = whole.shape
        result = np.empty((SCALE * height, SCALE * width, channels), values.dtype) if out is None else out
        source, target = (torch.from_numpy(array).permute(2, 0, 1) for array in (whole, result))
        colours = channels - (channels in (2, 4))
        network = averaged_turns(self.network) if self.ensemble else self.network
        upscale_tiled(
            _clipped(on_grey(network) if colours == 1 else network), source[:colours], overlap=self.receptive_field,
            tile=self.tile, out=target[:colours], on_progress=on_progress,
        )  # fmt: skip
        if colours < channels:
            upscale_tiled(
                _clipped(_bicubic), source[colours:], overlap=BICUBIC_OVERLAP, tile=self.tile, out=target[colours:]
            )
        return result[..., 0] if flat else result

    def image(self, image: Image.Image, *, on_progress: Progress | None = None) -> Image.Image:
        """Upscale an image of Pillow's ×4.

        Args:
            image: of any mode but floating point; EXIF's orientation is applied.
            on_progress: called with input pixels done, and how many there are.

        Returns:
            An image of mode L, LA, RGB, RGBA or, of 16-bit grey, I;16. Its `info` has the ICC profile, which `save`
            writes, and the EXIF, for `save(..., exif=image.info["exif"])`.

        Raises:
            ValueError: the image is not converted, or the network gives values that are not finite.
        """
        image.load()
        return _image(self.full(picture_of(image), on_progress=on_progress))

    def full(
        self, picture: FullPicture, *, out: np.ndarray | None = None, on_progress: Progress | None = None
    ) -> FullPicture:
        """Upscale a picture ×4, keeping what it holds besides its pixels; arguments and errors as for `values`."""
        return replace(picture, values=self.values(picture.values, out=out, on_progress=on_progress))

    @overload
    def upscale(self, picture: np.ndarray) -> np.ndarray: ...
    @overload
    def upscale(self, picture: Image.Image | str | Path) -> Image.Image: ...
    def upscale(self, picture: Image.Image | str | Path | np.ndarray) -> Image.Image | np.ndarray:
        """Upscale an array, an image of Pillow's, or a picture file, which gives such an image.

        Raises:
            OSError: the file cannot be read.
            ValueError: as for `values` and `image`; the file is no picture, or its 16-bit colour fits no image.
        """
        if isinstance(picture, np.ndarray):
            return self.values(picture)
        if isinstance(picture, Image.Image):
            return self.image(picture)
        with opened(Path(picture)) as file:
            return _image(self.full(file.picture()))

    def memory(self, size: tuple[int, int]) -> int:
        """Bytes that the network needs at most for a picture of this height and width."""
        network = averaged_turns(self.network) if self.ensemble else self.network
        return memory_of(size, network, overlap=self.receptive_field, tile=self.tile)


def upscale_picture(
    image: Image.Image,
    network: Network,
    *,
    receptive_field: int,
    tile: int = TILE,
    ensemble: bool = False,
    on_progress: Progress | None = None,
) -> Image.Image:
    """Upscale an image of Pillow's ×4: `Upscaler.image` with the settings as arguments."""
    return Upscaler(network, receptive_field, tile=tile, ensemble=ensemble).image(image, on_progress=on_progress)


def _image(picture: FullPicture) -> Image.Image:
    """Pillow's image of a picture, with ICC profile and EXIF in its `info`."""
    values = picture.values
    if values.dtype == np.uint16 and values.shape[2] > 1:
        raise ValueError("16-bit colour or transparency, of which an image of Pillow's holds 8 bits; give an array")
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    if picture.exif:
        image.info["exif"] = picture.exif.tobytes()
    return image


# -- files -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A picture file to upscale.

    Attributes:
        name: relative to the source.
        source, target: its file, and the one to write.
        form: format to write.
        size: height and width.
        memory: bytes that it takes at most beside the network's: decoding, the arrays, encoding.
        scratch: bytes of disk for a result that is not held in memory.
        notes: lines about the format.
    """

    name: str
    source: Path
    target: Path
    form: str
    size: tuple[int, int]
    memory: int
    scratch: int
    notes: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Of the picture that is read."""
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class Done:
    """A picture that was upscaled; `notes` are lines about what was converted or left out."""

    name: str
    target: Path
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """A file that was not upscaled.

    Attributes:
        name: relative to the source.
        reason: in one line.
        is_done: its upscaled picture exists.
    """

    name: str
    reason: str
    is_done: bool = False


@dataclass(frozen=True)
class Plan:
    """What to upscale, and what is skipped already.

    Attributes:
        jobs: in the order of the work.
        skipped: files that are no pictures, or whose upscaled picture exists.
        overwrite: whether existing files are replaced.
    """

    jobs: list[Job] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    overwrite: bool = False

    @classmethod
    def of(cls, source: Path, out: Path, *, form: str | None = None, overwrite: bool = False) -> Plan:
        """Read the headers of a picture, or of all pictures below a folder.

        Args:
            source: a file or a folder.
            out: folder to write to; paths below a source folder are kept below it.
            form: format to write, of `FORMS`; that of each picture when None. A picture that the format cannot hold
                is written as PNG.
            overwrite: replace existing files, other than the sources.

        Raises:
            ConfigError: nothing is there; a single file cannot be upscaled; `out` is the folder of the sources.
        """
        if form is not None:
            check_known("format", form, FORMS)
        if out.exists() and not out.is_dir():
            raise ConfigError(f"out: {printable(out)} is a file; give a folder")
        passed: list[list[str]] = []
        single = not source.is_dir()
        folder = source.parent if single else source
        if not source.exists():
            raise ConfigError(f"source: no file or folder {printable(source)}")
        if out.exists() and out.samefile(folder):
            raise ConfigError(f"out: {printable(out)} is the folder of the source; give another, to keep the originals")
        names = [source.name] if single else list(walk(source, passed))
        if not single and out.resolve().is_relative_to(source.resolve()):  # earlier results are no sources
            names = [name for name in names if not (source / name).resolve().is_relative_to(out.resolve())]
        sources = {(folder / name).resolve() for name in names}
        plan = cls(skipped=[Skipped(name, reason) for name, reason in passed], overwrite=overwrite)
        stems = [_key(Path(name).with_suffix("")) for name in names]
        shared = {stem for stem, group in itertools.groupby(sorted(stems)) if len(list(group)) > 1}
        taken: set[str] = set()
        for name, stem in zip(names, stems, strict=True):
            try:
                job = _job(folder / name, name, out, form, is_shared=stem in shared)
            except (OSError, ValueError) as error:
                plan.skipped.append(Skipped(name, line_of(error)))
                continue
            if job.target.resolve() in sources:
                plan.skipped.append(
                    Skipped(name, f"{printable(job.target)} is one of the pictures; give another --out")
                )
            elif _key(job.target) in taken:
                plan.skipped.append(Skipped(name, f"{job.target.name} is written for another picture; rename one"))
            elif _exists(job.target) and not overwrite:
                plan.skipped.append(Skipped(name, f"{printable(job.target)} exists{ADVICE}", is_done=True))
            else:
                taken.add(_key(job.target))
                plan.jobs.append(job)
        if single and plan.skipped:
            raise ConfigError(f"source: {printable(source)}: {plan.skipped[0].reason}")
        return plan

    @property
    def largest(self) -> Job | None:
        """The picture with the most pixels."""
        return max(self.jobs, key=lambda job: job.pixels, default=None)

    @property
    def scratch(self) -> int:
        """Bytes of disk that the work takes at most, beside the files that it writes."""
        return max((job.scratch for job in self.jobs), default=0)

    def memory(self, upscaler: Upscaler) -> int:
        """Bytes that the work takes at most beside the program and the network; the system's cache of files is free."""
        largest = self.largest
        return 0 if largest is None else max(job.memory for job in self.jobs) + upscaler.memory(largest.size)


def upscale_files(plan: Plan, upscaler: Upscaler, *, on_progress: Progress | None = None) -> Iterator[Done | Skipped]:
    """Upscale the pictures of a plan, one after another; yields each when its file is there.

    Args:
        plan: what to upscale.
        upscaler: the network.
        on_progress: called with input pixels done, and how many there are.

    Raises:
        OSError: `out` cannot be written; the files that are done stay.
    """
    total, done = sum(job.pixels for job in plan.jobs), 0
    for folder in {job.target.parent for job in plan.jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    for job in plan.jobs:
        before = done

        def report(pixels: float, _: float, before: int = before) -> None:
            if on_progress:
                on_progress(before + pixels, total)

        yield _upscaled(job, upscaler, overwrite=plan.overwrite, on_progress=report)
        done += job.pixels
        report(job.pixels, job.pixels)


def _upscaled(job: Job, upscaler: Upscaler, *, overwrite: bool, on_progress: Progress) -> Done | Skipped:
    """Upscale one file."""
    try:
        with opened(job.source) as file:
            picture = file.picture()
            is_lossless = file.is_lossless
        if _exists(job.target) and not overwrite:
            return Skipped(job.name, f"{printable(job.target)} exists by now{ADVICE}", is_done=True)
    except (OSError, ValueError, MemoryError) as error:
        return Skipped(job.name, _reason(error))
    try:
        with _result(picture.values, job.target.parent) as out:
            result = upscaler.full(picture, out=out, on_progress=on_progress)
            notes = write(job.target, result, form=job.form, is_lossless=is_lossless)
    except (ValueError, MemoryError) as error:
        return Skipped(job.name, _reason(error))
    except RuntimeError as error:
        if not _is_memory(error):
            raise
        return Skipped(job.name, _reason(error))
    return Done(job.name, job.target, (*job.notes, *picture.notes, *notes))


@contextlib.contextmanager
def _result(values: np.ndarray, folder: Path) -> Iterator[np.ndarray]:
    """An array for the upscaled picture: in memory, or in a file without a name, which ends with this process."""
    height, width, channels = values.shape
    shape = (SCALE * height, SCALE * width, channels)
    if SCALE**2 * values.nbytes <= IN_MEMORY:
        yield np.empty(shape, values.dtype)
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            if sys.platform != "darwin":  # a full disk ends a process that writes to a file mapped beyond it
                os.posix_fallocate(file.fileno(), 0, SCALE**2 * values.nbytes)
            mapped = np.memmap(file, values.dtype, "w+", shape=shape)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from None
        yield mapped


def _job(source: Path, name: str, out: Path, form: str | None, *, is_shared: bool) -> Job:
    """Read the header of a picture, and choose where it goes and in which format.

    Args:
        source: its file.
        name: relative to the folder of the sources.
        out: folder to write to.
        form: format that is asked for.
        is_shared: another file of its folder differs by its suffix only: a new suffix is put after the old one.

    Raises:
        OSError, ValueError: as for `opened`.
    """
    with opened(source) as file:
        size, channels, is_deep, memory = file.size, file.channels, file.is_deep, file.memory
        wanted = form or file.form
    large = (SCALE * size[0], SCALE * size[1])
    notes: tuple[str, ...] = ()
    if reason := unwritable(wanted, large, channels=channels, is_deep=is_deep):
        wanted, notes = "PNG", (f"{reason}: written as PNG",)
    target = out / name
    if target.suffix.lower() not in FORMS[wanted]:
        suffix = FORMS[wanted][0]
        target = target.with_name(target.name + suffix) if is_shared else target.with_suffix(suffix)
    values = size[0] * size[1] * channels * (1 + is_deep)
    result = SCALE**2 * values
    scratch = result if result > IN_MEMORY else 0
    encoding = encoding_memory(large, channels=channels, is_deep=is_deep)
    return Job(
        name, source, target, wanted, size, max(memory, 2 * values + result - scratch + encoding), scratch, notes
    )


def _check(values: np.ndarray) -> None:
    if values.ndim not in (2, 3) or not values.size or values.shape[2:] not in ((), (1,), (2,), (3,), (4,)):
        raise ValueError(f"picture: (h, w) or (h, w, 1 to 4) wanted, got {values.shape}")
    if values.dtype not in (np.uint8, np.uint16) and values.dtype.kind != "f":
        raise ValueError(f"picture: uint8, uint16 or floating point wanted, got {values.dtype}")
    if values.dtype.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"picture: floating-point values in [0, 1] wanted, got {values.min():g} to {values.max():g}")


def _clipped(network: Network) -> Network:
    return lambda window: network(window).clamp(0, 1)


def _bicubic(window: Tensor) -> Tensor:
    """Bicubic upscaling `(1, C, h, w)` to `(1, C, 4h, 4w)`."""
    size = (SCALE * window.shape[2], SCALE * window.shape[3])
    return imresize(window.permute(0, 2, 3, 1), size).permute(0, 3, 1, 2)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _key(path: Path) -> str:
    """A path as a file system that does not tell cases apart sees it."""
    return str(path).casefold()


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _reason(error: BaseException) -> str:
    return "out of memory; use a smaller --tile" if _is_memory(error) else line_of(error)
