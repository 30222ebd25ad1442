"""Training of a sweep on this machine behind an app: `mvm sweep NAME --on local`, which outlives who started it.

    checkpoints/.sweeps/NAME/background.json    its process, by which it is found again
                             background.log     its output

Ended, it asks its workers to save and leave: started again, they continue from what is saved.
"""

from __future__ import annotations

import json
from typing import Any

from mvm.files import write_atomic
from mvm.jobs.launch import launcher_of
from mvm.jobs.launcher import Handle, Task, last_line
from mvm.plain import read_object
from mvm.runs.events import ALIVE
from mvm.sweeps.sweep import Sweep

__all__ = ["is_stopping", "start", "stop", "trains_here", "why_ended"]

JOB, LOG = "background.json", "background.log"


def start(sweep: Sweep, *, workers: int | None = None, retry: bool = False) -> None:
    """Train the rest of a sweep in the background, unless that is done already.

    Args:
        sweep: that was made.
        workers: trainings at once; one for each device slot when None.
        retry: also runs that failed, diverged or were stopped before.

    Raises:
        OSError: it cannot be started, or its disk takes no line.
    """
    if trains_here(sweep):
        return
    (sweep.folder / LOG).unlink(missing_ok=True)
    arguments = ["sweep", sweep.name, "--on", "local", *(["--workers", str(workers)] if workers else [])]
    handle = launcher_of().submit(_task(sweep, (*arguments, *["--retry-failed"] * retry)))
    write_atomic(sweep.folder / JOB, json.dumps({"job": handle.job}).encode())


def trains_here(sweep: Sweep) -> bool:
    """Whether the training that was started last still runs on this machine."""
    handle = _handle(sweep)
    return handle is not None and handle.state in ALIVE


def stop(sweep: Sweep) -> None:
    """Ask the training to save and leave; what it has trained is kept."""
    if (handle := _handle(sweep)) is not None:
        write_atomic(sweep.folder / JOB, json.dumps({"job": handle.job, "stopping": True}).encode())
        handle.cancel()


def is_stopping(sweep: Sweep) -> bool:
    """Whether the training was asked to end, and its workers still save."""
    return trains_here(sweep) and _job(sweep).get("stopping") is True


def why_ended(sweep: Sweep) -> str:
    """The last line that the training has written if it failed; "" while it runs, or if it has written no error."""
    line = "" if trains_here(sweep) else last_line(sweep.folder / LOG)
    return line.removeprefix("mvm: ") if line.startswith("mvm: ") else ""


def _task(sweep: Sweep, arguments: tuple[str, ...] = ()) -> Task:
    return Task(f"sweep {sweep.name}", arguments, log=sweep.folder / LOG)


def _handle(sweep: Sweep) -> Handle | None:
    job = _job(sweep).get("job")
    return launcher_of().attach(_task(sweep), job) if isinstance(job, str) else None


def _job(sweep: Sweep) -> dict[str, Any]:
    try:
        return read_object(sweep.folder / JOB)
    except (OSError, ValueError):
        return {}
