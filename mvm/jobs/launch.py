"""Launch a training with one of the launchers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mvm.errors import ConfigError, RunBusy, reason_of
from mvm.jobs.launcher import Handle, Launcher, Task
from mvm.jobs.local import LocalLauncher
from mvm.jobs.queue import device_kind
from mvm.runs import layout
from mvm.runs.events import ALIVE, Failed, Launched
from mvm.runs.run import Run

__all__ = ["LAUNCHERS", "Training", "launch", "launcher_of"]

LAUNCHERS: dict[str, Callable[[], Launcher]] = {"local": LocalLauncher}


def launcher_of(name: str = "local") -> Launcher:
    """A launcher by its name.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in LAUNCHERS:
        raise ConfigError(f"launcher: unknown {name!r}; known: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]()


@dataclass(frozen=True)
class Training:
    """The handle of a training: its run on disk tells its state and takes requests, wherever it runs.

    Attributes:
        run: what is trained.
        handle: of the task.
    """

    run: Run
    handle: Handle

    @property
    def job(self) -> str:
        """As for `Handle`."""
        return self.handle.job

    @property
    def log(self) -> Path:
        """As for `Handle`."""
        return self.handle.log

    @property
    def state(self) -> str:
        """State of the run; while no trainer holds it, the task tells whether one is still to come."""
        living = self.handle.state in ALIVE  # asked first: a task that ends in between has left its last event
        state = self.run.status().state
        if living and state == "interrupted":
            return "starting"
        return "interrupted" if not living and state == "starting" else state

    def wait(self) -> str:
        """As for `Handle`."""
        self.handle.wait()
        return self.state

    def cancel(self) -> None:
        """Ask the trainer to save and leave."""
        self.run.ask(stop=True, pause_at=None)


def launch(
    run: Run,
    *,
    launcher: Launcher | None = None,
    queue: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Training:
    """Train a run in the background; the training outlives this process.

    Args:
        run: a run that no one trains.
        launcher: where it runs; this machine when None.
        queue: wait for a slot on its device; else begin at once.
        environment: variables to set for it.

    Raises:
        RunBusy: it is being trained already.
        OSError: it cannot be started, or its disk takes no line.
    """
    if run.alive():
        raise RunBusy(f"run: {run.name} is being trained already")
    run.clear_requests()
    run.append_event(Launched(step=run.status().step, time=time.time()))
    task = Task(
        run.name,
        ("train", "--run", str(run.path.absolute())),
        log=run.path / layout.LOG,
        device=device_kind(run.config.device) if queue else None,
        environment=environment or {},
    )
    try:
        return Training(run, (launcher or launcher_of()).submit(task))
    except Exception as error:  # else it would be shown as starting
        with contextlib.suppress(OSError):
            run.append_event(Failed(step=run.status().step, time=time.time(), reason=reason_of(error)))
        raise
