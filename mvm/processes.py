"""Identity of a process: its number alone is another process's after a while, on another machine, or in a container.

    identity()      "1f0c22ab-4711-90210": the machine's boot and space of process numbers, number, time of the start
    lives(mark)     whether the process of an identity runs; None if it is another machine's
    order()         a number that grows from each process of this machine to those started after it
    age()           seconds since this process was started

No clock is asked: the start is counted from the machine's boot, which no change of the date moves.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
import zlib
from pathlib import Path

__all__ = ["MARK", "age", "identity", "lives", "order"]

MARK = r"[0-9a-f]{8}-[0-9]+-[0-9]+"  # of an identity, as a regular expression


def identity(pid: int | None = None) -> str:
    """Identity of a process; of this one when None."""
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}-{pid}-{_started(pid) or 0}"


def lives(mark: str) -> bool | None:
    """Whether the process of an identity runs here; None if it is, or was, of another machine or an earlier boot."""
    if not re.fullmatch(MARK, mark):
        return None
    machine, pid, started = mark.split("-")
    if machine != _machine():
        return None
    return _started(int(pid)) == int(started)


def order() -> int:
    """A number that grows with the start of processes on this machine: above those of all earlier ones."""
    return ((_started(os.getpid()) or 0) << 22) + os.getpid()


def age() -> float:
    """Seconds since this process was started; 0 where the system does not tell."""
    if not (started := _started(os.getpid())):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK"))


def _started(pid: int) -> int | None:
    """Clock ticks from the machine's boot to the start of a process; None if it has ended or is a zombie."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if words[0] in (b"Z", b"X") else int(words[19])
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)  # a system without /proc: its number is all that is known
    except PermissionError:
        return 0
    except OSError:
        return None
    return 0


@functools.cache
def _machine() -> str:
    """Eight hexadecimal digits for this boot of this machine, and for its space of process numbers."""
    known = os.uname().nodename
    with contextlib.suppress(OSError):
        known += Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        known += str(Path("/proc/self/ns/pid").readlink())
    return f"{zlib.crc32(known.encode()):08x}"
