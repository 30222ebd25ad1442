"""Start a training in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mvm.errors import RunBusy
from mvm.files import append_line
from mvm.jobs.process import detached
from mvm.runs.run import Run

__all__ = ["launch"]


def launch(run: Run, *, waiting: Callable[[Path], bool] = lambda path: False) -> None:
    """Train the run in a process of its own that outlives this one; it waits for a free device slot.

    Args:
        run: a run that no one trains.
        waiting: hands the run's folder to a trainer in waiting, to save the time of a start; false if there is none.

    Raises:
        RunBusy: it is being trained already.
    """
    if run.alive():
        raise RunBusy(f"run: {run.name} is being trained already")
    run.forget_wishes()
    append_line(run.path / "scalars.jsonl", {"step": run.status().step, "event": "launched", "time": time.time()})
    if waiting(run.path):
        return
    detached(["train", "--run", str(run.path.absolute()), "--queue"], log=run.path / "trainer.log")
