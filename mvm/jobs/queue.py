"""A queue for trainings without a daemon: the queue is a folder of locks, one for each kind of device.

    checkpoints/.slots/cpu/slot-0.lock                  held by who trains
                           00000000000000000017.ticket  held by who waits; its number is the place in the queue
                           00000000000000000009-1.ticket  the same, for slot 1 alone
                           last                         the last number

A ticket is drawn by the process that asks for a training, so that trainings begin in the order in which they were asked
for, and names the process that is to hold it: its lock tells that it is waited with, its content that it soon will be.
The holder of the oldest living ticket takes the first free slot. A process that dies, however it dies, drops its locks,
so the queue cannot be stuck.

A training that pauses gives its slot back. When it is to go on, it waits at its former place, before those that asked
later; on a GPU it waits for the same slot, as its tensors are on that GPU, and lets others have the free ones.

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

__all__ = ["ENTRY", "TICKET", "DeviceKind", "Slot", "Ticket", "device_kind", "slot", "slot_count"]

DeviceKind = Literal["cpu", "cuda"]
ENTRY = "entry"  # the queue in which commands wait that make a run before they wait for a device: one at a time
TICKET = "MVM_TICKET"  # environment variable: the ticket that was drawn for a process
POLL = 0.1  # seconds between two looks at the queue
DIGITS = 20  # of a ticket's number


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
        path = folder / f"{_next_number(folder) if number is None else number:0{DIGITS}d}.ticket"
        write_atomic(path, identity().encode())
        return cls(path)

    def draw_again(self, *, only: int | None = None) -> Ticket:
        """A ticket for the place of this one, which was served; `only` is the one slot that it is for."""
        path = self.path.with_name(f"{self.path.stem[:DIGITS]}{'' if only is None else f'-{only}'}.ticket")
        write_atomic(path, identity().encode())
        return type(self)(path)

    @classmethod
    def given(cls, kind: str) -> Ticket:
        """The ticket that was drawn for this process by who started it, if it still holds; else a new one."""
        path = Path(os.environ.pop(TICKET, ""))
        return cls(path) if path.suffix == ".ticket" and path.parent.name == kind and path.exists() else cls.draw(kind)

    @property
    def slots(self) -> dict[int, Path]:
        """Locks of the slots that it waits for, by number."""
        only = self.path.stem[DIGITS + 1 :]
        numbers = [int(only)] if only.isdecimal() else range(slot_count(self.path.parent.name))
        return {number: self.path.with_name(f"slot-{number}.lock") for number in numbers}

    def hand_to(self, pid: int) -> None:
        """Name the process that is to hold it; one that has been served already needs none."""
        with contextlib.suppress(FileNotFoundError), self.path.open("r+b", buffering=0) as file:
            file.write(identity(pid).encode().ljust(64))

    def leave(self) -> None:
        """Give the place up; nothing happens where it is given up already."""
        self.path.unlink(missing_ok=True)

    def own_slots(self) -> dict[int, Path]:
        """Locks of the slots that no older ticket waits for, by number; tickets of the dead are removed."""
        slots = self.slots
        for other in sorted(self.path.parent.glob("*.ticket")):
            if other == self.path:
                break
            if _is_waited_with(other):
                slots = {number: lock for number, lock in slots.items() if number not in type(self)(other).slots}
            else:
                with contextlib.suppress(OSError):
                    other.unlink(missing_ok=True)
        return slots

    def is_next(self) -> bool:
        """Whether there is a slot that no older ticket waits for, or will."""
        return bool(self.own_slots())

    def is_served(self) -> bool:
        """Whether it would get a slot at this moment."""
        return any(not lock_is_held(lock) for lock in self.own_slots().values())

    def take_slot(self, held: contextlib.ExitStack) -> int | None:
        """Hold the first free slot, if it is this ticket's turn; None if there is none."""
        for number, lock in self.own_slots().items():
            with contextlib.suppress(RunBusy):
                held.enter_context(locked(lock, wait=0))
                return number
        return None


class Slot:
    """A slot that is waited for, held, given back while a training pauses, and waited for again.

    Args:
        ticket: place in the queue, for the first wait and for those after it.

    Attributes:
        number: of the slot that was held last; None before the first.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.number: int | None = None
        self._ticket = ticket
        self._waiting, self._holding = contextlib.ExitStack(), contextlib.ExitStack()
        self._is_waiting = False

    def take(self) -> bool:
        """Hold a slot if it is this training's turn; else keep its place in the queue. Asked until it is true."""
        if not self._is_waiting:
            if self.number is not None:
                on_gpu = self._ticket.path.parent.name == "cuda"
                self._ticket = self._ticket.draw_again(only=self.number if on_gpu else None)
            self._waiting.enter_context(locked(self._ticket.path))
            self._is_waiting = True
        got = self._ticket.take_slot(self._holding)
        if got is None:
            return False
        self.number = got
        self._leave_queue()
        return True

    def give_back(self) -> None:
        """Leave the slot, or the queue, to others."""
        self._leave_queue()
        self._holding.close()

    def _leave_queue(self) -> None:
        self._ticket.leave()
        self._waiting.close()
        self._is_waiting = False


@contextlib.contextmanager
def slot(
    kind: str,
    *,
    give_up: Callable[[], bool],
    on_wait: Callable[[], None],
    ticket: Ticket | None = None,
) -> Iterator[Slot | None]:
    """Wait for a slot on a kind of device, and hold it.

    Args:
        kind: of device.
        give_up: asked while waiting; true leaves the queue.
        on_wait: called once if there is something to wait for.
        ticket: place in the queue; a new one when None.

    Yields:
        The slot that is held; None if `give_up` said so.
    """
    found, told = Slot(ticket or Ticket.draw(kind)), False
    try:
        while not found.take():
            if give_up():
                found.give_back()
                yield None
                return
            if not told:
                on_wait()
                told = True
            time.sleep(POLL)
        yield found
    finally:
        found.give_back()


def _gpu_count() -> int:
    """Number of GPUs that CUDA shows to this process; torch is not asked, as importing it takes seconds."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return len(list(itertools.takewhile(lambda name: name and not name.startswith("-"), seen.split(","))))


def _next_number(folder: Path) -> int:
    """The next ticket's number: no number is given twice, so that nobody removes the ticket of another."""
    with locked(folder / "last.lock", wait=10, busy=f"queue: {folder} is locked by another process; try again"):
        known = [int(path.stem[:DIGITS]) for path in folder.glob("[0-9]*.ticket")]
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
