"""Image caches: any collection of pictures as one memory-mapped array, prepared once.

    NAME-64.npy     uint8 (n, 64, 64, 3), RGB; ordinary NPY, `numpy.load(..., mmap_mode="r")` opens it
    NAME-64.json    where it came from, crop, splits, checksum, and every file that was skipped, with the reason

Sources: the official `img_align_celeba.zip`, any other ZIP, a folder of pictures, a folder of Parquet shards with an
`image` column as published on the usual hubs, an LMDB export of LSUN. Nothing is extracted to the disk.

Each picture: the largest centred square (or the centred `crop` pixels), then an antialiased resize. JPEGs are decoded
at a reduced scale where that loses nothing. The array grows beside its place and is renamed into it at the end; a
preparing that was killed goes on where it was.
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
HEADER = 128  # bytes before the pixels: an NPY header of version 1.0, padded so that the count can be written last
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
MOST_PIXELS = 64 * 2**20  # a larger picture is taken for a bomb, and is never decoded
MOST_BYTES = 128 * 2**20  # of one file
CHUNK = 64  # pictures that one worker decodes at a time
SAVE_EVERY = 2.0  # seconds between notes of how far the array has grown
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
    """Every file with a picture's ending in a folder and its subfolders."""

    path: Path

    def names(self) -> list[str]:
        """Paths inside the folder, sorted."""
        found = []
        for root, folders, files in os.walk(self.path):
            folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
            inside = Path(root).relative_to(self.path)
            found += [str(inside / name) for name in sorted(files) if _is_picture(name)]
        return found

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        path = self.path / name
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"file larger than {MOST_BYTES >> 20} MiB")
        return path.read_bytes()


@dataclass(frozen=True)
class Zip:
    """Every member with a picture's ending in a ZIP file."""

    path: Path

    def names(self) -> list[str]:
        """Members, sorted."""
        return sorted(name for name in _archive(self.path).namelist() if _is_picture(name) and "__MACOSX" not in name)

    def read(self, name: str) -> bytes:
        """The member's bytes; its checksum is verified."""
        member = _archive(self.path).getinfo(name)
        if member.flag_bits & 1:
            raise ValueError("encrypted")
        if member.file_size > MOST_BYTES:
            raise ValueError(f"file larger than {MOST_BYTES >> 20} MiB")
        return _archive(self.path).read(member)


@dataclass(frozen=True)
class Parquet:
    """Rows of the shards in a folder; a picture is a binary column, or a struct with `bytes`."""

    path: Path

    def names(self) -> list[str]:
        """SHARD:ROW of every row, in order."""
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
        """The encoded picture in that row."""
        shard, row = name.rsplit(":", 1)
        first, values = _row_group(self.path / shard, int(row))
        value = values[int(row) - first].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise ValueError("no picture in this row")
        return value


@dataclass(frozen=True)
class Lmdb:
    """Values of an LMDB environment: LSUN's export, each a WebP or JPEG file."""

    path: Path

    def names(self) -> list[str]:
        """Keys, as hexadecimal, in the environment's order."""
        with _lmdb(self.path).begin(buffers=True) as transaction:
            return [bytes(key).hex() for key, _ in transaction.cursor()]

    def read(self, name: str) -> bytes:
        """The value of a key."""
        with _lmdb(self.path).begin() as transaction:
            value: bytes = transaction.get(bytes.fromhex(name))
            return value


def open_source(path: Path) -> Source:
    """The collection at a path, by what is found there.

    Raises:
        ConfigError: there is nothing that holds pictures; one line.
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
    """An open shard, the first row of each of its row groups, and the name of its picture column."""
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
    file, _, column = _parquet(path)
    return file.read_row_group(group, columns=[column]).column(0)


def _row_group(path: Path, row: int) -> tuple[int, Any]:
    """The first row of the group that holds a row, and the group's pictures."""
    starts = _parquet(path)[1]
    group = max(i for i, start in enumerate(starts[:-1]) if start <= row)
    return starts[group], _group(path, group)


# -- one picture -------------------------------------------------------------------------------------------------------


def decode(content: bytes, size: int, *, crop: int | None = None) -> tuple[np.ndarray, str]:
    """A picture as `(size, size, 3)` uint8 RGB, and the mode it was stored in.

    Grey, palette, CMYK and 16-bit pictures are converted, transparency is laid on white, EXIF rotation is applied.

    Args:
        content: an encoded picture.
        size: pixels each way of the result.
        crop: take this many centred pixels each way; the largest centred square when None.

    Raises:
        ValueError: what is wrong with it: not a picture, truncated, too small, too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the limit below comes first, and is an error rather than a warning
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("not a picture") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"truncated or damaged: {error}") from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels: larger than {MOST_PIXELS >> 20} megapixels")
    wanted = min(width, height) if crop is None else crop
    if wanted > min(width, height):
        raise ValueError(f"{width} x {height} pixels: smaller than the crop of {crop}")
    if wanted < size:
        raise ValueError(f"{width} x {height} pixels: smaller than {size}")
    mode = image.mode
    try:
        scale = wanted / size / 2  # decoded at no less than twice the size, so that the resize still antialiases
        image.draft("RGB", (max(1, int(width / scale)), max(1, int(height / scale))))  # JPEG only
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise ValueError(f"truncated or damaged: {error}") from None
    side = min(round(wanted * image.width / width), *image.size)  # a draft rounds both of its sides up
    upright = _rgb(image)
    with contextlib.suppress(Exception):  # a damaged EXIF block, whose parser raises whatever it meets
        upright = ImageOps.exif_transpose(upright)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    square = upright.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square), mode


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


# -- all of them -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """The sidecar of a cache.

    Attributes:
        source, kind: path and form of what it was made from.
        size, crop: pixels each way of a cached picture, and of the square taken from each original (None: the largest).
        count: pictures in the cache.
        splits: {name: [first, last + 1]}; one split, train, where the source has no official one.
        skipped: [file, reason] of every file that is not in the cache.
        converted: how many pictures were stored in another mode than RGB, by mode.
        sha256: of the pixels.
        seconds: it took.
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
        """How many files were skipped for each kind of reason."""
        return dict(Counter(reason.split(":")[-1].strip() if "pixels:" in reason else reason.split(":")[0]
                            for _, reason in self.skipped).most_common())  # fmt: skip


