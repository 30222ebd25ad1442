"""The launcher of this machine: processes of their own, a queue by device slots, and a warm trainer.

A task that asks for a device is a training: it waits in the queue (`--queue`, mvm.jobs.queue), and a warm trainer takes
it where there is one.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from mvm.files import lock_is_held
from mvm.jobs import process
from mvm.jobs.launcher import Task
from mvm.jobs.warm_trainer import WarmTrainer
from mvm.runs.events import ALIVE

__all__ = ["LocalHandle", "LocalLauncher"]

STARTING = 60  # seconds after which a process that does not hold its task's lock may be another one of the same number
POLL = 0.05  # seconds between two looks at a process that is no child of this one


@dataclass(frozen=True)
class LocalHandle:
    """A task in a process of this machine.

    Attributes:
        task: what was submitted.
        pid: of its process, which leads a group of its own.
        began: when it was submitted, seconds since the epoch.
        child: the process, where it was started here.
    """

    task: Task
    pid: int
    began: float
    child: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def job(self) -> str:
        """Process and time."""
        return f"{self.pid}@{self.began:.3f}"

    @property
    def log(self) -> Path:
        """As for `Handle`."""
        return self.task.log

    @property
    def state(self) -> str:
        """starting (its lock is still free), running, finished or failed."""
        lock, result = self.task.lock, self.task.result
        if lock is not None and lock_is_held(lock):
            return "running"
        if result is not None and result.exists():
            return "finished"
        if self._is_running():
            return "running" if lock is None else "starting"
        return "finished" if result is None and self.child is not None and self.child.returncode == 0 else "failed"

    def wait(self) -> str:
        """As for `Handle`."""
        if self.child is not None:
            self.child.wait()
        while self.state in ALIVE:
            time.sleep(POLL)
        return self.state

    def cancel(self) -> None:
        """End its processes at once."""
        if self.state in ALIVE:
            process.end(self.pid)

    def _is_running(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        may_be_another = self.task.lock is not None and time.time() - self.began > STARTING
        return not may_be_another and process.is_running(self.pid)


@dataclass(frozen=True)
class LocalLauncher:
    """Starts tasks on this machine.

    Attributes:
        warm_trainer: takes trainings, to save the time of a start.
    """

    warm_trainer: WarmTrainer | None = None

    def submit(self, task: Task) -> LocalHandle:
        """As for `Launcher`."""
        arguments = [*task.arguments, "--queue"] if task.device else list(task.arguments)
        child = None
        if self.warm_trainer and task.device and not task.environment:
            child = self.warm_trainer.take(arguments, log=task.log)
        if child is None:
            with task.log.open("ab") as log:
                child = process.start(task.module, arguments, stdout=log, stderr=log, more=task.environment)
        return LocalHandle(task, child.pid, time.time(), child)

    def attach(self, task: Task, job: str) -> LocalHandle:
        """As for `Launcher`."""
        pid, began = job.split("@")
        return LocalHandle(task, int(pid), float(began))
