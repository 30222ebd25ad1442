"""A queue for trainings without a daemon: the queue is a folder of locks, one for each kind of device.

    checkpoints/.slots/cpu/slot-0.lock        held by who trains
                           00…17-42.ticket    held by who waits; the number of its time is its place

Each waiting process holds a ticket; the holder of the oldest living ticket takes the first free slot. A process that
dies, however it dies, drops its locks, so the queue cannot be stuck.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from mvm.errors import RunBusy, RunError
from mvm.files import checkpoints, lock_is_held, locked

__all__ = ["DeviceKind", "device_kind", "slot", "slot_count"]

DeviceKind = Literal["cpu", "cuda"]
POLL = 0.1  # seconds between two looks at the queue


def device_kind(device: str) -> DeviceKind:
    """The kind of device that a config's `device` trains on here: auto takes a GPU where there is one."""
    return "cuda" if device == "cuda" or (device == "auto" and _gpu_count()) else "cpu"


def slot_count(kind: DeviceKind) -> int:
    """Number of trainings at once on a kind of device: $MVM_SLOTS, or one per GPU, or one less than the CPU cores.

    Raises:
        RunError: $MVM_SLOTS is not a number.
    """
    if wanted := os.environ.get("MVM_SLOTS"):
        if not wanted.isdecimal() or not int(wanted):
            raise RunError(f"MVM_SLOTS: {wanted!r} is not a number of slots; give 1 or more")
        return int(wanted)
    return max(1, _gpu_count() if kind == "cuda" else (os.cpu_count() or 1) - 1)


@contextlib.contextmanager
def slot(kind: DeviceKind, *, give_up: Callable[[], bool], on_wait: Callable[[], None]) -> Iterator[int | None]:
    """Wait for a slot on a kind of device, and hold it.

    Args:
        kind: of device.
        give_up: asked while waiting; true leaves the queue.
        on_wait: called once if there is something to wait for.

    Yields:
        The number of the slot that is held, from 0; None if `give_up` said so.
    """
    folder = checkpoints() / ".slots" / kind
    folder.mkdir(parents=True, exist_ok=True)
    ticket = folder / f"{time.time_ns():020d}-{os.getpid()}.ticket"
    waiting = False
    with contextlib.ExitStack() as held:
        held.callback(ticket.unlink, missing_ok=True)
        held.enter_context(locked(ticket))
        while (got := _take_slot(held, folder, slot_count(kind)) if _is_next(ticket) else None) is None:
            if give_up():
                break
            if not waiting:
                on_wait()
                waiting = True
            time.sleep(POLL)
        ticket.unlink(missing_ok=True)
        yield got


def _gpu_count() -> int:
    """Number of GPUs that CUDA shows to this process; torch is not asked, as importing it takes seconds."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return len(list(itertools.takewhile(lambda name: name and not name.startswith("-"), seen.split(","))))


def _take_slot(held: contextlib.ExitStack, folder: Path, count: int) -> int | None:
    for number in range(count):
        with contextlib.suppress(RunBusy):
            held.enter_context(locked(folder / f"slot-{number}.lock", wait=0))
            return number
    return None


def _is_next(ticket: Path) -> bool:
    """Whether no older ticket is held; tickets of the dead are removed."""
    for other in sorted(ticket.parent.glob("*.ticket")):
        if other == ticket:
            return True
        if lock_is_held(other):
            return False
        other.unlink(missing_ok=True)
    return True
