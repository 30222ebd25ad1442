"""Pictures stored as arrays: NPY, NPZ, IDX (MNIST, Fashion-MNIST) and CIFAR's binary version; NPY and IDX also as .gz.

    NPY, NPZ    (N, H, W) or (N, H, W, C), or (N, C, H, W), of C = 1 to 4 channels; integers, floats or booleans
    IDX         0 0 TYPE NDIM, the lengths as big-endian int32, the values
    CIFAR       records of 1 label (CIFAR-10) or 2 labels (CIFAR-100) and 3 x 32 x 32 uint8

What a file holds is recognised by its content. A row is read by its offset, so that memory holds one picture at a time
however large the file is, or claims to be. Pickled arrays and CIFAR's Python version are never opened.
"""

from __future__ import annotations

import gzip
import math
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from mvm.data.picture import MOST_BYTES
from mvm.data.sources import MOST_FILES, MOST_ROWS, Listing, is_picture, split_of, walk
from mvm.errors import ConfigError, line_of
from mvm.words import printable

__all__ = ["Arrays", "holds_arrays"]

NPY = b"\x93NUMPY"
GZIP = b"\x1f\x8b"
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
CIFAR = {1: (10,), 2: (20, 100)}  # numbers of classes that each label of a record has
CIFAR_SIDE = 32


@dataclass(frozen=True)
class _Block:
    """Where the pictures of one array lie.

    Attributes:
        member: member of an NPZ; empty for other files.
        shape: shape of a row.
        rows: number of rows.
        dtype: of its values.
        offset: bytes before the values of the first row.
        stride: bytes from one row to the next.
    """

    member: str
    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    stride: int


@dataclass(frozen=True)
class Arrays:
    """Rows of an array file, or of all those in a folder."""

    path: Path

    def list(self) -> Listing:
        """FILE:ROW, or FILE:MEMBER:ROW in an NPZ, for every picture; splits by the names of files and members."""
        listing = Listing(splits=[])
        assert listing.splits is not None
        single = self.path.is_file()
        names = [self.path.name] if single else list(walk(self.path, listing.passed))
        for name in names:
            if name.endswith(".gz") and name.removesuffix(".gz") in names:
                listing.passed.append([name, f"the same as {name.removesuffix('.gz')}"])
                continue
            try:
                blocks, others = _blocks(self._file(name))
            except ValueError as error:
                if single:
                    raise ConfigError(f"source: {printable(self.path)}: {error}") from None
                listing.passed.append([name, str(error)])
                continue
            listing.passed += [[f"{name}:{member}", reason] for member, reason in others]
            for block in blocks:
                inside = f"{name}:{block.member}" if block.member else name
                if len(listing.names) + block.rows > MOST_ROWS:
                    raise ConfigError(
                        f"source: {printable(name)} takes it beyond {MOST_ROWS:,} pictures; prepare a part"
                    )
                listing.names += [f"{inside}:{row}" for row in range(block.rows)]
                listing.splits += [split_of(f"{block.member} {name}")] * block.rows
        return listing

    def read(self, name: str) -> np.ndarray:
        """Values of a picture, `(H, W)` or `(H, W, C)`."""
        name, row = name.rsplit(":", 1)
        path, member = self._file(name), ""
        if not path.is_file():
            name, member = name.rsplit(":", 1)
            path = self._file(name)
        block = next(block for block in _blocks(path)[0] if block.member == member)
        stream = _stream(path, member)
        stream.seek(block.offset + int(row) * block.stride)
        length = math.prod(block.shape) * block.dtype.itemsize
        content = stream.read(length)
        if len(content) < length:
            raise ValueError("truncated or damaged: the file ends before this picture")
        values = np.frombuffer(content, block.dtype).reshape(block.shape)
        return np.moveaxis(values, 0, -1) if _channels_first(block.shape) else values

    def _file(self, name: str) -> Path:
        single = self.path.parent / name
        return single if self.path.is_file() else self.path / name


def holds_arrays(path: Path) -> bool:
    """Whether a file, or a folder of at most `MOST_FILES`, holds pictures as arrays, and no files of pictures."""
    if path.is_file():
        return _form(path) is not None
    names = list(islice(walk(path, []), MOST_FILES + 1))
    if len(names) > MOST_FILES or any(is_picture(path / name) for name in names):
        return False
    return any(_has_blocks(path / name) for name in names)


def _has_blocks(path: Path) -> bool:
    try:
        return bool(_blocks(path)[0])
    except ValueError:
        return False