@dataclass
class _Part:
    """How far a preparing has come; the file of pixels may be longer, and is cut back to this on resuming."""

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
        source: where the pictures are.
        out: the NPY file to make; its sidecar has the ending .json.
        size: pixels each way, a power of two from 8 to 512, as the networks take it.
        crop: centred pixels taken from each; the largest centred square when None.
        partition: CelebA's `list_eval_partition.txt`; files that it does not name are left out.
        processes: that decode; as many as there are cores when None.
        on_progress: called with files done and files in all.

    Raises:
        ConfigError: the source holds no usable picture, or the size cannot be.
        OSError: the disk is full; what was done is kept, and the same call goes on.
    """
    if not 8 <= size <= 512 or size & (size - 1):
        raise ConfigError(f"size: pictures of {size} pixels; give a power of two from 8 to 512")
    if crop is not None and crop < size:
        raise ConfigError(f"crop: {crop} centred pixels are fewer than the size of {size}")
    names, ranges = _in_splits(source, partition)
    if not names:
        raise ConfigError(f"source: no picture in {source.path}; endings known are {' '.join(sorted(SUFFIXES))}")
    out.parent.mkdir(parents=True, exist_ok=True)
    pixels, note = out.with_name(f".{out.name}.part"), _note(out)
    wanted = [str(source.path.resolve()), size, crop, names, ranges]
    fingerprint = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
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
            first, reason = part.skipped[0]
            raise ConfigError(f"source: none of {len(names)} files could be used; the first, {first}: {reason}")
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
    """How far a preparing has come: files done, of how many, and how many of them were skipped."""

    done: int
    total: int
    skipped: int


def progress(out: Path) -> Progress | None:
    """Of the preparing of this NPY file; None where none has begun or it is finished."""
    try:
        part = _Part(**json.loads(_note(out).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return Progress(part.done, part.total, len(part.skipped))


def open_cache(path: Path) -> tuple[np.ndarray, Prepared]:
    """A cache's pictures, memory-mapped `(n, size, size, 3)` uint8, and its sidecar.

    Raises:
        ConfigError: one of the two is missing, damaged or of a newer schema; one line.
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
        raise ConfigError(f"data: {path.name} holds {images.dtype} {images.shape}, its sidecar says otherwise")
    return images, prepared


def find_partition(source: Path) -> Path | None:
    """CelebA's official split near a source, as it lies in its download: beside it, in it, or in Eval/."""
    folders = [source, source / "Eval", source.parent, source.parent / "Eval", source.parent.parent / "Eval"]
    return next((f / name for f in folders for name in PARTITIONS if (f / name).is_file()), None)


def image_folder() -> Path:
    """Where caches lie."""
    return checkpoints() / ".images"


def image_caches() -> dict[str, Path]:
    """Finished caches, by name."""
    return {path.stem: path for path in sorted(image_folder().glob("*.npy")) if path.with_suffix(".json").exists()}


def _in_splits(source: Source, partition: Path | None) -> tuple[list[str], dict[str, list[int]]]:
    """Files in the order of the cache, and the range of each split in that order."""
    names = source.names()
    if partition is None:
        return names, {"train": [0, len(names)]}
    try:
        lines = [line.replace(",", " ").split() for line in partition.read_text().splitlines() if line.strip()]
        header = lines[:1] == [["image_id", "partition"]]  # of the same list as CSV
        split_of = {name: int(split) for name, split in lines[header:]}
        if not set(split_of.values()) <= {0, 1, 2}:
            raise ValueError("a split is 0, 1 or 2")
    except (OSError, ValueError) as error:
        raise ConfigError(f"partition: {partition} has no lines of NAME 0|1|2: {error}") from None
    ordered: list[str] = []
    ranges: dict[str, list[int]] = {}
    for number, split in enumerate(SPLITS):
        own = [name for name in names if split_of.get(Path(name).name) == number]
        ranges[split] = [len(ordered), len(ordered) + len(own)]
        ordered += own
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
    """Chunks of one split each, in order, decoded by worker processes some way ahead."""
    chunks = [
        (split, names[i : min(i + CHUNK, last)])
        for split, (first, last) in ranges.items()
        for i in range(max(first, done), last, CHUNK)
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
    return out.with_name(f".{out.name}.part.json")


def _resume(pixels: Path, note: Path, fingerprint: str, size: int) -> _Part:
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
    """Pixels first, then the note that counts them."""
    file.flush()
    part.seconds = time.monotonic() - began
    write_atomic(note, json.dumps(asdict(part)).encode())
    return time.monotonic()


def _header(count: int, size: int) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {size}, {size}, 3), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"


def _checksum(pixels: Path) -> str:
    with pixels.open("rb") as file:
        file.seek(HEADER)
        return hashlib.file_digest(file, "sha256").hexdigest()
