"""Wait for what other processes do, without a deadline by the clock: a busy machine is slow, not broken.

A wait has patience. Time in which no process of this test session wants a processor spends it, second by second; time
in which one runs spends a quarter; time in which one waits for a processor that others hold spends none. Whatever the
caller names as progress restores it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["MARK", "Pace", "cost", "growth", "processes", "until"]

T = TypeVar("T")

MARK = "MVM_TEST_SESSION"  # every process that a test starts inherits it, detached or not
PATIENCE = 120.0  # seconds of standing still, or four times as much processor time
SAMPLE = 1.0  # seconds between two looks at the processes


@dataclass(frozen=True)
class Pace:
    """Time that the session's threads have had, by thread id, in nanoseconds.

    Attributes:
        ran: on a processor.
        waited: for a processor, ready to run.
    """

    ran: dict[int, int]
    waited: dict[int, int]

    @classmethod
    def now(cls) -> Pace:
        """Of every thread of the session but the one that asks."""
        ran, waited, own = {}, {}, threading.get_native_id()
        for process in processes():
            for path in _listed(process / "task"):
                if (times := _read(path / "schedstat").split()) and int(path.name) != own:
                    ran[int(path.name)], waited[int(path.name)] = int(times[0]), int(times[1])
        return cls(ran, waited)

    def since(self, before: Pace) -> tuple[float, float]:
        """Seconds run and seconds waited since an earlier look, over all threads."""
        return _grown(self.ran, before.ran), _grown(self.waited, before.waited)


def cost(passed: float, ran: float, waited: float) -> float:
    """Patience that `passed` seconds cost, in which processes ran and waited for a processor this long."""
    return max(0.0, passed - ran - waited) + ran / 4


def until(
    condition: Callable[[], T],
    what: str = "the condition",
    *,
    progress: Callable[[], object] = lambda: None,
    every: float = 0.005,
) -> T:
    """Poll until the condition holds, and return what it gave.

    Args:
        condition: polled.
        what: it is waited for; named by the failure.
        progress: whatever changes while the awaited work goes on, such as a run's step.
        every: seconds between two polls.
    """
    if found := condition():
        return found
    left, seen, pace, then = PATIENCE, progress(), Pace.now(), time.monotonic()
    while not (found := condition()):
        time.sleep(every)
        if (passed := time.monotonic() - then) < SAMPLE:
            continue
        pace, before, then = Pace.now(), pace, then + passed
        left -= cost(passed, *pace.since(before))
        if (now := progress()) != seen:
            left, seen = PATIENCE, now
        assert left > 0, f"waited in vain for {what}; progress stands at {seen!r}; {len(pace.ran)} threads are alive"
    return found


def growth(folder: Path) -> tuple[int, int, int]:
    """Number of files below a folder, their bytes, and the time of the last change: what a living run moves."""
    stats = []
    for path in folder.rglob("*"):
        try:
            stats.append(path.stat())
        except FileNotFoundError:  # a temporary one
            continue
    return len(stats), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def processes() -> set[Path]:
    """Folders under /proc of this process, of every one that carries this session's mark, and of their descendants."""
    mark, parents, ours = f"{MARK}={os.environ.get(MARK)}".encode(), {}, {Path("/proc", str(os.getpid()))}
    for path in _listed(Path("/proc")):
        if path.name.isdecimal() and (stat := _read(path / "stat").rpartition(b")")[2].split()) and stat[0] != b"Z":
            parents[path] = Path("/proc", stat[1].decode())
            if mark in _read(path / "environ").split(b"\0"):
                ours.add(path)
    while born := {path for path, parent in parents.items() if parent in ours} - ours:
        ours |= born
    return ours


def _grown(now: dict[int, int], before: dict[int, int]) -> float:
    return sum(max(0, value - before.get(thread, 0)) for thread, value in now.items()) / 1e9


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process has ended
        return []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended, or is another user's
        return b""
