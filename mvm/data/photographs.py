"""Collections of photographs for super-resolution: high-resolution (HR) pictures, and their low-resolution (LR) ones.

    LR = imresize(HR, 1/4)        MATLAB's bicubic (`mvm.imaging.resize`), unless the source itself has LR pictures

HR pictures are RGB, cropped at the right and the bottom to multiples of `SCALE`. Four photographs of scikit-image are
held out whatever is trained on; other photographs of scikit-image and scikit-learn are the default to train on.

A source is decoded once, by worker processes, into a folder beside the image caches:

    pairs-DIGEST/high.rgb           uint8 (HR pixels, 3): picture after picture, row-major
    pairs-DIGEST/low.rgb            uint8 (LR pixels, 3), in the same order
    pairs-DIGEST/collection.json    sizes, names, what was passed over and why, and the state of the source's files

A source whose files have changed is decoded anew. The folder is filled under another name and renamed at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import torch

from mvm.data.cache import image_folder, writing
from mvm.data.resolutions import Decoded, Pairs, decode_pair, find_pairs
from mvm.data.workers import Skipped, spread
from mvm.devices import one_thread
from mvm.errors import ConfigError
from mvm.files import hide_folder, locked, new_folder, remove_hidden, sweep
from mvm.imaging.resize import SCALE, imresize
from mvm.plain import MOST_LISTS, read_object
from mvm.words import printable

__all__ = ["Collection", "built_in", "describe_collection", "held_out", "open_collection"]

SCHEMA = 1
IN_MEMORY = 2**28  # bytes of a collection that is loaded whole; larger ones are memory-mapped
BICUBIC = 40.0  # least PSNR, in dB, of a given LR picture to ours, if it is bicubic, too
MOST_SKIPPED = 20  # files that a description names
BUILT_IN = {  # photographs in the installed packages
    "skimage": ("data/motorcycle_left.png", "data/motorcycle_right.png"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
HELD_OUT = {"skimage": ("data/astronaut.png", "data/coffee.png", "data/chelsea.png", "data/rocket.jpg")}


@dataclass(frozen=True, eq=False)
class Collection:
    """HR pictures, and their LR counterparts of a quarter of the height and the width.

    Attributes:
        high: HR pixels of all pictures, `(n, 3)` uint8, picture after picture, row-major; may be memory-mapped.
        low: LR pixels in the same order, `(n / 16, 3)` uint8.
        sizes: height and width of each LR picture, `(len, 2)` int64.
        names: name of each picture in its source.
        skipped: (file, reason) of each file that is not used.
        sha256: checksum of the HR pixels and sizes, and of LR pixels that the source has given.
        notes: what was assumed or noticed, a sentence each.
    """

    high: np.ndarray
    low: np.ndarray
    sizes: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    sha256: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def starts(self) -> np.ndarray:
        """Row of `low` at which each picture starts, and where the last one ends, `(len + 1,)` int64."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes.prod(1))])

    def high_picture(self, i: int) -> np.ndarray:
        """HR picture, `(4h, 4w, 3)` uint8."""
        height, width = SCALE * self.sizes[i]
        pixels: np.ndarray = self.high[SCALE**2 * self.starts[i] : SCALE**2 * self.starts[i + 1]]
        return pixels.reshape(height, width, 3)

    def low_picture(self, i: int) -> np.ndarray:
        """LR picture, `(h, w, 3)` uint8."""
        height, width = self.sizes[i]
        pixels: np.ndarray = self.low[self.starts[i] : self.starts[i + 1]]
        return pixels.reshape(height, width, 3)


@lru_cache(maxsize=1)
def built_in() -> Collection:
    """Photographs to train on that come with scikit-image and scikit-learn."""
    return _packaged(BUILT_IN)


@lru_cache(maxsize=1)
def held_out() -> Collection:
    """Photographs that no training sees: astronaut, coffee, chelsea and rocket of scikit-image."""
    return _packaged(HELD_OUT)


