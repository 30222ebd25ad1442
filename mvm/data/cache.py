"""Image caches: any collection of pictures as one memory-mapped array, prepared once.

    NAME-64.npy     uint8 (n, 64, 64, 3), RGB; ordinary NPY, `numpy.load(..., mmap_mode="r")` opens it
    NAME-64.json    source, crop, splits, checksum, and every skipped file with the reason

Sources: the official `img_align_celeba.zip`, any other ZIP, a folder of pictures, a folder of Parquet shards with an
`image` column as on public dataset hubs, an LMDB export of LSUN. Nothing is extracted to disk.

Each picture is cropped to its largest centred square (or to the centred `crop` x `crop` pixels) and resized with
antialiasing. JPEGs are decoded at a reduced scale where this loses no detail. The array is written to a temporary file
beside its target and renamed at the end; a killed preparation resumes at its last saved picture.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mvm.errors import ConfigError
from mvm.files import checkpoints, write_atomic

__all__ = [
    "Lmdb",
    "Prepared",
    "Progress",
    "Source",
    "decode",
    "find_partition",
    "image_caches",
    "image_folder",
    "open_cache",
    "open_source",
    "prepare",
    "progress",
]

SCHEMA = 1
HEADER = 128  # bytes before the pixels: an NPY 1.0 header, padded so that the picture count can be written at the end
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
MOST_PIXELS = 64 * 2**20  # larger pictures count as decompression bombs and are never decoded
MOST_BYTES = 128 * 2**20  # per encoded picture
CHUNK = 64  # pictures per task of a worker process
SAVE_EVERY = 2.0  # seconds between two writes of the progress note
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")  # CelebA's official split: NAME 0, 1 or 2
SPLITS = ("train", "valid", "test")
UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError)


# -- sources -----------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """A collection of encoded pictures; `read` is called in worker processes."""

    @property
    def path(self) -> Path: ...

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...


@dataclass(frozen=True)
class Folder:
    """All files with a picture suffix in a folder and its subfolders."""

    path: Path

    def names(self) -> list[str]:
        """Paths relative to the folder, sorted by folder, then by name."""
        names = []
        for root, folders, files in os.walk(self.path):
            folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
            inside = Path(root).relative_to(self.path)
            names += [str(inside / name) for name in sorted(files) if _is_picture(name)]
        return names

    def read(self, name: str) -> bytes:
        """Bytes of a file."""
        path = self.path / name
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"file larger than {MOST_BYTES >> 20} MiB")
        return path.read_bytes()


@dataclass(frozen=True)
class Zip:
    """All members of a ZIP file with a picture suffix."""

    path: Path

    def names(self) -> list[str]:
        """Member names, sorted."""
        return sorted(name for name in _archive(self.path).namelist() if _is_picture(name) and "__MACOSX" not in name)

    def read(self, name: str) -> bytes:
        """Bytes of a member, with its checksum verified."""
        member = _archive(self.path).getinfo(name)
        if member.flag_bits & 1:
            raise ValueError("encrypted")
        if member.file_size > MOST_BYTES:
            raise ValueError(f"file larger than {MOST_BYTES >> 20} MiB")
        return _archive(self.path).read(member)


@dataclass(frozen=True)
class Parquet:
    """Rows of all Parquet shards in a folder; the picture column holds bytes, or a struct with a field `bytes`."""

    path: Path

    def names(self) -> list[str]:
        """SHARD:ROW for every row, in order."""
        from pyarrow.parquet import ParquetFile

        names = []
        for shard in sorted(self.path.rglob("*.parquet")):
            try:
                rows = ParquetFile(shard).metadata.num_rows
            except Exception as error:
                raise ConfigError(f"source: {shard} is no complete Parquet file: {error}") from None
            names += [f"{shard.relative_to(self.path)}:{row}" for row in range(rows)]
        return names

    def read(self, name: str) -> bytes:
        """Encoded picture of a row."""
        shard, row = name.rsplit(":", 1)
        start, values = _row_group(self.path / shard, int(row))
        value = values[int(row) - start].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise ValueError("no picture in this row")
        return value


@dataclass(frozen=True)
class Lmdb:
    """Values of an LMDB environment, as LSUN exports them: each value is a WebP or JPEG file."""

    path: Path

    def names(self) -> list[str]:
        """Keys in hexadecimal, in the environment's order."""
        with _lmdb(self.path).begin(buffers=True) as transaction:
            return [bytes(key).hex() for key, _ in transaction.cursor()]

    def read(self, name: str) -> bytes:
        """Value of a key."""
        with _lmdb(self.path).begin() as transaction:
            value: bytes = transaction.get(bytes.fromhex(name))
            return value


