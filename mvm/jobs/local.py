"""The launcher of this machine: processes of their own, a queue by device slots, and a warm trainer.

A task that asks for a device is a training: it waits in the queue (`--queue`, mvm.jobs.queue), and a warm trainer takes
it where there is one.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvm.errors import RunError
from mvm.files import lock_is_held
from mvm.jobs import process
from mvm.jobs.launcher import Task
from mvm.jobs.queue import TICKET, Ticket
from mvm.jobs.warm_trainer import WarmTrainer
from mvm.processes import identity, lives
from mvm.runs.events import ALIVE

__all__ = ["LocalHandle", "LocalLauncher"]

POLL = 0.05  # seconds between two looks at a process that is no child of this one


@dataclass(frozen=True)
class LocalHandle:
    """A task in a process of this machine.

    Attributes:
        task: what was submitted.
        job: identity of its process, which leads a group of its own.
        child: the process, where it was started here.
    """

    task: Task
    job: str
    child: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

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
        if self._is_running():
            process.end(int(self.job.split("-")[1]))

    def _is_running(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return lives(self.job) is True


@dataclass(frozen=True)
class LocalLauncher:
    """Starts tasks on this machine.

    Attributes:
        warm_trainer: takes trainings, to save the time of a start.
    """

    warm_trainer: WarmTrainer | None = None

    def submit(self, task: Task) -> LocalHandle:
        """As for `Launcher`; a training gets its place in the queue now, whenever its process comes to it."""
        if task.device is None:
            started = self._start(task, list(task.arguments), {})
            return LocalHandle(task, identity(started.pid), started)
        ticket = Ticket.draw(task.device)
        arguments, given = [*task.arguments, "--queue"], {TICKET: str(ticket.path.absolute())}
        child: subprocess.Popen[bytes] | None = None
        try:
            if self.warm_trainer and not task.environment and _is_served(ticket):
                child = self.warm_trainer.take(arguments, log=task.log, environment=given)
            child = child or self._start(task, arguments, given)
            ticket.hand_to(child.pid)
        except BaseException:
            ticket.leave()
            raise
        return LocalHandle(task, identity(child.pid), child)

    @staticmethod
    def _start(task: Task, arguments: Sequence[str], more: dict[str, str]) -> subprocess.Popen[bytes]:
        with task.log.open("ab") as log:
            return process.start(task.module, arguments, stdout=log, stderr=log, more={**task.environment, **more})

    def attach(self, task: Task, job: str) -> LocalHandle:
        """As for `Launcher`."""
        return LocalHandle(task, job)


def _is_served(ticket: Ticket) -> bool:
    """Whether a training would begin at once; one that cannot begin at all says so itself."""
    with contextlib.suppress(RunError):
        return ticket.is_served()
    return False
