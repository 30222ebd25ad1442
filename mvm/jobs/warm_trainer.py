"""A warm trainer: a process that has imported everything, so that Train shows its first frame at once.

Importing torch takes most of the time between a click and the first step. `python -m mvm.jobs.warm_trainer` imports it
in advance, then waits for one line on its standard input, a command of this program and its log, and becomes that
command. From then on it outlives the process that started it; before, it ends with that process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from mvm.jobs.process import TRAINING, give_way, start

__all__ = ["WarmTrainer"]

IMPORTED = ("mvm.commands.training", "mvm.runs.evaluate", "mvm.runs.recorder", "tqdm")  # by a training, sooner or later


class WarmTrainer:
    """Keeps one process ready to train; safe to use from several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start a process if none is waiting; returns at once."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = start("mvm.jobs.warm_trainer", stdin=subprocess.PIPE)

    def take(
        self, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes] | None:
        """Hand `python -m mvm ARGUMENTS` to the waiting process, whether or not it has finished importing.

        Args:
            arguments: of the command.
            log: file that gets its output.
            environment: variables to set beside.

        Returns:
            That process; None if none is waiting.
        """
        with self._lock:
            process, self._process = self._process, None
        if process is None or process.poll() is not None or process.stdin is None:
            return None
        command = {"arguments": list(arguments), "log": str(log.absolute()), "environment": dict(environment or {})}
        with contextlib.suppress(OSError):
            process.stdin.write(f"{json.dumps(command)}\n".encode())
            process.stdin.close()
            return process
        return None


def main() -> None:
    """Import, wait for a command, then run it in this process."""
    give_way(TRAINING)
    for module in IMPORTED:
        importlib.import_module(module)
    if not select.select([sys.stdin], [], [], 0)[0]:  # no one is waiting yet
        import scipy.optimize  # what the first quick score needs
        import scipy.stats  # noqa: F401

    line = sys.stdin.readline()
    if not line.strip():
        return
    command = json.loads(line)
    log = os.open(command["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(command["environment"])
    sys.argv = ["mvm", *command["arguments"]]
    runpy.run_module("mvm", run_name="__main__")


if __name__ == "__main__":
    main()
