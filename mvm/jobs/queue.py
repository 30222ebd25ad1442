"""A queue for training processes without a daemon: the queue is a folder of locks.

Each waiting process holds a ticket; the holder of the oldest living ticket takes the first free slot. A process that
dies, however it dies, drops its locks, so the queue cannot be stuck.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mvm.errors import RunBusy, RunError
from mvm.files import checkpoints, lock_is_held, locked

__all__ = ["slot", "slot_count"]


def slot_count() -> int:
    """Trainings at once from the queue: $MVM_SLOTS, or one per GPU, or one less than the CPU cores.

    Raises:
        RunError: $MVM_SLOTS is not a number.
    """
    if wanted := os.environ.get("MVM_SLOTS"):
        if not wanted.isdecimal() or not int(wanted):
            raise RunError(f"MVM_SLOTS: {wanted!r} is not a number of slots; give 1 or more")
        return int(wanted)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = Path("/proc/driver/nvidia/gpus").glob("*") if seen is None else filter(None, seen.split(","))
    return len(list(gpus)) or max(1, (os.cpu_count() or 1) - 1)


@contextlib.contextmanager
def slot(*, give_up: Callable[[], bool], on_wait: Callable[[], None]) -> Iterator[int | None]:
    """Wait for a device slot and hold it.

    Args:
        give_up: asked while waiting; true leaves the queue.
        on_wait: called once if there is something to wait for.

    Yields:
        The number of the slot that is held, from 0; None if `give_up` said so.
    """
    folder = checkpoints() / ".slots"
    folder.mkdir(parents=True, exist_ok=True)
    ticket = folder / f"{time.time_ns():020d}-{os.getpid()}.ticket"
    told = False
    with contextlib.ExitStack() as held:
        held.callback(ticket.unlink, missing_ok=True)
        held.enter_context(locked(ticket))
        while (got := _take_slot(held, folder) if _is_first(ticket) else None) is None and not give_up():
            if not told:
                on_wait()
                told = True
            time.sleep(0.1)
        ticket.unlink(missing_ok=True)
        yield got


def _take_slot(held: contextlib.ExitStack, folder: Path) -> int | None:
    for number in range(slot_count()):
        with contextlib.suppress(RunBusy):
            held.enter_context(locked(folder / f"slot-{number}.lock", wait=0))
            return number
    return None


def _is_first(ticket: Path) -> bool:
    for other in sorted(ticket.parent.glob("*.ticket")):
        if other == ticket:
            return True
        if lock_is_held(other):
            return False
        other.unlink(missing_ok=True)
    return True
