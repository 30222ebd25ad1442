"""The workers of this machine: started, started again when they die, ended together.

The workers are processes of their own. Where the process that started them is killed, they finish the sweep without it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Generator, Sequence

from mvm.errors import RunError
from mvm.jobs.launch import launcher_of
from mvm.jobs.launcher import Handle, Task, last_line
from mvm.jobs.queue import device_kind, slot_count
from mvm.runs.events import ALIVE
from mvm.sweeps.sweep import Progress, Sweep, progress_of, sweep_named

__all__ = ["default_workers", "run_local"]

POLL = 0.5  # seconds between two looks at the workers
PAUSE = 2.0  # seconds between the starts of a driver, twice as long after each that brings no run further
STARTS = 5  # of a worker in a row that bring no run further


def default_workers(sweep: Sweep) -> int:
    """Workers of this machine for a sweep, unless a number is given: one for each slot of its device."""
    return slot_count(device_kind(sweep.spec.points[0].config.device))


def run_local(
    sweep: Sweep, workers: int, *, retry: bool = False, driver: Sequence[str] = ()
) -> Generator[Progress, None, None]:
    """Train a sweep with workers on this machine, yielding its progress until none is left.

    Closing the iterator asks the workers to save and leave, and waits for them.

    Args:
        sweep: what is trained.
        workers: number of processes, each in a device slot; there are at least as many slots.
        retry: also runs that failed, diverged or were stopped before.
        driver: arguments by which the one worker hands the runs out to an engine, instead of training them.

    Raises:
        RunError: workers end again and again before they bring any run further.
    """
    kind = device_kind(sweep.spec.points[0].config.device)
    slots = {"MVM_SLOTS": str(max(workers, slot_count(kind)))}
    launcher, starts = launcher_of(), 0

    def start(number: int, *, retry: bool) -> Handle:
        arguments = ("work", sweep.name, *(driver or ["--queue"]), *["--retry-failed"] * retry)
        log = sweep.folder / f"worker-{number}.log"
        return launcher.submit(Task(f"{sweep.name} {number}", arguments, log=log, environment=slots))

    handles = {number: start(number, retry=retry) for number in range(workers)}
    reached: tuple[int, int] | None = None
    due = 0.0  # when a driver may try again
    try:
        while True:
            living = {number: handle.state in ALIVE for number, handle in handles.items()}  # before the runs
            progress = progress_of(sweep_named(sweep.name))  # a search adds runs
            yield progress
            if not any(living.values()) and not progress.left:
                return
            if (now := (sum(row.step for row in progress.rows), progress.left)) != reached:
                reached, starts = now, 0
            waiting = progress.left - (0 if driver else progress.alive)
            for number, lives in living.items():
                if not lives and waiting > 0 and time.monotonic() >= due:
                    if starts >= STARTS * workers:
                        log = handles[number].log
                        raise RunError(
                            f"sweep: the workers of {sweep.name} end too early: {last_line(log)} (see {log})"
                        )
                    starts, waiting = starts + 1, waiting - 1
                    handles[number] = start(number, retry=False)
                    due = time.monotonic() + PAUSE * 2**starts if driver else 0.0
            time.sleep(POLL)
    finally:
        for handle in handles.values():
            if driver:
                _ask_to_leave(handle)
            else:
                handle.cancel()
        for handle in handles.values():
            with contextlib.suppress(KeyboardInterrupt):
                handle.wait()


def _ask_to_leave(handle: Handle) -> None:
    """SIGTERM for a driver, not for its group: a Ray of its own is in there, whose tasks are to save first."""
    if handle.state in ALIVE:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(handle.job.split("-")[1]), signal.SIGTERM)
