"""Packing: the same small trainings in one run, in a run each by workers or Ray's tasks, and in a process each.

    python -m benchmarks.packing                       48 trainings of 500 steps, three rounds

A run trains its variants and seeds side by side, as one more axis of every tensor (`together` in a sweep's file). A
worker trains one run after the other, as a task of Ray's does in a process that Ray keeps; a process each is a command
`mvm resume` for each run. The ways take turns; each is timed from the making of the runs to the end of the last.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
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
HEAD = ("way", "runs", "time, s", "beside one run", "training time, s")
PACKED, WORKERS, PROCESSES, TASKS = "one run", "a run each, by workers", "a process each", "a run each, as Ray's tasks"


def main() -> None:
    """Time each way in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=48, help="seeds of one setting (default 48)")
    parser.add_argument("--steps", type=int, default=500, help="of each (default 500)")
    parser.add_argument("--rounds", type=int, default=3, help="of all ways; the median counts (default 3)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once (default: CPUs)")
    options = parser.parse_args()
    ways = [PACKED, WORKERS, PROCESSES, TASKS]
    if find_spec("ray") is None:
        print("Ray is not installed: its tasks are left out", file=sys.stderr)
        ways.remove(TASKS)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            times[way].append(measure(way, options))
            print(f"{way}: {times[way][-1][0]:.1f} s", file=sys.stderr, flush=True)
    whole = {way: median(seconds for seconds, _ in each) for way, each in times.items()}
    rows = [
        [
            way,
            "1" if way == PACKED else f"{options.trainings}, {options.workers} at once",
            f"{whole[way]:.1f}",
            f"{whole[way] / whole[PACKED]:.1f} x",
            f"{median(training for _, training in times[way]):.1f}",
        ]
        for way in ways
    ]
    print(markdown(HEAD, rows))


def measure(way: str, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds that a sweep takes, and those of its steps summed over its runs."""
    together, workers = (options.trainings, 1) if way == PACKED else (1, options.workers)
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / f"{NAME}.toml"
        cloud = write_cloud(Path(folder))
        text = SPEC.format(trainings=options.trainings, together=together, steps=options.steps, cloud=cloud)
        spec.write_text(text, encoding="utf-8")
        os.environ |= {"MVM_CHECKPOINTS": f"{folder}/runs", "MVM_SLOTS": str(workers)}
        began = time.monotonic()
        if way == PROCESSES:
            run_mvm("sweep", str(spec))
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda run: run_mvm("resume", run), sweep_named(NAME).runs))
        else:
            run_mvm("sweep", str(spec), "--on", "ray" if way == TASKS else "local", "--workers", str(workers))
        return time.monotonic() - began, progress_of(sweep_named(NAME)).seconds


def run_mvm(*arguments: str) -> None:
    """Run a command to its end, in a process of its own."""
    command = [sys.executable, "-m", "mvm", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
