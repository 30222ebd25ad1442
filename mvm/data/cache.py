"""Image caches: any collection of pictures as one memory-mapped array, prepared once.

    NAME-64.npy     uint8 (n, 64, 64, 3), RGB; ordinary NPY, `numpy.load(..., mmap_mode="r")` opens it
    NAME-64.json    source, crop, splits, checksum, what was assumed, and every file passed over with the reason

A collection is a folder, a ZIP, Parquet, an LMDB (`mvm.data.sources`) or arrays (`mvm.data.arrays`); its splits are
found by `mvm.data.splits`, worker processes (`mvm.data.workers`) decode its pictures (`mvm.data.picture`).

Each picture is cropped to its largest centred square (or to the centred `crop` x `crop` pixels) and resized with
antialiasing. JPEGs are decoded at a reduced scale where this loses no detail. The array is written to a temporary file
beside its target and renamed at the end; a killed preparation resumes at its last saved picture.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mvm.data.arrays import Arrays, holds_arrays
from mvm.data.picture import DEEP, HEAD, Unmeasured, decode, measure, recognise, tonal_range
from mvm.data.sources import Folder, Lmdb, Parquet, Source, Zip, holds_rows
from mvm.data.splits import Partition, in_splits
from mvm.data.workers import Skipped, spread
from mvm.errors import ConfigError, line_of
from mvm.files import NO_RIGHT, NO_ROOM, advice, checkpoints, write_atomic
from mvm.plain import MOST_LISTS, read_object
from mvm.words import printable

__all__ = [
    "Prepared",
    "Progress",
    "image_caches",
    "image_folder",
    "open_cache",
    "open_source",
    "prepare",
    "progress",
    "writing",
]

SCHEMA = 2
SIZES = tuple(2**k for k in range(3, 10))  # sides of cached pictures, as the networks require
HEADER = 128  # bytes before the pixels: an NPY 1.0 header, padded so that the picture count can be written at the end
SAVE_EVERY = 2.0  # seconds between two writes of the progress note
MOST_REASONS = 8  # that a summary lists
PACKED = {  # first bytes of files that hold pictures, but are no source
    b"\x1f\x8b": "a gzip file", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive", b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file", b"\x28\xb5\x2f\xfd": "a zstd file", b"\x89HDF": "an HDF5 file",
}  # fmt: skip
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)


# -- sources -----------------------------------------------------------------------------------------------------------


def open_source(path: Path) -> Source:
    """Open the collection at a path, by its content: a ZIP, Parquet, an LMDB environment, arrays, or a folder of files.

    Raises:
        ConfigError: the path does not exist, or is a file of another kind; one line.
    """
    if not path.exists():
        raise ConfigError(f"source: no file or folder {printable(path)}")
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise ConfigError(f"source: {printable(path)} is no file or folder")
    if (path / "data.mdb").exists():
        return Lmdb(path)
    if holds_rows(path):
        return Parquet(path)
    return Arrays(path) if holds_arrays(path) else Folder(path)


def _open_file(path: Path) -> Source:
    """Open a collection in one file."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ConfigError(f"source: {printable(path)}: {line_of(error)}") from None
    if head.startswith(b"PAR1"):
        return Parquet(path)
    if head.startswith(b"\x80"):  # names a pickle, and refuses it
        return Arrays(path)
    if holds_arrays(path):
        return Arrays(path)
    if zipfile.is_zipfile(path):
        return Zip(path)
    packed = next((what for start, what in PACKED.items() if head.startswith(start)), "")
    if packed or head[257:262] == b"ustar":
        raise ConfigError(f"source: {printable(path)} is {packed or 'a tar archive'}; unpack it, and give the folder")
    form = ""
    with contextlib.suppress(ValueError):
        form = recognise(head[:HEAD])
    if form:
        raise ConfigError(f"source: {printable(path)} is a single {form} picture; give its folder")
    raise ConfigError(
        f"source: {printable(path)} is no (complete) ZIP, Parquet or array file (NPY, NPZ, IDX, CIFAR's .bin); "
        "give one of these or a folder"
    )


