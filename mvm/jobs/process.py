"""Work in the background outlives who started it, and gives way to the screen that shows it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PROJECTION", "TRAINING", "detached", "give_way"]

TRAINING = 10
PROJECTION = 19


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
