"""Which pictures are held out: by CelebA's official list, or by the names of shards and arrays.

    list_eval_partition.txt     NAME 0|1|2, for train, valid, test; also as CSV, with a header or a byte-order mark

Names are matched without their folder and ending: the official PNGs have the list of the JPEGs.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path, PurePosixPath

from mvm.data.sources import SPLITS, Listing, Source, Zip
from mvm.errors import ConfigError, line_of
from mvm.words import printable

__all__ = ["Partition", "find_partition", "in_splits", "read_partition"]

PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
FOLDERS_UP = 3  # of the source in which the list is looked for

Partition = tuple[str, dict[str, str]]  # where the list is; split of each name, without folder and ending


def find_partition(source: Source) -> Partition | None:
    """Find CelebA's list in a ZIP, in the source's folder, or up to three folders up; beside it or in Eval/.

    Raises:
        ConfigError: as for `read_partition`.
    """
    if isinstance(source, Zip) and (found := source.text(PARTITIONS)):
        return _read(f"{printable(source.path)}/{found[0]}", found[1])
    here = source.path.absolute()
    for folder in [here, *here.parents[:FOLDERS_UP]]:
        for path in [folder / inside / name for inside in (".", "Eval") for name in PARTITIONS]:
            if path.is_file():
                return read_partition(path)
    return None


def read_partition(path: Path) -> Partition:
    """Read CelebA's list.

    Raises:
        ConfigError: it is not readable, or a line is no NAME 0|1|2; one line.
    """
    try:
        return _read(printable(path), path.read_bytes())
    except OSError as error:
        raise ConfigError(f"partition: {printable(path)}: {line_of(error)}") from None


def in_splits(listing: Listing, partition: Partition | None) -> tuple[list[str], dict[str, list[int]]]:
    """Names in the order of the cache, and the rows [start, stop] of each split in this order.

    A partition decides; without one, the splits of the source, if they include train and another. Names that the
    partition lacks are passed over.

    Raises:
        ConfigError: the partition has none of the names.
    """
    names, told, official = listing.names, listing.splits or [], False
    if partition is not None:
        where, split_of = partition
        own = [
            split_of.get(_stem(title or name), "") for title, name in zip(listing.titles or names, names, strict=True)
        ]
        if official := any(own):
            told = own
            left_out = f"not in {PurePosixPath(where).name}"
            passed = [[name, left_out] for name, split in zip(names, told, strict=True) if not split]
            passed = [*listing.passed, *passed]  # but for the list itself
            listing.passed = [each for each in passed if PurePosixPath(each[0]).name not in PARTITIONS]
        elif names and len(set(told)) < 2:
            raise ConfigError(f"partition: {where} has none of the {len(names):,} names, such as {printable(names[0])}")
    if not official and not ("train" in told and len(set(told)) > 1):
        return names, {"train": [0, len(names)]}
    ordered: list[str] = []
    ranges: dict[str, list[int]] = {}
    for split in SPLITS:
        in_split = [name for name, own in zip(names, told, strict=True) if own == split]
        ranges[split] = [len(ordered), len(ordered) + len(in_split)]
        ordered += in_split
    return ordered, ranges


def _read(where: str, content: bytes) -> Partition:
    """Read the lines of a list."""
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), "utf-8")
    split_of: dict[str, str] = {}
    lines = content.decode(encoding, "replace").splitlines()
    for number, line in enumerate(lines, 1):
        cells = [cell.strip("\"' ") for cell in re.split(r"[,;\t]|\s+", line.strip()) if cell.strip("\"' ")]
        if not cells or (number == 1 and not cells[-1].isdecimal()):  # a CSV has a header
            continue
        if len(cells) != 2 or cells[1] not in ("0", "1", "2"):
            shown = line.strip()[:60]
            raise ConfigError(f"partition: {where} line {number}: {shown!r} is not NAME 0|1|2, for train, valid, test")
        split_of[_stem(cells[0])] = SPLITS[int(cells[1])]
    if not split_of:
        raise ConfigError(f"partition: {where} has no lines of NAME 0|1|2")
    return where, split_of


def _stem(name: str) -> str:
    """Name of a file without its folder and ending."""
    return PurePosixPath(name).stem
