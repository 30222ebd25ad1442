"""Background processes: `python -m MODULE` in a session of its own, which outlives the process that started it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

__all__ = [
    "PROJECTION",
    "TRAINING",
    "TRAINING_ENVIRONMENT",
    "become",
    "end",
    "environment",
    "give_way",
    "print_any_text",
    "set_training_environment",
    "start",
]

TRAINING = 10
PROJECTION = 19

# OpenMP threads spin while they wait for each other, and take the processor from every other process: pictures then
# train at less than half the rate beside the app. Sleeping at once costs many variants a third, since every operation
# has to wake the threads. These spin for some microseconds before they sleep. OpenMP reads it when torch is imported.
TRAINING_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}

OUTPUT = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}  # logs are UTF-8 in every locale


def set_training_environment() -> None:
    """Set `TRAINING_ENVIRONMENT` in this process, before it imports torch; a person's own OMP_WAIT_POLICY holds."""
    os.environ.update(_added())


def _added() -> dict[str, str]:
    """What `TRAINING_ENVIRONMENT` adds to this process's environment."""
    if "OMP_WAIT_POLICY" in os.environ:
        return {}
    return {name: value for name, value in TRAINING_ENVIRONMENT.items() if name not in os.environ}


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a background process; a person's own OMP_WAIT_POLICY holds.

    Args:
        more: variables to set beside.
    """
    return dict(os.environ) | _added() | OUTPUT | dict(more or {})


def start(
    module: str,
    arguments: Sequence[str] = (),
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    more: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE ARGUMENTS` in a session of its own: no Ctrl-C meant for its parent ends it.

    Args:
        module: to run.
        arguments: of its command line.
        stdin, stdout, stderr: as for `subprocess.Popen`; pipes are not buffered.
        more: environment variables to set beside.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        bufsize=0,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        env=environment(more),
    )


def become(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `python -m mvm ARGUMENTS`, of the same number and output; what it has loaded is freed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", "mvm", *arguments], environment())


def end(pid: int) -> None:
    """Ask a process that `start` started, and its children, to end at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)


def give_way(nice: int) -> None:
    """Lower this process's priority to at most the given niceness, where the system lets it.

    Linux schedules sessions as groups, and niceness counts only within one: a process that leads a session of its own,
    as a background trainer does, must make its whole group nice too. $MVM_NICE overrules the niceness.
    """
    nice = int(os.environ.get("MVM_NICE") or nice)
    with contextlib.suppress(OSError):
        os.nice(max(0, nice - os.nice(0)))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(nice), encoding="utf-8")


def print_any_text() -> None:
    """From now on print a question mark for each character that the terminal's encoding lacks, instead of failing.

    An error handler that a person has chosen by $PYTHONIOENCODING holds.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
