"""One way to start work: a launcher takes a task and gives a handle.

    handle = launcher.submit(task)     handle.state, handle.log, handle.wait(), handle.cancel()

What a task does is a command of this program, its truth is on disk: the log, the lock that it holds while it runs, the
file that it leaves. So it may run anywhere that sees the same disk, and is found again after a restart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mvm.jobs.queue import DeviceKind

__all__ = ["Handle", "Launcher", "Task", "last_line"]


@dataclass(frozen=True)
class Task:
    """One piece of work: `python -m MODULE ARGUMENTS`.

    Attributes:
        name: for people.
        arguments: of the command.
        log: file that gets its output.
        device: kind of device that a training waits for in the queue; None: it begins at once.
        lock: file that it locks while it runs, if it does.
        result: file that is there once it has succeeded, if it leaves one; else its exit status tells.
        module: whose command it is.
        environment: variables beside those of the process that submits it.
    """

    name: str
    arguments: tuple[str, ...]
    log: Path
    device: DeviceKind | None = None
    lock: Path | None = None
    result: Path | None = None
    module: str = "mvm"
    environment: Mapping[str, str] = field(default_factory=dict)


class Handle(Protocol):
    """A task that was submitted."""

    @property
    def job(self) -> str:
        """What its launcher finds it by again."""
        ...

    @property
    def state(self) -> str:
        """One of `mvm.runs.events.ALIVE`; else finished, failed, or another end of a training."""
        ...

    @property
    def log(self) -> Path:
        """File with its output."""
        ...

    def wait(self) -> str:
        """Wait until it has ended, and return its state."""
        ...

    def cancel(self) -> None:
        """Ask it to end; what it has saved is kept."""
        ...


class Launcher(Protocol):
    """A place where tasks run."""

    def submit(self, task: Task) -> Handle:
        """Start a task, or put it in a queue, and return at once."""
        ...

    def attach(self, task: Task, job: str) -> Handle:
        """The handle of a task that was submitted before, maybe by another process."""
        ...


def last_line(log: Path) -> str:
    """The last line of a log that is not empty: why a command failed; "" without one."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""
