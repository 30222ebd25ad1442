"""Packing: the same small trainings in one process, in one process each, and as Ray's tasks.

    python -m benchmarks.packing                       48 trainings of 500 steps, three rounds

A run trains its variants and seeds side by side, as one more axis of every tensor (`together` in a sweep's file). The
ways take turns; each is timed from the command to its end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.cells import markdown
from benchmarks.faults import write_cloud
from mvm.sweeps.sweep import progress_of, sweep_named

NAME = "packing"
SPEC = """
seeds = {trainings}
together = {together}
[base]
data = "{cloud}"
variants = ["both"]
steps = {steps}
batch = 64
snapshots = 4
records = 20
checkpoints = 2
device = "cpu"
"""
HEAD = ("way", "processes", "time, s", "beside one process", "training time, s")


def main() -> None:
    """Time each way in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=48, help="seeds of one setting (default 48)")
    parser.add_argument("--steps", type=int, default=500, help="of each (default 500)")
    parser.add_argument("--rounds", type=int, default=3, help="of all ways; the median counts (default 3)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once (default: CPUs)")
    options = parser.parse_args()
    ways = {"one process": ("local", options.trainings), "one process each": ("local", 1), "Ray's tasks": ("ray", 1)}
    if find_spec("ray") is None:
        print("Ray is not installed: its tasks are left out", file=sys.stderr)
        del ways["Ray's tasks"]
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, (engine, together) in ways.items():
            times[way].append(measure(engine, together, options))
            print(f"{way}: {times[way][-1][0]:.1f} s", file=sys.stderr, flush=True)
    whole = {way: median(seconds for seconds, _ in each) for way, each in times.items()}
    rows = [
        [
            way,
            "1" if together > 1 else f"{options.trainings}, {options.workers} at once",
            f"{whole[way]:.1f}",
            f"{whole[way] / whole['one process']:.1f} x",
            f"{median(training for _, training in times[way]):.1f}",
        ]
        for way, (_, together) in ways.items()
    ]
    print(markdown(HEAD, rows))


def measure(engine: str, together: int, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds that a sweep takes, and those of its steps summed over its runs."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / f"{NAME}.toml"
        cloud = write_cloud(Path(folder))
        text = SPEC.format(trainings=options.trainings, together=together, steps=options.steps, cloud=cloud)
        spec.write_text(text, encoding="utf-8")
        os.environ["MVM_CHECKPOINTS"] = f"{folder}/runs"
        workers = 1 if together > 1 else options.workers
        command = [sys.executable, "-m", "mvm", "sweep", str(spec), "--on", engine, "--workers", str(workers)]
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - began, progress_of(sweep_named(NAME)).seconds


if __name__ == "__main__":
    main()
