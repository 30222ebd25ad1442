"""Work in the background outlives who started it, and gives way to the screen that shows it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PROJECTION", "TRAINING", "TRAINING_ENVIRONMENT", "detached", "give_way", "set_training_environment"]

TRAINING = 10
PROJECTION = 19

# OpenMP threads spin while they wait for each other, and take the processor from every other process: pictures then
# train at less than half the rate beside the app. Sleeping at once costs many variants a third, since every operation
# has to wake the threads. These spin for some microseconds before they sleep. OpenMP reads it when torch is imported.
TRAINING_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}


def set_training_environment() -> None:
    """Set `TRAINING_ENVIRONMENT` in this process, before it imports torch; a person's OMP_WAIT_POLICY overrules it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.update(TRAINING_ENVIRONMENT | os.environ)


def detached(arguments: Sequence[str], *, log: Path) -> subprocess.Popen:
    """Start `python -m mvm ARGUMENTS` in a session of its own; what it prints is appended to the log."""
    command = [sys.executable, "-m", "mvm", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, env=environment
        )


def give_way(nice: int) -> None:
    """Lower this process's priority to at most the given niceness, where the system lets it.

    Linux schedules sessions as groups, and niceness counts only within one: a process that leads a session of its own,
    as a detached trainer does, must make its whole group nice too. $MVM_NICE overrules the niceness.
    """
    nice = int(os.environ.get("MVM_NICE") or nice)
    with contextlib.suppress(OSError):
        os.nice(max(0, nice - os.nice(0)))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(nice))
