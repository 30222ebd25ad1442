"""Time to index a large folder of runs, without and with its cache; the Runs page reads the index twice.

python -m benchmarks.library --runs 200
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.cells import device_line, markdown, write_section


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="runs in the folder (default 200)")
    parser.add_argument("--steps", type=int, default=1000, help="of the run that is copied (default 1000)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MVM_CHECKPOINTS"] = folder
        fill(Path(folder), options.runs, options.steps)
        rows = [[what, *took] for what, took in measured(Path(folder), options.repeats).items()]
    size = f"{options.runs} finished runs of {options.steps:,} steps, three variants each, in one folder; s."
    command = f"python -m benchmarks.library --runs {options.runs} --steps {options.steps}"
    table = markdown(["", "median", "slowest"], rows)
    write_section(options.out, "library", "A library of runs", command, size, table, device=device_line("one process"))


def fill(folder: Path, count: int, steps: int) -> None:
    """Train one run, and make copies of it with hard links to its files."""
    from mvm.config import Config
    from mvm.files import link
    from mvm.runs.recorder import train
    from mvm.runs.run import Run

    first = Run.create(Config.make(steps=steps), name="run-0")
    for _ in train(first):
        pass
    files = [path for path in first.path.rglob("*") if path.is_file()]
    for number in range(1, count):
        for path in files:
            target = folder / f"run-{number}" / path.relative_to(first.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(path, target)


def measured(folder: Path, repeats: int) -> dict[str, list[str]]:
    """Median and maximum time to read the index, by whether its cache is there."""
    from mvm.studies.index import summaries

    def anew() -> None:
        (folder / ".index.json").unlink(missing_ok=True)
        summaries()

    kinds: dict[str, Callable[[], object]] = {"without the cache": anew, "with it": summaries}
    return {what: _seconds(work, repeats) for what, work in kinds.items()}


def _seconds(work: Callable[[], object], repeats: int) -> list[str]:
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return [f"{statistics.median(took):.3f}", f"{max(took):.3f}"]


if __name__ == "__main__":
    main()
