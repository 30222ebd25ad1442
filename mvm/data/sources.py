"""Collections of pictures: a folder, a ZIP, Parquet shards, an LMDB. Nothing is extracted to disk.

    listing = source.list()      names of the pictures, by split, and of the files passed over, with the reasons
    source.read(name)            bytes of a file, or values of a row of an array; called in worker processes

Every file is looked at, whatever its name, and links are followed. Arrays are sources, too: `mvm.data.arrays`.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from mvm.data.picture import HEAD, MOST_BYTES, recognise
from mvm.errors import ConfigError, line_of
from mvm.words import printable

__all__ = [
    "SPLITS",
    "Folder",
    "Listing",
    "Lmdb",
    "Parquet",
    "Source",
    "Zip",
    "holds_rows",
    "is_picture",
    "split_of",
    "walk",
]

SPLITS = ("train", "valid", "test")
SPLIT_WORDS = {"train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid",
               "test": "test", "testing": "test", "t10k": "test"}  # fmt: skip
MOST_GROUP = 512 * 2**20  # bytes of a Parquet row group, which is read as a whole
MOST_ROWS = 10**7  # pictures of a source
MOST_FILES = 100  # of a folder that are looked into, to find out what it holds
COLUMNS = ("image", "img", "jpg", "png", "webp", "bytes", "pixels")  # of pictures, in Parquet


@dataclass
class Listing:
    """What a source holds.

    Attributes:
        names: unique names of the pictures, as `Source.read` takes them.
        passed: [file, reason] for each file that is passed over.
        splits: split of each name, where the source itself has them, such as in the names of Parquet shards.
        titles: file name of each name, where it is not the name itself; official lists name these.
    """

    names: list[str] = field(default_factory=list)
    passed: list[list[str]] = field(default_factory=list)
    splits: list[str] | None = None
    titles: list[str] | None = None


class Source(Protocol):
    """A collection of pictures; `read` is called in worker processes."""

    @property
    def path(self) -> Path: ...

    def list(self) -> Listing: ...
    def read(self, name: str) -> bytes | np.ndarray: ...


@dataclass(frozen=True)
class Folder:
    """All files in a folder and its subfolders."""

    path: Path

    def list(self) -> Listing:
        """Paths relative to the folder, sorted by folder, then by name."""
        listing = Listing()
        listing.names = list(walk(self.path, listing.passed))
        return listing

    def read(self, name: str) -> bytes:
        """Bytes of a file."""
        path = self.path / name
        with path.open("rb") as file:
            return _content(file, os.fstat(file.fileno()).st_size)


@dataclass(frozen=True)
class Zip:
    """All members of a ZIP file."""

    path: Path

    def list(self) -> Listing:
        """Member names, sorted."""
        listing = Listing()
        for name in sorted(set(_archive(self.path).namelist())):
            inside = Path(name).parts
            if name.endswith("/"):
                continue
            if any(part.startswith(".") and part.strip(".") for part in inside) or "__MACOSX" in inside:
                listing.passed.append([name, "hidden"])
            else:
                listing.names.append(name)
        return listing

    def read(self, name: str) -> bytes:
        """Bytes of a member, with its checksum verified."""
        member = _archive(self.path).getinfo(name)
        if member.flag_bits & 1:
            raise ValueError("encrypted")
        with _archive(self.path).open(member) as file:
            return _content(file, member.file_size)

    def text(self, names: Iterable[str]) -> tuple[str, bytes] | None:
        """Path in the archive, and content, of the first member with one of these file names; None without any."""
        for name in sorted(_archive(self.path).namelist()):
            if Path(name).name in names:
                try:
                    with _archive(self.path).open(name) as file:
                        return name, file.read(MOST_BYTES)
                except Exception as error:
                    raise ConfigError(f"partition: {printable(self.path)}/{name}: {line_of(error)}") from None
        return None


@dataclass(frozen=True)
class Parquet:
    """Rows of a Parquet file, or of all those in a folder; the picture column holds bytes, or a struct with `bytes`."""

    path: Path

    def list(self) -> Listing:
        """SHARD:ROW for every row; splits by the names of the shards, titles by the field `path` of the struct."""
        listing = Listing(splits=[], titles=[])
        assert listing.splits is not None
        assert listing.titles is not None
        single = self.path.is_file()
        for name in [self.path.name] if single else walk(self.path, listing.passed):
            shard = self._shard(name)
            if not single and not name.endswith(".parquet"):
                listing.passed.append([name, "not a Parquet file"])
                continue
            file, _, column = _parquet(shard)
            if not column:
                has = ", ".join(file.schema_arrow.names)
                raise ConfigError(
                    f"source: {printable(shard)} has no column of pictures; it has {has}, and needs image"
                )
            rows = file.metadata.num_rows
            if len(listing.names) + rows > MOST_ROWS:
                raise ConfigError(f"source: {printable(shard)} takes it beyond {MOST_ROWS:,} rows; prepare a part")
            listing.names += [f"{name}:{row}" for row in range(rows)]
            listing.splits += [split_of(shard.name)] * rows
            listing.titles += _paths(file, column)
        return listing

    def read(self, name: str) -> bytes:
        """Encoded picture of a row."""
        shard, row = name.rsplit(":", 1)
        start, values = _row_group(self._shard(shard), int(row))
        value = values[int(row) - start].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise ValueError("no picture in this row")
        return bytes(_within(value))

    def _shard(self, name: str) -> Path:
        return self.path if self.path.is_file() else self.path / name


@dataclass(frozen=True)
class Lmdb:
    """Values of an LMDB environment, as LSUN exports them: each value is a WebP or JPEG file."""

    path: Path

    def list(self) -> Listing:
        """Keys in hexadecimal, in the environment's order."""
        with _lmdb(self.path).begin(buffers=True) as transaction:
            return Listing([bytes(key).hex() for key, _ in transaction.cursor()])

    def read(self, name: str) -> bytes:
        """Value of a key."""
        with _lmdb(self.path).begin(buffers=True) as transaction:
            return bytes(_within(transaction.get(bytes.fromhex(name))))


