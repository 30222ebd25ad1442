"""The runs that there are, from the command line: runs, pack, unpack."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mvm.commands.flags import Commands
from mvm.runs import Run, all_runs

__all__ = ["add"]


def add(command: Commands) -> None:
    """The commands of this family."""
    runs = command("runs", runs_command, "list the runs", run=False)
    runs.add_argument("--json", action="store_true", help="print JSON")
    pack = command("pack", pack_command, "write a run into one ZIP, for another machine or another person")
    pack.add_argument("--out", required=True, type=Path, metavar="FILE.zip", help="where to")
    pack.add_argument("--light", action="store_true", help="without snapshots, UMAP frames and kept checkpoints")
    unpack = command("unpack", unpack_command, "make a run of a ZIP that pack wrote, after a look at it", run=False)
    unpack.add_argument("file", metavar="FILE.zip", type=Path, help="the ZIP")
    unpack.add_argument("--name", help="of the run (default: the name it had)")


def runs_command(options: argparse.Namespace) -> None:
    """List every run with what it is doing."""
    rows = []
    for run in all_runs():
        status = run.status()
        row = {"name": run.name, "status": status.state, "step": status.step, "steps": status.steps}
        row |= {"data": run.config.data, "method": run.config.method, "variants": list(run.config.variants)}
        rows.append(row | {"seeds": list(run.config.seeds), "seconds": status.seconds, "reason": status.reason})
    if options.json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print("no runs yet; `python -m mvm train --data circle` makes one")
    else:
        print(f"{'name':32} {'status':12} {'step':>15}  {'data':20} variants")
        for row in rows:
            progress = f"{row['step']}/{row['steps']}"
            print(f"{row['name']:32} {row['status']:12} {progress:>15}  {row['data']:20} {' '.join(row['variants'])}")


def pack_command(options: argparse.Namespace) -> None:
    """Write a run into a ZIP."""
    from mvm.archive import pack

    run = Run.named(options.run)
    with _bytes_shown() as show:
        members = pack(run, options.out, light=options.light, on_progress=show)
    print(f"{options.out}: {run.name}, {len(members)} files, {options.out.stat().st_size:,} bytes")


def unpack_command(options: argparse.Namespace) -> None:
    """Make a run of a ZIP."""
    from mvm.archive import unpack

    with _bytes_shown() as show:
        run = unpack(options.file, name=options.name, on_progress=show)
    status = run.status()
    print(f"{run.name}: {status.state} at step {status.step} of {status.steps}, in {run.path}")


@contextlib.contextmanager
def _bytes_shown() -> Iterator[Callable[[int, int], None]]:
    """A progress bar of bytes: what to call with those done and those in all."""
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, disable=None if sys.stderr.isatty() else True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
