"""People's pictures from the command line: upscale."""

from __future__ import annotations

import argparse
import signal
from collections import Counter
from pathlib import Path

from mvm.commands.flags import Commands
from mvm.commands.progress import progress_bar
from mvm.commands.terminal import print_line
from mvm.errors import ConfigError

__all__ = ["add"]

FORMATS = ("png", "jpeg", "webp", "tiff", "bmp")
MOST_LISTED = 100  # files that are skipped, each in a line
LEAST_TILE, MOST_TILE = 8, 4096


def add(command: Commands) -> None:
    """The commands of this family."""
    upscale = command("upscale", upscale_command, "upscale a picture x4, or all pictures below a folder")
    upscale.add_argument("source", metavar="FILE|FOLDER", type=Path, help="picture, or folder of pictures")
    upscale.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder to write to")
    upscale.add_argument(
        "--ensemble", action="store_true", help="average over the eight rotations and flips; takes 8 times as long"
    )
    upscale.add_argument("--overwrite", action="store_true", help="replace files of DIR; originals are never replaced")
    upscale.add_argument("--format", choices=FORMATS, help="format to write (default: the format of each picture)")
    upscale.add_argument("--variant", help="variant to use (default: the last)")
    upscale.add_argument("--seed", type=int, help="training seed to use (default: the first)")
    upscale.add_argument("--best", action="store_true", help="use the best generator instead of the last one")
    upscale.add_argument(
        "--tile", type=int, metavar="N", help=f"pixels each way upscaled at a time ({LEAST_TILE} to {MOST_TILE}); "
        "smaller ones take less memory and more time",
    )  # fmt: skip
    upscale.add_argument("--device", choices=["auto", "cpu", "cuda"], help="device (default: the run's)")


def upscale_command(options: argparse.Namespace) -> None:
    """Upscale pictures, and list what was skipped."""
    from mvm.imaging.tiles import TILE
    from mvm.runs import trained
    from mvm.runs.upscale import Done, Plan, Skipped, upscale_files

    tile = TILE if options.tile is None else options.tile
    if not LEAST_TILE <= tile <= MOST_TILE:
        raise ConfigError(f"--tile: {LEAST_TILE} to {MOST_TILE} pixels, got {tile}")
    loaded = trained.load(
        options.run, variant=options.variant, seed=options.seed, best=options.best, device=options.device
    )
    upscaler = loaded.upscaler(tile=tile, ensemble=options.ensemble)
    plan = Plan.of(
        options.source, options.out, form=options.format and options.format.upper(), overwrite=options.overwrite
    )
    if (largest := plan.largest) is not None:
        height, width = largest.size
        disk = f", and {_shown(plan.scratch)} of disk for its pixels" if plan.scratch else ""
        count = f"{len(plan.jobs):,} pictures, the largest" if len(plan.jobs) > 1 else f"{largest.name}:"
        print_line(f"{count} {width} x {height}: at most {_shown(plan.memory(upscaler))} of memory{disk}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files are removed
    outcomes: list[Done | Skipped] = [*plan.skipped]
    with progress_bar("pixel", layout="{l_bar}{bar}| {elapsed} passed, {remaining} left") as show:
        for outcome in upscale_files(plan, upscaler, on_progress=show):
            outcomes.append(outcome)
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    for outcome in done:
        for note in outcome.notes:
            print_line(f"{outcome.name}: {note}")
    for left in skipped[:MOST_LISTED]:
        print_line(f"skipped {left.name}: {left.reason}")
    for reason, more in Counter(left.reason for left in skipped[MOST_LISTED:]).most_common(MOST_LISTED):
        print_line(f"skipped {more:,} more: {reason}")
    missing = f", {len(skipped):,} {'file' if len(skipped) == 1 else 'files'} skipped" if skipped else ""
    if not done and not any(left.is_done for left in skipped):
        raise ConfigError(f"source: nothing of {options.source} was upscaled{missing}")
    where = done[0].target if len(done) == 1 and not skipped else options.out
    print_line(f"{where}: {len(done):,} {'picture' if len(done) == 1 else 'pictures'} upscaled x4{missing}")


def _shown(count: int) -> str:
    """Bytes, in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
