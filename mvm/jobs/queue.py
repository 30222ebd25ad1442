"""A queue for trainings without a daemon: the queue is a folder of locks, one for each kind of device.

    checkpoints/.slots/cpu/slot-0.lock                  held by who trains
                           00000000000000000017.ticket  held by who waits; its number is the place in the queue
                           last                         the last number

A ticket is drawn by the process that asks for a training, so that trainings begin in the order in which they were asked
for, and names the process that is to hold it: its lock tells that it is waited with, its content that it soon will be.
The holder of the oldest living ticket takes the first free slot. A process that dies, however it dies, drops its locks,
so the queue cannot be stuck.

No clock is asked, and this module loads neither torch nor numpy: who waits costs little memory.
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
from mvm.files import checkpoints, lock_is_held, locked, write_atomic
from mvm.processes import identity, lives

__all__ = ["ENTRY", "TICKET", "DeviceKind", "Ticket", "device_kind", "slot", "slot_count"]

DeviceKind = Literal["cpu", "cuda"]
ENTRY = "entry"  # the queue in which commands wait that make a run before they wait for a device: one at a time
TICKET = "MVM_TICKET"  # environment variable: the ticket that was drawn for a process
POLL = 0.1  # seconds between two looks at the queue


def device_kind(device: str) -> DeviceKind:
    """The kind of device that a config's `device` trains on here: auto takes a GPU where there is one."""
    return "cuda" if device == "cuda" or (device == "auto" and _gpu_count()) else "cpu"


def slot_count(kind: str) -> int:
    """Number of trainings at once on a kind of device: $MVM_SLOTS, or one per GPU, or one less than the CPU cores.

    Raises:
        RunError: $MVM_SLOTS is not a number.
    """
    if kind == ENTRY:
        return 1
    if wanted := os.environ.get("MVM_SLOTS"):
        if not wanted.isdecimal() or not int(wanted):
            raise RunError(f"MVM_SLOTS: {wanted!r} is not a number of slots; give 1 or more")
        return int(wanted)
    return max(1, _gpu_count() if kind == "cuda" else (os.cpu_count() or 1) - 1)


class Ticket:
    """A place in the queue for a kind of device, for the process that is named in it.

    Args:
        path: of the ticket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def draw(cls, kind: str, *, number: int | None = None) -> Ticket:
        """A new ticket of this process, after all that there are.

        Args:
            kind: of device, or `ENTRY`.
            number: its place among the others; the last one when None.
        """
        folder = checkpoints() / ".slots" / kind
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_next_number(folder) if number is None else number:020d}.ticket"
        write_atomic(path, identity().encode())
        return cls(path)

    @classmethod
    def given(cls, kind: str) -> Ticket:
        """The ticket that was drawn for this process by who started it, if it still holds; else a new one."""
        path = Path(os.environ.pop(TICKET, ""))
        return cls(path) if path.suffix == ".ticket" and path.parent.name == kind and path.exists() else cls.draw(kind)

    @property
    def slots(self) -> list[Path]:
        """Locks of the slots that it waits for."""
        return [self.path.with_name(f"slot-{number}.lock") for number in range(slot_count(self.path.parent.name))]

    def hand_to(self, pid: int) -> None:
        """Name the process that is to hold it; one that has been served already needs none."""
        with contextlib.suppress(FileNotFoundError), self.path.open("r+b", buffering=0) as file:
            file.write(identity(pid).encode().ljust(64))

    def leave(self) -> None:
        """Give the place up; nothing happens where it is given up already."""
        self.path.unlink(missing_ok=True)

    def is_next(self) -> bool:
        """Whether no older ticket is held, or will be; those of the dead are removed."""
        for other in sorted(self.path.parent.glob("*.ticket")):
            if other == self.path:
                return True
            if _is_waited_with(other):
                return False
            with contextlib.suppress(OSError):
                other.unlink(missing_ok=True)
        return True

    def is_served(self) -> bool:
        """Whether it would get a slot at this moment."""
        return self.is_next() and any(not lock_is_held(lock) for lock in self.slots)

    def take_slot(self, held: contextlib.ExitStack) -> int | None:
        """Hold the first free slot, if it is this ticket's turn; None if there is none."""
        if self.is_next():
            for number, lock in enumerate(self.slots):
                with contextlib.suppress(RunBusy):
                    held.enter_context(locked(lock, wait=0))
                    return number
        return None


@contextlib.contextmanager
def slot(
    kind: str,
    *,
    give_up: Callable[[], bool],
    on_wait: Callable[[], None],
    ticket: Ticket | None = None,
) -> Iterator[int | None]:
    """Wait for a slot on a kind of device, and hold it.

    Args:
        kind: of device.
        give_up: asked while waiting; true leaves the queue.
        on_wait: called once if there is something to wait for.
        ticket: place in the queue; a new one when None.

    Yields:
        The number of the slot that is held, from 0; None if `give_up` said so.
    """
    ticket = ticket or Ticket.draw(kind)
    waiting = False
    with contextlib.ExitStack() as held:
        held.callback(ticket.leave)
        with locked(ticket.path):
            while (got := ticket.take_slot(held)) is None:
                if give_up():
                    break
                if not waiting:
                    on_wait()
                    waiting = True
                time.sleep(POLL)
            ticket.leave()
        yield got


def _gpu_count() -> int:
    """Number of GPUs that CUDA shows to this process; torch is not asked, as importing it takes seconds."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return len(list(itertools.takewhile(lambda name: name and not name.startswith("-"), seen.split(","))))


def _next_number(folder: Path) -> int:
    """The next ticket's number: no number is given twice, so that nobody removes the ticket of another."""
    with locked(folder / "last.lock", wait=10, busy=f"queue: {folder} is locked by another process; try again"):
        known = [int(path.stem[:20]) for path in folder.glob("[0-9]*.ticket")]
        with contextlib.suppress(OSError, ValueError):
            known.append(int((folder / "last").read_text(encoding="ascii")))
        number = max(known, default=0) + 1
        write_atomic(folder / "last", str(number).encode())
    return number


def _is_waited_with(ticket: Path) -> bool:
    """Whether a process holds a ticket, or one that runs on this machine is about to."""
    if lock_is_held(ticket):
        return True
    try:
        return lives(ticket.read_text(encoding="ascii", errors="replace").strip()) is True
    except OSError:
        return False
