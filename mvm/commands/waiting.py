"""`train --queue` before anything is imported: its place in the queue, and the wait for its turn.

    train --queue --run DIR     waits in a process that has loaded nothing, then trains in it
    train --queue ...           waits for its turn to make a run, makes it, draws a ticket and becomes the former

Both pass the entry, one at a time and in the order in which they were started, and draw their tickets there.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvm import processes
from mvm.jobs.queue import ENTRY, TICKET, Slot, Ticket, device_kind, slot
from mvm.jobs.turn import turn
from mvm.plain import read_object
from mvm.runs.layout import CONFIG

__all__ = ["Place", "place"]

SETTLE = 5.0  # most seconds at the entry for those that were started before, and are slower


class Place:
    """What a command holds before it is read.

    Args:
        is_process: the command is all that this process does.

    Attributes:
        has_turn: it has waited for its slot.
        slot: that it holds; None after its turn if it was asked to stop meanwhile.
    """

    def __init__(self, *, is_process: bool = False) -> None:
        self.is_process = is_process
        self.has_turn = False
        self.slot: Slot | None = None
        self.entry = contextlib.ExitStack()


@contextlib.contextmanager
def place(arguments: Sequence[str], *, is_process: bool) -> Iterator[Place]:
    """Queue a `train --queue` as far as this needs no imports; other commands get a place that holds nothing.

    Args:
        arguments: of the command line.
        is_process: the command is all that this process does, and may replace the process.

    Raises:
        RunBusy: the run is being trained.
    """
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    found = Place(is_process=is_process and alone)
    with contextlib.ExitStack() as held:
        held.callback(found.entry.close)
        if alone and _queues(arguments):
            run_dir = _named_run(arguments)
            kind = _kind(run_dir) if run_dir else None
            if run_dir is None or kind is None:
                found.entry.enter_context(_entry(settle=is_process))
            else:
                ticket = _ticket(kind, settle=is_process)
                found.slot = held.enter_context(turn(run_dir, kind, ticket=ticket, is_process=found.is_process))
                found.has_turn = True
        yield found


def _queues(arguments: Sequence[str]) -> bool:
    return arguments[:1] == ["train"] and "--queue" in arguments and not {"-h", "--help"} & {*arguments}


def _named_run(arguments: Sequence[str]) -> Path | None:
    """The folder of `train --queue --run DIR`; None if more is asked for, which has to be checked first."""
    others = [word for word in arguments[1:] if word != "--queue"]
    if len(others) == 1 and others[0].startswith("--run="):
        return Path(others[0].removeprefix("--run="))
    return Path(others[1]) if len(others) == 2 and others[0] == "--run" else None


def _kind(run_dir: Path) -> str | None:
    """The kind of device that a run waits for; None if there is none, or its config has to be checked first."""
    try:
        device = read_object(run_dir / CONFIG).get("device")
    except (OSError, ValueError):
        return None
    return device_kind(device) if device in ("auto", "cpu", "cuda") else None


def _ticket(kind: str, *, settle: bool) -> Ticket:
    """The ticket that was drawn for this process, or one that it draws in the order of such processes."""
    if TICKET in os.environ:
        return Ticket.given(kind)
    with _entry(settle=settle):
        return Ticket.draw(kind)


@contextlib.contextmanager
def _entry(*, settle: bool) -> Iterator[None]:
    """Be the only process in the entry, after those that were started before.

    Args:
        settle: wait first, as long as it took this process to come here: those before it may still be on their way.
    """
    ticket = Ticket.draw(ENTRY, number=processes.order())
    if settle:
        try:
            time.sleep(min(processes.age(), SETTLE))
        except BaseException:
            ticket.leave()
            raise
    with slot(ENTRY, give_up=lambda: False, on_wait=lambda: None, ticket=ticket):
        yield
