"""Work in the background gives way to the screen that shows it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["PROJECTION", "TRAINING", "give_way"]

TRAINING = 10
PROJECTION = 19


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
