"""Data to train on, from the command line: prepare."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvm.commands.flags import Commands
from mvm.commands.progress import progress_bar
from mvm.commands.terminal import print_line
from mvm.errors import ConfigError
from mvm.words import printable

__all__ = ["add"]

CELEBA_ZIPS = ("img_align_celeba.zip", "Img/img_align_celeba.zip")  # in the folder that its page offers


def add(command: Commands) -> None:
    """The commands of this family."""
    prepare = command("prepare", prepare_command, "make a cache of pictures to train on", run=False)
    prepare.add_argument("kind", choices=["celeba", "lsun", "images"], help="kind of pictures in SOURCE")
    prepare.add_argument(
        "source", metavar="SOURCE", type=Path, help="a folder, a ZIP, Parquet, arrays (NPY, NPZ, IDX, CIFAR), an LMDB"
    )
    prepare.add_argument("--size", type=int, default=64, help="width and height in pixels (default 64)")
    prepare.add_argument(
        "--crop", type=int, help="side of the centred square to keep, in pixels (default: the largest)"
    )
    prepare.add_argument("--name", help="name of the cache (default: made from kind and size)")
    prepare.add_argument(
        "--partition", type=Path, help="celeba: path of list_eval_partition.txt, where it is not beside the pictures"
    )
    prepare.add_argument("--processes", type=int, help="decoding processes (default: the CPU cores)")


def prepare_command(options: argparse.Namespace) -> None:
    """Decode a collection of pictures into a cache, and list what was skipped."""
    from mvm.data.cache import open_source, prepare
    from mvm.data.images import too_few
    from mvm.data.sources import Lmdb
    from mvm.data.splits import find_partition, read_partition
    from mvm.jobs.prepare import cache_path, sole

    path = options.source
    if options.kind == "celeba":
        path = next((zipped for zipped in (path / part for part in CELEBA_ZIPS) if zipped.is_file()), path)
    source = open_source(path)
    if options.kind == "lsun" and not isinstance(source, Lmdb):
        raise ConfigError(f"source: {printable(path)} is no LMDB export of LSUN: a folder with data.mdb in it")
    out = cache_path(options.kind, path, options.size, options.name)
    partition = read_partition(options.partition) if options.partition else None
    if partition is None and options.kind == "celeba":
        partition = find_partition(source)
    with sole(out), progress_bar("file") as show:
        made = prepare(
            source, out, size=options.size, crop=options.crop, partition=partition, processes=options.processes,
            on_progress=show,
        )  # fmt: skip
    parts = ", ".join(f"{name} {last - first:,}" for name, (first, last) in made.splits.items())
    print_line(f"{out}: {made.count:,} pictures of {made.size} x {made.size} ({parts}) in {made.seconds} s")
    if made.converted:
        print_line("converted to RGB: " + ", ".join(f"{count} {mode}" for mode, count in made.converted.items()))
    for sentence in made.assumed:
        print_line(f"assumed: {sentence}")
    if options.kind == "celeba" and set(made.splits) == {"train"}:
        print_line(
            "no list_eval_partition.txt was found near it: the last tenth is held out, not CelebA's official split"
        )
    if reason := too_few(made):
        print_line(f"it cannot be trained on: it has {reason}")
    if made.skipped:
        print_line(f"skipped {made.skipped_summary}; each is listed in {out.with_suffix('.json')}")
