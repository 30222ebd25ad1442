"""One sweep by workers of this machine, through Slurm and through Ray: the same weights, to the bit.

    benchmarks/slurm_here.sh python -m benchmarks.clusters docs/methods.toml --out clusters

Each engine trains the sweep under a folder of its own, OUT/local, OUT/slurm and OUT/ray, in which `mvm app` shows it.
Engines that are not installed are left out. A sweep that is there is continued.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.cells import markdown
from mvm.files import read_tensors
from mvm.runs.layout import CHECKPOINT
from mvm.sweeps.sweep import progress_of, sweep_named

HEAD = ("engine", "runs", "trainings", "finished", "weights equal to the first's", "time, s")
IS_HERE = {"local": lambda: True, "slurm": lambda: shutil.which("sbatch"), "ray": lambda: find_spec("ray")}


def main() -> None:
    """Train the sweep by each engine, compare and print the table; exit status 1 if weights differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path, metavar="SPEC.toml", help="the sweep")
    parser.add_argument("--on", nargs="+", default=[*IS_HERE], choices=IS_HERE, help="engines (default all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trainings at once (default: CPUs)")
    parser.add_argument("--out", type=Path, default=Path("clusters"), help="folder of all runs (default clusters)")
    options = parser.parse_args()
    rows, roots = [], []
    for engine in options.on:
        if not IS_HERE[engine]():
            print(f"{engine} is not installed here: it is left out", file=sys.stderr)
            continue
        roots.append((options.out / engine).absolute())
        os.environ["MVM_CHECKPOINTS"] = str(roots[-1])
        began = time.monotonic()
        train(engine, options.spec, options.workers)
        seconds = time.monotonic() - began
        progress = progress_of(sweep_named(options.spec.stem))
        equal = sum(is_equal(roots[0] / row.name, roots[-1] / row.name) for row in progress.rows)
        numbers = (len(progress.rows), progress.trainings[1], progress.states["finished"], equal)
        rows.append([engine, *map(str, numbers), f"{seconds:.0f}"])
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(markdown(HEAD, rows))
    sys.exit(any(row[1] != row[4] for row in rows))


def train(engine: str, spec: Path, workers: int) -> None:
    """Train a sweep until none of its runs is left."""
    command = [sys.executable, "-m", "mvm", "sweep", str(spec), "--on", engine, "--workers", str(workers)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    while progress_of(sweep_named(spec.stem)).left:  # Slurm takes its workers and returns
        time.sleep(1)


def is_equal(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights, averages and moments, to the bit."""
    ours, theirs = (read_tensors(path / CHECKPOINT) for path in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


if __name__ == "__main__":
    main()
