"""Presence of workers on a disk, by which its locks are tried: some disks take a lock of each machine that asks.

    checkpoints/.sweeps/.workers/IDENTITY    one for each worker: locked by it, its time is the last heartbeat

A worker that starts lets a child process try the lock that it holds itself, and tries the locks of the workers of
other machines: one that it could have while its holder's heart beats does not hold. From then on trainers keep leases
(`mvm.runs.lease`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mvm.files import NO_ROOM, checkpoints, lock_is_held, locked
from mvm.processes import identity, lives
from mvm.runs.lease import EXPIRES, disk_time, keep_leases, wait_for_leases, why_leases

__all__ = ["present"]

HEARTBEAT = 2.0  # seconds between two
POLL = 0.1  # seconds between two looks at a heart
TRY = """
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "a+b"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit()
sys.exit("had it")
"""


@contextlib.contextmanager
def present(say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Be seen as a worker of this machine by the workers of others; tries the disk's locks before.

    Args:
        say: gets a line if trainers keep leases here.
    """
    folder = checkpoints() / ".sweeps" / ".workers"
    own = folder / identity()
    if lock_is_held(own) or os.environ.get("MVM_LEASES") == "never" or not _announce(own):
        yield  # it is present already, nobody asks, or the disk is full
        return
    with locked(own):
        ended = threading.Event()
        thread = threading.Thread(target=_beat, args=(own, ended), daemon=True)
        thread.start()
        try:
            if not _holds_against_a_child(own):
                keep_leases("processes")
            elif not why_leases() and (machine := _machine_without_locks(folder)):
                say(f"{machine} holds a lock that this machine could take as well")
                keep_leases("machines")
            if why := why_leases():
                say(f"{checkpoints()}: trainers keep leases there ({why}): one whose machine dies is replaced after "
                    f"{EXPIRES:.0f} s")  # fmt: skip
            wait_for_leases()
            yield
        finally:
            ended.set()
            thread.join()
            own.unlink(missing_ok=True)
            _forget_the_dead(folder)


def _announce(own: Path) -> bool:
    """Write a worker's file before it is locked, as closing it drops the lock; returns whether there was room."""
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(os.uname().nodename, encoding="utf-8")
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return False
    return True


def _beat(own: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(own)


def _holds_against_a_child(own: Path) -> bool:
    """Whether a child process is refused the lock that this one holds."""
    tried = subprocess.run([sys.executable, "-ISc", TRY, str(own)], stderr=subprocess.PIPE, check=False)
    return tried.stderr.strip() != b"had it"


def _machine_without_locks(folder: Path) -> str:
    """Name of another machine whose worker lives and whose lock could be had here; "" without.

    A worker that was killed leaves its file, too: so it must be seen to live, by another heartbeat.
    """
    seen = {path: _heard(path) for path in _forget_the_dead(folder) if lives(path.name) is None}
    end = time.monotonic() + 3 * HEARTBEAT
    while (suspects := [path for path in seen if path.exists() and not lock_is_held(path)]) and time.monotonic() < end:
        for path in suspects:
            if _heard(path) > seen[path] and not lock_is_held(path):
                with contextlib.suppress(OSError):
                    return path.read_text(encoding="utf-8", errors="replace") or "another machine"
        time.sleep(POLL)
    return ""


def _forget_the_dead(folder: Path) -> list[Path]:
    """Files of living workers; those that killed ones have left are removed."""
    living = []
    for path in folder.iterdir():
        here = lives(path.name)
        if here or (here is None and abs(disk_time(checkpoints()) - _heard(path)) < EXPIRES):
            living.append(path)
        else:
            path.unlink(missing_ok=True)
    return living


def _heard(path: Path) -> float:
    """Time of a worker's last heartbeat; 0 if it has left. The file is opened, as disks of a network know it then."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime
    return 0.0
