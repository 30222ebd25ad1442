"""A launcher that does each task at once, in this process, and keeps a list of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from mvm.__main__ import main
from mvm.jobs.launcher import Task

__all__ = ["Ended", "Here"]


@dataclass(frozen=True)
class Ended:
    """The handle of a task that has ended."""

    log: Path
    state: str
    job: str = ""

    def wait(self) -> str:
        return self.state

    def cancel(self) -> None:
        """There is nothing to end."""


def command(task: Task) -> str:
    """Run the command of a task."""
    with task.log.open("a") as log, redirect_stdout(log), redirect_stderr(log):
        return "failed" if main(list(task.arguments)) else "finished"


class Here:
    """The launcher; `work` does a task and returns the state that it ends in."""

    def __init__(self, work: Callable[[Task], str] = command) -> None:
        self.work, self.tasks = work, list[Task]()

    def submit(self, task: Task) -> Ended:
        self.tasks.append(task)
        return Ended(task.log, self.work(task))

    def attach(self, task: Task, job: str) -> Ended:
        return Ended(task.log, "finished", job)