def open_source(path: Path) -> Source:
    """Open the collection at a path: a ZIP file, an LMDB environment, Parquet shards, or a folder of pictures.

    Raises:
        ConfigError: the path does not exist, or is a file but not a ZIP; one line.
    """
    if not path.exists():
        raise ConfigError(f"source: no file or folder {path}")
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise ConfigError(f"source: {path} is no (complete) ZIP file; give a ZIP or a folder")
        return Zip(path)
    if (path / "data.mdb").exists():
        return Lmdb(path)
    if next(path.rglob("*.parquet"), None) is not None:
        return Parquet(path)
    return Folder(path)


def _is_picture(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


@lru_cache(maxsize=2)
def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ConfigError(f"source: {path} is a damaged ZIP file: {error}") from None


@lru_cache(maxsize=2)
def _lmdb(path: Path) -> Any:
    try:
        import lmdb
    except ImportError:
        raise ConfigError("source: an LMDB needs the lmdb package; pip install lmdb") from None
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise ConfigError(f"source: {path} is no LMDB environment: {error}") from None


@lru_cache(maxsize=2)
def _parquet(path: Path) -> tuple[Any, list[int], str]:
    """Open a shard: the file, the first row of each row group, and the name of the picture column."""
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(path)
    starts = np.cumsum([0] + [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]).tolist()
    names = file.schema_arrow.names
    column = next((name for name in ("image", "img", "jpg", "png", "bytes") if name in names), None)
    if column is None:
        raise ConfigError(f"source: {path} has no column of pictures; it has {', '.join(names)}, and needs image")
    return file, starts, column


@lru_cache(maxsize=2)
def _group(path: Path, group: int) -> Any:
    """Picture column of a row group."""
    file, _, column = _parquet(path)
    return file.read_row_group(group, columns=[column]).column(0)


def _row_group(path: Path, row: int) -> tuple[int, Any]:
    """Find the row group that contains a row: the group's first row, and its picture column."""
    starts = _parquet(path)[1]
    group = max(i for i, start in enumerate(starts[:-1]) if start <= row)
    return starts[group], _group(path, group)


# -- decoding ----------------------------------------------------------------------------------------------------------


def decode(content: bytes, size: int, *, crop: int | None = None) -> tuple[np.ndarray, str]:
    """Decode, crop and resize a picture to `(size, size, 3)` uint8 RGB; also returns the mode it was stored in.

    Converts grey, palette, CMYK and 16-bit pictures, composites transparency over white, applies the EXIF rotation.

    Args:
        content: an encoded picture.
        size: height and width of the result in pixels.
        crop: side of the centred square to crop, in pixels; the largest possible when None.

    Raises:
        ValueError: the content is not a picture, truncated, too small or too large; the message gives the reason.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the check below replaces Pillow's, which only warns
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("not a picture") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"truncated or damaged: {error}") from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels: larger than {MOST_PIXELS >> 20} megapixels")
    full_side = min(width, height) if crop is None else crop
    if full_side > min(width, height):
        raise ValueError(f"{width} x {height} pixels: smaller than the crop of {crop}")
    if full_side < size:
        raise ValueError(f"{width} x {height} pixels: smaller than {size}")
    mode = image.mode
    try:
        scale = full_side / size / 2  # decode at twice the final size or more, so that the resize still antialiases
        image.draft("RGB", (max(1, int(width / scale)), max(1, int(height / scale))))  # JPEG only
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise ValueError(f"truncated or damaged: {error}") from None
    side = min(round(full_side * image.width / width), *image.size)  # draft mode rounds width and height up
    upright = _rgb(image)
    with contextlib.suppress(Exception):  # a damaged EXIF block makes the parser raise arbitrary exceptions
        upright = ImageOps.exif_transpose(upright)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    square = upright.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square), mode


def _rgb(image: Any) -> Any:
    """Convert a picture of any mode to RGB, with transparency composited over white."""
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


# -- preparing a cache -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """Sidecar of a cache: source, contents and checksum.

    Attributes:
        source: path of the collection.
        kind: form of the collection: folder, zip, parquet or lmdb.
        size: side of each cached picture in pixels.
        crop: side of the centred square cropped from each original, in pixels; None for the largest possible.
        count: number of pictures in the cache.
        splits: rows of each split, {name: [start, stop]}; only train if the source has no official splits.
        skipped: [file, reason] for each file that is not in the cache.
        converted: number of pictures converted to RGB, by stored mode.
        sha256: checksum of the pixels.
        seconds: duration of the preparation.
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

    @property
    def reasons(self) -> dict[str, int]:
        """Number of skipped files by kind of reason, largest first."""
        return dict(Counter(reason.split(":")[-1].strip() if "pixels:" in reason else reason.split(":")[0]
                            for _, reason in self.skipped).most_common())  # fmt: skip


@dataclass
class _Part:
    """Progress of an unfinished preparation; on resume, the pixel file is truncated to `count` pictures."""

    fingerprint: str
    total: int = 0
    done: int = 0
    count: int = 0
    seconds: float = 0.0
    skipped: list[list[str]] = field(default_factory=list)
    converted: dict[str, int] = field(default_factory=dict)
    splits: dict[str, list[int]] = field(default_factory=dict)


def prepare(
    source: Source,
    out: Path,
    *,
    size: int,
    crop: int | None = None,
    partition: Path | None = None,
    processes: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Decode every picture of a source into one cache.

    Args:
        source: collection of encoded pictures.
        out: NPY file to write; the sidecar is the same path with the suffix .json.
        size: side of each cached picture in pixels: a power of two from 8 to 512, as the networks require.
        crop: side of the centred square to crop from each picture, in pixels; the largest possible when None.
        partition: CelebA's `list_eval_partition.txt`; files not listed in it are left out.
        processes: number of decoding processes; the number of cores when None.
        on_progress: called with the number of files done and the total.

    Raises:
        ConfigError: the source has no usable picture, or `size` or `crop` is invalid.
        OSError: the disk is full; finished pictures are kept, and the same call resumes.
    """
    if not 8 <= size <= 512 or size & (size - 1):
        raise ConfigError(f"size: pictures of {size} pixels; give a power of two from 8 to 512")
    if crop is not None and crop < size:
        raise ConfigError(f"crop: {crop} centred pixels are fewer than the size of {size}")
    names, ranges = _in_splits(source, partition)
    if not names:
        raise ConfigError(f"source: no picture in {source.path}; known suffixes: {' '.join(sorted(SUFFIXES))}")
    out.parent.mkdir(parents=True, exist_ok=True)
    pixels, note = out.with_name(f".{out.name}.part"), _note(out)
    request = [str(source.path.resolve()), size, crop, names, ranges]
    fingerprint = hashlib.sha256(json.dumps(request).encode()).hexdigest()
    part = _resume(pixels, note, fingerprint, size)
    part.total = len(names)
    began = time.monotonic() - part.seconds
    with pixels.open("r+b") as file:
        saved = _save(file, note, part, began)
        file.seek(HEADER + part.count * size * size * 3)
        for split, images, skipped, converted in _decoded(source, names, ranges, part.done, size, crop, processes):
            file.write(images.tobytes())
            begin, end = part.splits.get(split, [part.count, part.count])
            part.splits[split] = [begin, end + len(images)]
            part.done += len(images) + len(skipped)
            part.count += len(images)
            part.skipped += skipped
            for mode, count in converted.items():
                part.converted[mode] = part.converted.get(mode, 0) + count
            on_progress(part.done, len(names))
            if time.monotonic() - saved > SAVE_EVERY:
                saved = _save(file, note, part, began)
        _save(file, note, part, began)
        if not part.count:
            name, reason = part.skipped[0]
            raise ConfigError(f"source: none of {len(names)} files could be used; the first, {name}: {reason}")
        file.seek(0)
        file.write(_header(part.count, size))
        file.flush()
        os.fsync(file.fileno())
    prepared = Prepared(
        str(source.path.resolve()), type(source).__name__.lower(), size, crop, part.count, part.splits, part.skipped,
        part.converted, _checksum(pixels), round(time.monotonic() - began, 1),
    )  # fmt: skip
    write_atomic(out.with_suffix(".json"), json.dumps(asdict(prepared), indent=1).encode())
    pixels.replace(out)
    note.unlink()
    return prepared


class Progress(NamedTuple):
    """Files done, total files, and files skipped, of an unfinished preparation."""

    done: int
    total: int
    skipped: int


def progress(out: Path) -> Progress | None:
    """Progress of preparing an NPY file; None if the preparation has not started or is finished."""
    try:
        part = _Part(**json.loads(_note(out).read_text(encoding="utf-8")))
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
        values = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
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


def find_partition(source: Path) -> Path | None:
    """Find CelebA's official split file where the download puts it: in the source folder, beside it, or in Eval/."""
    folders = [source, source / "Eval", source.parent, source.parent / "Eval", source.parent.parent / "Eval"]
    return next((f / name for f in folders for name in PARTITIONS if (f / name).is_file()), None)


def image_folder() -> Path:
    """Folder of all image caches."""
    return checkpoints() / ".images"


def image_caches() -> dict[str, Path]:
    """Paths of finished caches by name."""
    return {path.stem: path for path in sorted(image_folder().glob("*.npy")) if path.with_suffix(".json").exists()}


def _in_splits(source: Source, partition: Path | None) -> tuple[list[str], dict[str, list[int]]]:
    """File names in the order of the cache, and the rows [start, stop] of each split in this order."""
    names = source.names()
    if partition is None:
        return names, {"train": [0, len(names)]}
    try:
        lines = [
            line.replace(",", " ").split()
            for line in partition.read_text(encoding="utf-8-sig").splitlines()
            if line.strip()
        ]
        header = lines[:1] == [["image_id", "partition"]]  # the CSV form of the list has a header
        split_of = {name: int(split) for name, split in lines[header:]}
        if not set(split_of.values()) <= {0, 1, 2}:
            raise ValueError("a split is 0, 1 or 2")
    except (OSError, ValueError) as error:
        raise ConfigError(f"partition: {partition} has no lines of NAME 0|1|2: {error}") from None
    ordered: list[str] = []
    ranges: dict[str, list[int]] = {}
    for number, split in enumerate(SPLITS):
        in_split = [name for name in names if split_of.get(Path(name).name) == number]
        ranges[split] = [len(ordered), len(ordered) + len(in_split)]
        ordered += in_split
    if names and not ordered:
        raise ConfigError(f"partition: {partition} names none of the {len(names)} files")
    return ordered, ranges


def _decoded(
    source: Source,
    names: Sequence[str],
    ranges: dict[str, list[int]],
    done: int,
    size: int,
    crop: int | None,
    processes: int | None,
) -> Iterator[tuple[str, np.ndarray, list[list[str]], dict[str, int]]]:
    """Yield (split, *`_chunk`) for the files after the first `done`, in order; worker processes decode ahead."""
    chunks = [
        (split, names[i : min(i + CHUNK, stop)])
        for split, (start, stop) in ranges.items()
        for i in range(max(start, done), stop, CHUNK)
    ]
    count = min(processes or os.cpu_count() or 1, len(chunks))
    if count <= 1:
        yield from ((split, *_chunk(source, chunk, size, crop)) for split, chunk in chunks)
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        begun: deque[tuple[str, Future[Any]]] = deque()
        for split, chunk in chunks:
            begun.append((split, pool.submit(_chunk, source, chunk, size, crop)))
            if len(begun) > 4 * count:
                oldest, future = begun.popleft()
                yield oldest, *future.result()
        while begun:
            oldest, future = begun.popleft()
            yield oldest, *future.result()


def _chunk(
    source: Source, names: Sequence[str], size: int, crop: int | None
) -> tuple[np.ndarray, list[list[str]], dict[str, int]]:
    """Decode files: pictures `(n, size, size, 3)` uint8, skipped [file, reason], and counts of modes except RGB."""
    images: list[np.ndarray] = []
    skipped: list[list[str]] = []
    modes: Counter[str] = Counter()
    for name in names:
        try:
            image, mode = decode(source.read(name), size, crop=crop)
        except ConfigError:
            raise
        except UNREADABLE as error:
            skipped.append([name, " ".join(str(error).split()) or type(error).__name__])
            continue
        images.append(image)
        modes[mode] += 1
    modes.pop("RGB", None)
    return np.array(images, dtype=np.uint8).reshape(-1, size, size, 3), skipped, dict(modes)


def _note(out: Path) -> Path:
    """Path of the note that saves the progress of preparing `out`."""
    return out.with_name(f".{out.name}.part.json")


def _resume(pixels: Path, note: Path, fingerprint: str, size: int) -> _Part:
    """Resume an unfinished preparation with this fingerprint, or start with an empty pixel file."""
    try:
        part = _Part(**json.loads(note.read_text(encoding="utf-8")))
        length = HEADER + part.count * size * size * 3
        if part.fingerprint == fingerprint and pixels.stat().st_size >= length:
            os.truncate(pixels, length)
            return part
    except (OSError, ValueError, TypeError):
        pass
    pixels.write_bytes(bytes(HEADER))
    return _Part(fingerprint)


def _save(file: Any, note: Path, part: _Part, began: float) -> float:
    """Write the pixels to disk, then the note that counts them; returns the current time."""
    file.flush()
    part.seconds = time.monotonic() - began
    write_atomic(note, json.dumps(asdict(part)).encode())
    return time.monotonic()


def _header(count: int, size: int) -> bytes:
    """NPY 1.0 header of a `(count, size, size, 3)` uint8 array, `HEADER` bytes long."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {size}, {size}, 3), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"


def _checksum(pixels: Path) -> str:
    """SHA-256 of the pixels after the header."""
    with pixels.open("rb") as file:
        file.seek(HEADER)
        return hashlib.file_digest(file, "sha256").hexdigest()