def walk(folder: Path, passed: list[list[str]]) -> Iterator[str]:
    """Yield the regular files below a folder, relative to it; its own files first, each folder sorted by name.

    Links are followed; a folder that contains itself is entered once.

    Args:
        folder: to walk.
        passed: receives [path, reason] for whatever is passed over: hidden, no regular file, not readable.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            known = (folder / inside).stat()
            if (known.st_dev, known.st_ino) in entered:
                passed.append([inside, "a folder seen already"])
                continue
            entered.add((known.st_dev, known.st_ino))
            names = sorted(path.name for path in (folder / inside).iterdir())
        except OSError as error:
            if not inside:
                raise ConfigError(f"source: {printable(folder)}: {line_of(error)}") from None
            passed.append([inside, line_of(error)])
            continue
        folders = []
        for name in names:
            path = f"{inside}/{name}" if inside else name
            try:
                mode = (folder / path).stat().st_mode
            except OSError as error:  # a broken link
                passed.append([path, line_of(error)])
                continue
            if name.startswith(".") or name == "__MACOSX":
                passed.append([path, "hidden"])
            elif stat.S_ISDIR(mode):
                folders.append(path)
            elif stat.S_ISREG(mode):
                yield path
            else:
                passed.append([path, "no regular file"])
        waiting += reversed(folders)


def holds_rows(folder: Path) -> bool:
    """Whether a folder is one of Parquet files: the first has a column of pictures, or no file is a picture."""
    names = list(walk(folder, []))
    shards = [name for name in names if name.endswith(".parquet")]
    if not shards:
        return False
    try:
        if _parquet(folder / shards[0])[2]:
            return True
    except ConfigError:  # damaged: named when it is listed
        return True
    return not any(is_picture(folder / name) for name in names[:MOST_FILES])


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does."""
    try:
        with path.open("rb") as file:
            return bool(recognise(file.read(HEAD)))
    except (OSError, ValueError):
        return False


def split_of(name: str) -> str:
    """Split that a file name contains: train, valid or test; train without any."""
    words = re.split("[^a-z0-9]+", name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "train")


def _content(file: IO[bytes], length: int) -> bytes:
    """All bytes of a file that may be a picture; other files are not read beyond their first bytes."""
    head = file.read(HEAD)
    recognise(head)
    if length > MOST_BYTES:
        raise ValueError(f"file larger than {MOST_BYTES >> 20} MiB")
    return head + file.read(MOST_BYTES)


def _within(value: Any) -> Any:
    """A value of a database, if it is not too long."""
    if len(value) > MOST_BYTES:
        raise ValueError(f"file larger than {MOST_BYTES >> 20} MiB")
    return value


@lru_cache(maxsize=2)
def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # of zipfile and struct; a name may be no UTF-8
        raise ConfigError(f"source: {printable(path)} is a damaged ZIP file: {line_of(error)}") from None


@lru_cache(maxsize=2)
def _lmdb(path: Path) -> Any:
    try:
        import lmdb
    except ImportError:
        raise ConfigError("source: an LMDB needs the lmdb package; pip install lmdb") from None
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise ConfigError(f"source: {printable(path)} is no LMDB environment: {line_of(error)}") from None


@lru_cache(maxsize=2)
def _parquet(path: Path) -> tuple[Any, list[int], str]:
    """Open a shard: the file, the first row of each row group, and the name of the picture column; empty without."""
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path, pre_buffer=False)
    except Exception as error:
        raise ConfigError(f"source: {printable(path)} is no complete Parquet file: {line_of(error)}") from None
    starts = np.cumsum([0] + [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]).tolist()
    return file, starts, next((name for name in COLUMNS if name in file.schema_arrow.names), "")


def _paths(file: Any, column: str) -> list[str]:
    """The field `path` of the picture column, row by row; empty names where there is none."""
    kind = file.schema_arrow.field(column).type
    if not hasattr(kind, "get_field_index") or kind.get_field_index("path") < 0:
        return [""] * file.metadata.num_rows
    try:
        values = (
            file.read(columns=[f"{column}.path"], use_threads=False)
            .column(0)
            .combine_chunks()
            .field("path")
            .to_pylist()
        )
    except Exception:  # damaged: its rows are named when they are read
        return [""] * file.metadata.num_rows
    return [str(value or "") for value in values]


@lru_cache(maxsize=1)
def _group(path: Path, group: int) -> Any:
    """Picture column of a row group."""
    file, _, column = _parquet(path)
    meta = file.metadata.row_group(group)
    parts = [meta.column(i) for i in range(meta.num_columns)]
    length = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] == column)
    if length > MOST_GROUP:
        raise ValueError(f"row group of {length >> 20} MiB: larger than {MOST_GROUP >> 20} MiB; write smaller ones")
    return file.read_row_group(group, columns=[column], use_threads=False).column(0)


def _row_group(path: Path, row: int) -> tuple[int, Any]:
    """Find the row group that contains a row: the group's first row, and its picture column."""
    starts = _parquet(path)[1]
    group = max(i for i, start in enumerate(starts[:-1]) if start <= row)
    return starts[group], _group(path, group)