def _form(path: Path) -> str | None:
    """Form of an array file: npy, npz, idx, cifar or pickle; None for any other file."""
    try:
        with _opened(path) as file:
            head = file.read(8)
            if head[:6] == NPY:
                return "npy"
            if head[:2] == b"\0\0" and head[2] in IDX_TYPES and 1 <= head[3] <= 4:
                return "idx"
            if head[:1] == b"\x80" and head[1] in range(2, 6):
                return "pickle"
        if head[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                return "npz" if any(name.endswith(".npy") for name in archive.namelist()[:1]) else None
        return "cifar" if _cifar(path) else None
    except Exception:  # of gzip and zipfile
        return None


@lru_cache(maxsize=256)
def _blocks(path: Path) -> tuple[list[_Block], list[tuple[str, str]]]:
    """Arrays of pictures in a file, and [member, reason] of the others.

    Raises:
        ValueError: it holds none; the message gives the reason.
    """
    form = _form(path)
    if form is None:
        raise ValueError("not a picture")
    if form == "pickle":
        raise ValueError("a Python pickle, which is never opened; download the binary version")
    if form == "cifar":
        return [_cifar_block(path)], []
    members = [""]
    if form == "npz":
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
    blocks, others = [], []
    for member in members:
        try:
            header = _idx_header if form == "idx" else _npy_header
            with _opened(path, member) as stream:
                blocks.append(_checked(header(stream, member), stream))
        except (SyntaxError, TokenError):
            others.append((member, "damaged: its header cannot be read"))
        except Exception as error:  # of NumPy, zipfile and zlib
            others.append((member, line_of(error)))
    if not blocks:
        raise ValueError("; ".join(f"{member}: {reason}" if member else reason for member, reason in others))
    return blocks, others


def _npy_header(file: IO[bytes], member: str) -> _Block:
    """Read the header of an NPY file; rows are its first dimension."""
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never opened")
    if fortran and len(shape) > 2:
        raise ValueError("it is saved in Fortran order; save numpy.ascontiguousarray of it")
    length = math.prod(shape[1:]) * dtype.itemsize
    return _Block(member, shape[0] if shape else 0, shape[1:], dtype, file.tell(), length)


def _idx_header(file: IO[bytes], member: str) -> _Block:
    """Read the header of an IDX file; rows are its first dimension."""
    head = file.read(4)
    shape = [int.from_bytes(file.read(4), "big") for _ in range(head[3])]
    dtype = np.dtype(IDX_TYPES[head[2]])
    return _Block(member, shape[0], tuple(shape[1:]), dtype, file.tell(), math.prod(shape[1:]) * dtype.itemsize)


def _checked(block: _Block, stream: IO[bytes]) -> _Block:
    """Check that rows are pictures, and that the file holds the last one; compressed data is read to its end for this.

    Raises:
        ValueError: they are none, or the last one is missing.
    """
    whole = f"shape {(block.rows, *block.shape)}"
    if block.dtype.kind not in "fiub":
        raise ValueError(f"{block.dtype} values; pictures are integers, floats or booleans")
    is_flat = len(block.shape) == 2
    if not (is_flat or (len(block.shape) == 3 and _channels(block.shape))) or not block.stride or not block.rows:
        raise ValueError(f"no pictures: {whole} is not (N, H, W) or (N, H, W, C) of 1 to 4 channels")
    if block.stride > MOST_BYTES:
        raise ValueError(f"{whole}: pictures larger than {MOST_BYTES >> 20} MiB")
    if block.rows > MOST_ROWS:
        raise ValueError(f"{whole}: more than {MOST_ROWS:,} pictures")
    stream.seek(block.offset + (block.rows - 1) * block.stride)
    if len(stream.read(block.stride)) < block.stride:
        raise ValueError(f"{whole}: truncated; the file ends before its last picture")
    return block


def _channels(shape: tuple[int, ...]) -> int:
    """Channels of a picture, (H, W, C) or (C, H, W); 0 if neither holds 1 to 4."""
    return next((n for n in (shape[-1], shape[0]) if 1 <= n <= 4), 0)


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and not 1 <= shape[-1] <= 4


def _cifar(path: Path) -> tuple[int, int] | None:
    """Labels of a record, and number of records, of CIFAR's binary version; None for any other file."""
    pixels = 3 * CIFAR_SIDE**2
    with path.open("rb") as file:
        if file.read(2) == GZIP:
            return None
    length = path.stat().st_size
    for labels, classes in CIFAR.items():
        record = labels + pixels
        if length and length % record == 0:
            content = np.memmap(path, np.uint8, "r", shape=(length // record, record))
            if all((content[:, i] < count).all() for i, count in enumerate(classes)):
                return labels, len(content)
    return None


def _cifar_block(path: Path) -> _Block:
    found = _cifar(path)
    assert found is not None
    labels, rows = found
    shape = (3, CIFAR_SIDE, CIFAR_SIDE)
    return _Block("", rows, shape, np.dtype("u1"), labels, labels + math.prod(shape))


def _opened(path: Path, member: str = "") -> IO[bytes]:
    """Open a file or a member of an NPZ, decompressed."""
    if member:
        with zipfile.ZipFile(path) as archive:  # its file stays open until the member is closed
            return archive.open(member)
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]


_reading: dict[tuple[Path, str], IO[bytes]] = {}  # the one stream that this process keeps open


def _stream(path: Path, member: str) -> IO[bytes]:
    """A file or a member of an NPZ, decompressed; kept open, so that reading rows in order decompresses each once."""
    if (path, member) not in _reading:
        for stream in _reading.values():
            stream.close()
        _reading.clear()
        _reading[path, member] = _opened(path, member)
    return _reading[path, member]