# -- preparing a cache -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """Sidecar of a cache: source, contents and checksum.

    Attributes:
        source: path of the collection.
        kind: form of the collection: folder, zip, parquet, lmdb or arrays.
        size: side of each cached picture in pixels.
        crop: side of the centred square cropped from each original, in pixels; None for the largest possible.
        count: number of pictures in the cache.
        splits: rows of each split, {name: [start, stop]}; only train if the source has no official splits.
        skipped: [file, reason] for each file that is not in the cache.
        converted: number of pictures converted to RGB, by stored mode.
        sha256: checksum of the pixels.
        seconds: duration of the preparation.
        assumed: what was assumed about the pictures, a sentence each.
    """

    source: str
    kind: str
    size: int
    crop: int | None
    count: int
    splits: dict[str, list[int]]
    skipped: list[list[str]]
    converted: dict[str, int]
    sha256: str
    seconds: float
    schema_version: int = SCHEMA
    assumed: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of skipped files by kind of reason, largest first."""
        return dict(Counter(reason.split(":")[-1].strip() if "pixels:" in reason else reason.split(":")[0]
                            for _, reason in self.skipped).most_common())  # fmt: skip

    @property
    def skipped_summary(self) -> str:
        """Number of skipped files, and of each kind of reason; empty if none is skipped."""
        kinds = [f"{count:,} {reason}" for reason, count in self.reasons.items()]
        rest = [f"{len(kinds) - MOST_REASONS} other reasons"] if len(kinds) > MOST_REASONS else []
        return f"{len(self.skipped):,}: {', '.join(kinds[:MOST_REASONS] + rest)}" if kinds else ""


@dataclass
class _Part:
    """Progress of an unfinished preparation; on resume, the pixel file is truncated to `count` pictures."""

    fingerprint: str
    total: int = 0
    done: int = 0
    count: int = 0
    seconds: float = 0.0
    varied: bool = False
    skipped: list[list[str]] = field(default_factory=list)
    converted: dict[str, int] = field(default_factory=dict)
    splits: dict[str, list[int]] = field(default_factory=dict)
    tones: dict[str, list[float]] = field(default_factory=dict)


