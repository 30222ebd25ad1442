"""A trainer in waiting: a process that has imported everything, so that Train shows its first frame at once.

Importing torch takes most of the time between a click and the first step. `python -m mvm.jobs.warm_trainer` imports it
ahead, then waits for one line on its standard input, a run's folder, and becomes that run's trainer. From then on it
outlives the process that started it; before, it ends with that process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import runpy
import select
import subprocess
import sys
import threading
from pathlib import Path

from mvm.jobs.process import TRAINING, give_way

__all__ = ["Spare"]

IMPORTED = ("mvm.commands.training", "mvm.runs.evaluate", "mvm.runs.recorder", "tqdm")  # by a training, sooner or later


class Spare:
    """Keeps one waiting trainer ready; safe to use from several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start a waiting trainer if there is none; returns at once."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mvm.jobs.warm_trainer"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )

    def train(self, run: Path) -> bool:
        """Hand a run to the waiting trainer, whether or not it has finished importing; False if there is none."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return False
        with contextlib.suppress(OSError):
            process.stdin.write(f"{run.absolute()}\n".encode())
            process.stdin.close()
            return True
        return False


def main() -> None:
    """Import, wait for a run's folder, then run `python -m mvm train` on it in this process."""
    give_way(TRAINING)
    for module in IMPORTED:
        importlib.import_module(module)
    if not select.select([sys.stdin], [], [], 0)[0]:  # no one is waiting yet
        import scipy.optimize  # noqa: F401  what the first quick score needs

    line = sys.stdin.readline().strip()
    if not line:
        return
    log = os.open(Path(line) / "trainer.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = ["mvm", "train", "--run", line, "--queue"]
    runpy.run_module("mvm", run_name="__main__")


if __name__ == "__main__":
    main()
