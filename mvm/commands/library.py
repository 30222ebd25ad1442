"""The runs that there are, from the command line: runs, compare, note, rename, delete, pack, unpack."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mvm.commands.flags import Commands
from mvm.commands.progress import progress_bar
from mvm.commands.terminal import print_line
from mvm.errors import ConfigError, RunDamaged
from mvm.variants import PAIRED_KINDS
from mvm.words import printable

if TYPE_CHECKING:
    from mvm.runs.run import Run
    from mvm.studies.index import Summary

__all__ = ["add"]

NONE = "no runs yet; `python -m mvm train --data circle` makes one"


def add(command: Commands) -> None:
    """The commands of this family."""
    score = (
        "W2 of points, or a Fréchet distance of pictures, over its baseline between two real samples; of photographs "
        "PSNR (Y) minus that of bicubic interpolation"
    )
    told = f"list the runs, newest first; quality: {score}, of the best variant; ~ while training, of fewer samples"
    runs = command("runs", runs_command, told, run=False)
    runs.add_argument("--find", default="", metavar="WORDS", help="only runs whose row contains all these words")
    runs.add_argument(
        "--sort",
        default="created",
        metavar="COLUMN",
        help="sort by this column, such as quality, seconds, name or step",
    )
    runs.add_argument("--reverse", action="store_true", help="reverse the order")
    told = f"scores of several runs side by side, and what differs; score: {score}"
    compare = command("compare", compare_command, told, run=False)
    compare.add_argument("runs", metavar="RUN", nargs="+", help="names of runs, or their folders")
    compare.add_argument("--baseline", metavar="RUN", help="run whose scores the others are compared with")
    for listing in (runs, compare):
        listing.add_argument("--json", action="store_true", help="print JSON")
    note = command("note", note_command, "write a note about a run, or print the one that it has")
    note.add_argument("text", nargs="?", help="new note; '' removes it")
    rename = command("rename", rename_command, "give a run another name")
    rename.add_argument("name", metavar="NAME", help="new name")
    delete = command("delete", delete_command, "remove runs for good; never one that is being trained", run=False)
    delete.add_argument("runs", metavar="RUN", nargs="+", help="names of runs, or their folders")
    delete.add_argument("--yes", action="store_true", help="delete without asking")
    pack = command("pack", pack_command, "write a run into one ZIP, for another machine or another person")
    pack.add_argument("--out", required=True, type=Path, metavar="FILE.zip", help="file to write")
    pack.add_argument("--light", action="store_true", help="leave out snapshots, UMAP frames and kept checkpoints")
    unpack = command("unpack", unpack_command, "make a run of a ZIP that pack wrote, after a look at it", run=False)
    unpack.add_argument("file", metavar="FILE.zip", type=Path, help="packed run")
    unpack.add_argument("--name", help="name of the run (default: its name when packed)")


def runs_command(options: argparse.Namespace) -> None:
    """List every run with what it is doing."""
    from mvm.studies.index import SORTS, listing

    if options.sort not in SORTS:
        raise ConfigError(f"sort: unknown column {options.sort!r}; known: {', '.join(SORTS)}")
    listed, unreadable = listing()
    rows = [row for row in listed if row.matches(options.find)]
    known = [row for row in rows if getattr(row, options.sort) is not None]  # the others come last, either way
    downwards = (options.sort in ("created", "step", "seconds")) != options.reverse
    ordered = sorted(known, key=lambda row: row.order(options.sort), reverse=downwards)
    rows = ordered + [row for row in rows if getattr(row, options.sort) is None]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    elif not rows:
        print("no run has all these words" if options.find else NONE)
    else:
        _print_table(rows)
    for row in rows:
        if row.damage:
            print_line(f"mvm: run: {row.name}'s {row.damage}", error=True)
    for name, found in unreadable.items():
        advice = f"; `python -m mvm delete {name}` removes it" if found.damaged else ""
        print_line(f"mvm: {found.reason}{advice}", error=True)


def _print_table(rows: list[Summary]) -> None:
    """One line for each run; its quality is the best variant's score by its baseline, with ~ before the run's end."""
    from mvm.studies.gains import in_words

    print(
        f"{'name':32} {'status':12} {'step':>15} {'quality':>9}  {'data':20} {'method':14} seeds  "
        f"{'begun':11} minutes  {'device':10} variants"
    )
    for row in rows:
        progress, quality = f"{row.step}/{row.steps}", "-" if row.quality is None else in_words(row.quality, row.score)
        variants = ", ".join(row.titles) if row.kind in PAIRED_KINDS else " ".join(row.variants)
        quality = quality if row.final or row.quality is None else f"~{quality}"
        quality = "old" if row.outdated else quality
        begun, device = time.strftime("%m-%d %H:%M", time.localtime(row.created)), (row.device or "-")[:10]
        note = f"  # {row.note.splitlines()[0]}" if row.note else ""
        print_line(
            f"{row.name:32} {row.state:12} {progress:>15} {quality:>9}  {row.data[-20:]:20} {row.method:14} "
            f"{len(row.seeds):>5}  {begun:11} {row.seconds / 60:>7.1f}  {device:10} {variants}{note}"
        )
    if old := next((row.name for row in rows if row.outdated), None):
        print_line(
            f"old: measured by an earlier version in the file's own units; `python -m mvm score {old}` measures anew"
        )


def _run(name: str) -> Run:
    """As `Run.named`, which loads torch: to list runs needs none."""
    from mvm.runs.run import Run

    return Run.named(name)


def compare_command(options: argparse.Namespace) -> None:
    """Print last scores of every series, and the settings that are not the same in all runs."""
    from mvm.studies.compare import differences, in_words, is_gain, scoreboard

    runs = [_run(name) for name in dict.fromkeys([*options.runs, *filter(None, [options.baseline])])]
    baseline = runs[[run.name for run in runs].index(_run(options.baseline).name)] if options.baseline else None
    board, differs = scoreboard(runs, baseline=baseline), differences(runs)
    if options.json:
        series = json.loads(board.to_json(orient="records"))
        print(json.dumps({"runs": [run.name for run in runs], "series": series, "differs": differs}, indent=1))
        return
    width = max(len(title) for title in board["series"])
    print(
        f"{'series':{width}} {'seeds':>5} {'step':>8} {'score':>9} {'quartiles':>21} {'against':>9} {'evaluations':>11}"
    )
    for row in board.itertuples():
        score, low, high = (in_words(value, row.score) for value in (row.quality, row.low, row.high))
        spread, against = f"{low} to {high}", "-"
        if math.isfinite(row.against):
            against = in_words(row.against, row.score) if is_gain(row.score) else f"{row.against:+.0%}"
        line = f"{row.series:{width}} {row.seeds:>5} {row.step:>8} {score:>9} {spread:>21} {against:>9}"
        print_line(f"{line} {row.evaluations:>11}")
    for run in runs:
        if run.scores_are_outdated():
            print_line(
                f"{run.name} has scores of an earlier version; `python -m mvm score {run.name}` measures them anew"
            )
    for name, words in differs.items():
        print_line()
        print_line(name)
        for run, word in zip(runs, words, strict=True):
            print_line(f"    {run.name:32} {word}")


def note_command(options: argparse.Namespace) -> None:
    """Write or print a note."""
    run = _run(options.run)
    if options.text is None:
        for line in (run.note or f"{run.name} has no note").splitlines():
            print_line(line.expandtabs())
    else:
        run.write_note(options.text)


def rename_command(options: argparse.Namespace) -> None:
    """Give a run another name."""
    run = _run(options.run)
    print_line(f"{run.name}: now {run.rename(options.name).name}")


def delete_command(options: argparse.Namespace) -> None:
    """Remove runs, if the person means it; also those that cannot be read."""
    removals = dict(map(_removal, dict.fromkeys(options.runs)))
    names = ", ".join(removals)
    if not options.yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"delete: {names} would be gone for good; say --yes")
        if input(printable(f"delete {names} for good? [y/N] ")).strip().lower() not in ("y", "yes"):
            print("nothing is deleted")
            return
    for name, remove in removals.items():
        remove()
        print_line(f"{name}: deleted")


def _removal(name: str) -> tuple[str, Callable[[], None]]:
    """Name and removal of a run, or of a damaged one; one that cannot be read now may be whole, and is refused."""
    from mvm.runs.library import delete_unreadable

    try:
        run = _run(name)
    except RunDamaged:
        return name, partial(delete_unreadable, name)
    return run.name, run.delete


def pack_command(options: argparse.Namespace) -> None:
    """Write a run into a ZIP."""
    from mvm.runs.archive import pack

    run = _run(options.run)
    with progress_bar("B") as show:
        members = pack(run, options.out, light=options.light, on_progress=show)
    print_line(f"{options.out}: {run.name}, {len(members)} files, {options.out.stat().st_size:,} bytes")


def unpack_command(options: argparse.Namespace) -> None:
    """Make a run of a ZIP."""
    from mvm.runs.archive import unpack

    with progress_bar("B") as show:
        run = unpack(options.file, name=options.name, on_progress=show)
    status = run.status()
    print_line(f"{run.name}: {status.state} at step {status.step} of {status.steps}, in {run.path}")