def prepare(
    source: Source,
    out: Path,
    *,
    size: int,
    crop: int | None = None,
    partition: Partition | None = None,
    processes: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Decode every picture of a source into one cache.

    Args:
        source: collection of pictures.
        out: NPY file to write; the sidecar is the same path with the suffix .json.
        size: side of each cached picture in pixels: a power of two from 8 to 512, as the networks require.
        crop: side of the centred square to crop from each picture, in pixels; the largest possible when None.
        partition: official split of each name; files that it does not name are left out.
        processes: number of decoding processes; the number of cores when None, and 1 decodes in this process.
        on_progress: called with the number of files done and the total.

    Raises:
        ConfigError: the source has no usable picture or only equal ones, or `size` or `crop` is invalid.
        OSError: the disk is full; finished pictures are kept, and the same call resumes.
    """
    if not 8 <= size <= 512 or size & (size - 1):
        near = min(SIZES, key=lambda known: abs(known - size))
        raise ConfigError(f"size: pictures of {size} pixels; give {near}, or another power of two from 8 to 512")
    if crop is not None and crop < size:
        fits = [known for known in SIZES if known <= crop]
        advice = f"size {fits[-1]} or a crop of {size} or more" if fits else f"a crop of {size} or more"
        raise ConfigError(f"crop: {crop} centred pixels are fewer than the size of {size}; give {advice}")
    if processes is not None and processes < 1:
        raise ConfigError(f"processes: {processes}; give 1 or more")
    listing = source.list()
    names, ranges = in_splits(listing, partition)
    if not names:
        passed = f"; passed over {len(listing.passed)}: {': '.join(listing.passed[0])}" if listing.passed else ""
        raise ConfigError(f"source: no picture in {printable(source.path)}{printable(passed)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    pixels, note = out.with_name(f".{out.name}.part"), _note(out)
    request = [str(source.path.resolve()), size, crop, names, ranges]
    fingerprint = hashlib.sha256(json.dumps(request).encode()).hexdigest()
    part = _resume(pixels, note, fingerprint, size)
    part.total = len(names)
    began = time.monotonic() - part.seconds
    with pixels.open("r+b") as file:
        next_save = _save(file, note, part, began)
        file.seek(HEADER)
        first = file.read(size * size * 3) if part.count else b""
        file.seek(HEADER + part.count * size * size * 3)
        split_at = _splits_at(ranges)
        for name, outcome in _decoded(source, names, part, size=size, crop=crop, processes=processes):
            split = split_at(part.done)
            part.done += 1
            begin, end = part.splits.get(split, [part.count, part.count])
            if isinstance(outcome, Skipped):
                part.skipped.append([printable(name), printable(outcome.reason)])
            else:
                image, mode = outcome
                content = image.tobytes()
                file.write(content)
                part.splits[split] = [begin, end + 1]
                part.count += 1
                first = first or content
                part.varied = part.varied or content != first
                if mode != "RGB":
                    part.converted[mode] = part.converted.get(mode, 0) + 1
            on_progress(part.done, len(names))
            if time.monotonic() > next_save:
                next_save = _save(file, note, part, began)
        _save(file, note, part, began)
        if useless := _useless(part):
            pixels.unlink()
            note.unlink()
            raise ConfigError(f"source: {useless}")
        file.seek(0)
        file.write(_header(part.count, size))
        file.flush()
        os.fsync(file.fileno())
    passed_over = [[printable(name), reason] for name, reason in listing.passed]
    prepared = Prepared(
        printable(source.path.resolve()), type(source).__name__.lower(), size, crop, part.count, part.splits,
        part.skipped + passed_over, part.converted, _checksum(pixels), round(time.monotonic() - began, 1),
        assumed=_assumed(part),
    )  # fmt: skip
    write_atomic(out.with_suffix(".json"), json.dumps(asdict(prepared), indent=1).encode())
    pixels.replace(out)
    note.unlink()
    return prepared


def _decoded(
    source: Source, names: Sequence[str], part: _Part, *, size: int, crop: int | None, processes: int | None
) -> Iterator[tuple[str, tuple[np.ndarray, str] | Skipped]]:
    """Yield (name, picture and mode) for the files after the first `part.done`.

    Ranges of values beyond 8 bits are measured over the rest of the source when the first such picture is met.
    """
    while part.done < len(names):
        task = partial(
            decode, size=size, crop=crop, tones={mode: (low, high) for mode, (low, high) in part.tones.items()}
        )
        try:
            yield from spread(task, source, names[part.done :], processes=processes)
            return
        except Unmeasured:
            measuring = partial(measure, size=size, crop=crop)
            for _, span in spread(measuring, source, names[part.done :], processes=processes):
                if span is not None and not isinstance(span, Skipped):
                    mode, least, greatest = span
                    known = part.tones.get(mode, [least, greatest])
                    part.tones[mode] = [min(known[0], least), max(known[1], greatest)]


def _useless(part: _Part) -> str:
    """Reason why a preparation gives nothing to train on; empty if it does."""
    if not part.count:
        name, reason = next((entry for entry in part.skipped if entry[1] != "not a picture"), part.skipped[0])
        return f"none of {part.total} files could be used; the first, {name}: {reason}"
    if part.count > 1 and not part.varied:
        assumed = "".join(f"; {sentence}" for sentence in _assumed(part))
        return f"all {part.count} pictures are equal after cropping and resizing{assumed}"
    return ""


def _assumed(part: _Part) -> list[str]:
    """Sentences about what was assumed of the pictures."""
    sentences = []
    for mode, (least, greatest) in part.tones.items():
        used = any(stored.removesuffix(", first frame") == mode for stored in part.converted)
        if used and mode != DEEP:
            black, white = tonal_range(least, greatest)
            sentences.append(
                f"{mode}: {black:g} is taken as black and {white:g} as white; values go from {least:g} to {greatest:g}"
            )
    frames = sum(count for mode, count in part.converted.items() if mode.endswith("first frame"))
    if frames:
        sentences.append(f"the first frame is taken of {frames:,} files of several")
    return sentences


def _splits_at(ranges: dict[str, list[int]]) -> Callable[[int], str]:
    """Find the split of a row."""
    return lambda row: next(split for split, (start, stop) in ranges.items() if start <= row < stop)


class Progress(NamedTuple):
    """Files done, total files, and files skipped, of an unfinished preparation."""

    done: int
    total: int
    skipped: int


def progress(out: Path) -> Progress | None:
    """Progress of preparing an NPY file; None if the preparation has not started or is finished."""
    try:
        part = _Part(**read_object(_note(out), most=MOST_LISTS))
    except (OSError, ValueError, TypeError):
        return None
    return Progress(part.done, part.total, len(part.skipped))


def open_cache(path: Path) -> tuple[np.ndarray, Prepared]:
    """Open a cache: its pictures, memory-mapped `(n, size, size, 3)` uint8, and its sidecar.

    Raises:
        ConfigError: the array or the sidecar is missing, damaged or of a newer schema; one line.
    """
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        values = read_object(path.with_suffix(".json"), most=MOST_LISTS)
        if values.get("schema_version", 0) > SCHEMA:
            raise ConfigError(f"data: {path.name} was prepared by a newer program; update this one")
        prepared = Prepared(**values)
    except (OSError, ValueError, TypeError, EOFError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"data: {path.name} is no image cache ({error}); make one by `python -m mvm prepare`"
        ) from None
    if images.dtype != np.uint8 or images.shape != (prepared.count, prepared.size, prepared.size, 3):
        raise ConfigError(
            f"data: {path.name} holds {images.dtype} {images.shape}, its sidecar says otherwise; prepare it again"
        )
    return images, prepared


def image_folder() -> Path:
    """Folder of all image caches."""
    return checkpoints() / ".images"


def image_caches() -> dict[str, Path]:
    """Paths of finished caches by name."""
    return {path.stem: path for path in sorted(image_folder().glob("*.npy")) if path.with_suffix(".json").exists()}


@contextlib.contextmanager
def writing(folder: Path, *, resumes: bool = True) -> Iterator[None]:
    """Name the folder of caches in the system's errors of writing in it.

    Args:
        folder: of caches.
        resumes: what is written stays when the disk is full, which its error then says.

    Raises:
        ConfigError: it cannot be written in, or is no folder; the message says what to do.
        OSError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        named = OSError(error.errno, error.strerror, str(folder))
        if error.errno in (*NO_RIGHT, *NO_FOLDER):
            todo = advice(named) or "; set $MVM_CHECKPOINTS to a folder that can be written"
            raise ConfigError(f"checkpoints: cannot write in {printable(folder)}: {line_of(error)}{todo}") from None
        if error.errno in NO_ROOM:
            raise OSError(error.errno, f"{error.strerror}{'; what is done is kept' * resumes}", str(folder)) from None
        raise


def _note(out: Path) -> Path:
    """Path of the note that saves the progress of preparing `out`."""
    return out.with_name(f".{out.name}.part.json")


def _resume(pixels: Path, note: Path, fingerprint: str, size: int) -> _Part:
    """Resume an unfinished preparation with this fingerprint, or start with an empty pixel file."""
    try:
        part = _Part(**read_object(note, most=MOST_LISTS))
        length = HEADER + part.count * size * size * 3
        if part.fingerprint == fingerprint and pixels.stat().st_size >= length:
            os.truncate(pixels, length)
            return part
    except (OSError, ValueError, TypeError):
        pass
    pixels.write_bytes(bytes(HEADER))
    return _Part(fingerprint)


def _save(file: Any, note: Path, part: _Part, began: float) -> float:
    """Write the pixels to disk, then the note that counts them; returns when to do it again: later if it took long."""
    start = time.monotonic()
    file.flush()
    part.seconds = start - began
    write_atomic(note, json.dumps(vars(part)).encode())
    now = time.monotonic()
    return now + SAVE_EVERY * (1 + 10 * (now - start))


def _header(count: int, size: int) -> bytes:
    """NPY 1.0 header of a `(count, size, size, 3)` uint8 array, `HEADER` bytes long."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {size}, {size}, 3), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"


def _checksum(pixels: Path) -> str:
    """SHA-256 of the pixels after the header."""
    with pixels.open("rb") as file:
        file.seek(HEADER)
        return hashlib.file_digest(file, "sha256").hexdigest()