def open_collection(
    source: str,
    *,
    smallest: int,
    processes: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Collection:
    """Open the photographs of a source; decodes them if this was not done, or if its files have changed since.

    Args:
        source: a folder or a ZIP of pictures, DIV2K as published, Parquet, LMDB or arrays, or the name of an image
            cache.
        smallest: least height and width of an LR picture; smaller ones are skipped.
        processes: number of decoding processes; the number of cores when None, and 1 decodes in this process.
        on_progress: called with the fraction of files that are decoded.

    Raises:
        ConfigError: the source does not exist, or has no picture that can be used; one line.
        OSError: the disk is full.
    """
    pairs = find_pairs(source, scale=SCALE)
    target = image_folder() / f"pairs-{hashlib.sha256(str(pairs.path.resolve()).encode()).hexdigest()[:16]}"
    stamp = pairs.stamp()
    with writing(target.parent, resumes=False):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock"), wait=math.inf):
            sweep(target.parent)
            if (collection := _open(target, stamp, smallest)) is None:
                _build(pairs, target, stamp, smallest, processes=processes, on_progress=on_progress)
                collection = _open(target, stamp, smallest)
    if collection is None:
        raise ConfigError(f"source: {printable(pairs.path)} changes while it is read; wait until it is complete")
    return collection


def describe_collection(collection: Collection) -> list[str]:
    """Describe a collection: a line of counts and sizes, its notes, then a line per skipped file."""
    least, most = (collection.sizes[collection.sizes.prod(1).argsort()[end]] * SCALE for end in (0, -1))
    sizes = " to ".join(dict.fromkeys(f"{width} x {height}" for height, width in (least, most)))
    millions = len(collection.high) / 1e6
    lines = [f"{len(collection):,} photographs of {sizes} pixels, {millions:,.2f} megapixels", *collection.notes]
    if collection.skipped:
        lines.append(f"{len(collection.skipped):,} files skipped")
        lines += [f"{name}: {reason}" for name, reason in collection.skipped[:MOST_SKIPPED]]
    if len(collection.skipped) > MOST_SKIPPED:
        lines.append(f"{len(collection.skipped) - MOST_SKIPPED:,} more skipped")
    return lines


# -- a collection ------------------------------------------------------------------------------------------------------


@dataclass
class _Record:
    """What a collection holds besides its pixels; collection.json.

    Attributes:
        stamp: state of the source's files.
        too_small: largest short side, in LR pixels, of the pictures that were too small; 0 without any.
    """

    stamp: str = ""
    sizes: list[list[int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sha256: str = ""
    too_small: int = 0
    schema_version: int = SCHEMA

    def serves(self, stamp: str, smallest: int) -> bool:
        """Whether decoding anew, with this state of the files and this least size, would give the same."""
        used = min(min(size) for size in self.sizes)
        return self.schema_version == SCHEMA and self.stamp == stamp and self.too_small < smallest <= used

    def collection(self, high: np.ndarray, low: np.ndarray) -> Collection:
        """The collection with these pixels."""
        return Collection(
            high.reshape(-1, 3),
            low.reshape(-1, 3),
            np.array(self.sizes, np.int64).reshape(-1, 2),
            tuple(self.names),
            tuple((name, reason) for name, reason in self.skipped),
            self.sha256,
            tuple(self.notes),
        )


def _write(
    outcomes: Iterable[tuple[str, Decoded | Skipped]], high: IO[bytes], low: IO[bytes], smallest: int
) -> _Record:
    """Write the pixels of pictures, one after the other, and record what they are."""
    record, checksum, modes = _Record(), hashlib.sha256(), Counter[str]()
    errors: dict[str, float] = {}  # mean squared differences of given LR pictures from ours
    for name, outcome in ((printable(name), outcome) for name, outcome in outcomes):
        if isinstance(outcome, Skipped):
            record.skipped.append([name, printable(outcome.reason)])
            continue
        size = [side // SCALE for side in outcome.high.shape[:2]]
        height, width = size
        if min(size) < smallest:
            found = "{1} x {0} pixels".format(*outcome.high.shape)
            record.skipped.append([name, f"{found}: smaller than {SCALE} x {smallest}"])
            record.too_small = max(record.too_small, min(size))
            continue
        pixels = np.ascontiguousarray(outcome.high[: SCALE * height, : SCALE * width])
        reduced = imresize(torch.from_numpy(pixels), (height, width)).numpy()
        if outcome.low is not None:
            if outcome.low.shape != reduced.shape:
                found = "{1} x {0} pixels".format(*outcome.low.shape)
                record.skipped.append([name, f"its LR picture: {found}, not {width} x {height}"])
                continue
            errors[name] = float(np.square(outcome.low.astype(np.float32) - reduced).mean())
            reduced = np.ascontiguousarray(outcome.low)
        for part in (np.array(size, np.int64), pixels, *([] if outcome.low is None else [reduced])):
            checksum.update(part.data)
        high.write(pixels.data)
        low.write(reduced.data)
        record.sizes.append(size)
        record.names.append(name)
        modes[outcome.mode] += outcome.mode != "RGB"
    record.sha256 = checksum.hexdigest()
    converted = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common() if count)
    record.notes = [f"converted to RGB: {converted}"] * bool(converted) + _judged(errors, len(record.names))
    return record


def _judged(errors: dict[str, float], total: int) -> list[str]:
    """Sentences about given LR pictures: how many, and how many are not bicubic."""
    if not errors:
        return []
    given = f"{len(errors):,} of {total:,} LR pictures are given"
    psnr = {name: 10 * math.log10(255**2 / error) if error else math.inf for name, error in errors.items()}
    others = [name for name, value in psnr.items() if value < BICUBIC]
    if not others:
        return [f"{given}, and agree with MATLAB's bicubic"]
    worst = min(others, key=psnr.__getitem__)
    return [
        f"{given}; {len(others):,} are of another degradation than MATLAB's bicubic, which the held-out photographs "
        f"have: as little as {psnr[worst]:.1f} dB PSNR to it, {worst}"
    ]


@one_thread()
def _packaged(files: Mapping[str, tuple[str, ...]]) -> Collection:
    """Photographs in the folders of installed packages, which are not imported."""

    def outcomes() -> Iterator[tuple[str, Decoded]]:
        for package, names in files.items():
            found = importlib.util.find_spec(package)
            if found is None or not found.submodule_search_locations:
                raise ConfigError(f"photographs: {package} is not installed; pip install scikit-image scikit-learn")
            folder = Path(found.submodule_search_locations[0])
            for name in names:
                yield Path(name).stem, decode_pair(((folder / name).read_bytes(), None))

    high, low = io.BytesIO(), io.BytesIO()
    record = _write(outcomes(), high, low, 1)
    return record.collection(*(np.frombuffer(file.getbuffer(), np.uint8) for file in (high, low)))


def _build(
    pairs: Pairs,
    target: Path,
    stamp: str,
    smallest: int,
    *,
    processes: int | None,
    on_progress: Callable[[float], None] | None,
) -> None:
    """Decode all pictures of a source into the folder `target`, in place of what it holds."""

    def outcomes() -> Iterator[tuple[str, Decoded | Skipped]]:
        decoded = spread(decode_pair, pairs, pairs.names, processes=processes, chunk=1)
        for done, outcome in enumerate(decoded, 1):
            yield outcome
            if on_progress is not None:
                on_progress(done / len(pairs.names))

    gone = None
    with new_folder(target) as folder, one_thread():  # the other cores decode
        with (folder / "high.rgb").open("wb") as high, (folder / "low.rgb").open("wb") as low:
            record = _write(outcomes(), high, low, smallest)
        record.stamp = stamp
        if not record.names:
            name, reason = record.skipped[0]
            raise ConfigError(
                f"source: none of {len(record.skipped):,} files in {printable(pairs.path)} can be used, at {smallest} "
                f"LR pixels or more; the first, {name}: {reason}"
            )
        record.skipped += [[printable(name), reason] for name, reason in pairs.passed]
        (folder / "collection.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
        if target.exists():
            gone = hide_folder(target)
    if gone is not None:
        remove_hidden(gone)


def _open(folder: Path, stamp: str, smallest: int) -> Collection | None:
    """Open a folder that `_build` has filled; None if it is missing, damaged, or of another state of the source."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        record = _Record(**read_object(folder / "collection.json", most=MOST_LISTS))
        if record.serves(stamp, smallest):
            pixels = sum(height * width for height, width in record.sizes)
            lengths = {"high.rgb": 3 * pixels * SCALE**2, "low.rgb": 3 * pixels}
            if all((folder / name).stat().st_size == length for name, length in lengths.items()):
                whole = sum(lengths.values()) <= IN_MEMORY
                read = np.fromfile if whole else lambda path, dtype: np.memmap(path, dtype, "r")
                return record.collection(*(read(folder / name, np.uint8) for name in lengths))
    return None
