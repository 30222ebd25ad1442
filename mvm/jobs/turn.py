"""The wait of a training for its turn, in a process that has loaded neither torch nor numpy nor pydantic.

    with turn(run_dir, kind) as slot: ...

The run is held from the start and shown as queued. Requests to pause and new weights stand in its control.json until
the training begins; a request to stop ends the wait, and so do Ctrl-C and SIGTERM, which leave the run stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mvm.errors import reason_of
from mvm.files import append_line
from mvm.jobs.process import become
from mvm.jobs.queue import TICKET, Slot, Ticket, slot
from mvm.runs.control import change_control, control_of
from mvm.runs.layout import RECORDS
from mvm.runs.liveness import hold_run

__all__ = ["turn"]


@contextlib.contextmanager
def turn(run_dir: Path, kind: str, *, ticket: Ticket, is_process: bool) -> Iterator[Slot | None]:
    """Hold a run, and wait for a slot on its kind of device.

    Args:
        run_dir: folder of the run.
        kind: of device.
        ticket: its place in the queue.
        is_process: this process does nothing else; if it has loaded torch and must wait, a fresh one replaces it.

    Yields:
        The slot; None if the run was asked to stop while it waited.

    Raises:
        RunBusy: another process trains the run.
    """
    with contextlib.ExitStack() as held:
        held.callback(ticket.leave)
        if is_process and "torch" in sys.modules and not ticket.is_served():
            os.environ[TICKET] = str(ticket.path.absolute())
            become(["train", "--run", str(run_dir.absolute()), "--queue"])
        held.enter_context(hold_run(run_dir))
        with _end_recorded(run_dir), _sigterm_raises():
            got = held.enter_context(
                slot(
                    kind,
                    give_up=lambda: control_of(run_dir).stop,
                    on_wait=lambda: _record(run_dir, "queued"),
                    ticket=ticket,
                )
            )
            if got is None:
                _record(run_dir, "stopped")
                change_control(run_dir, lambda now: replace(now, stop=False))
        yield got


def _record(run_dir: Path, event: str, **more: str) -> None:
    """Append an event as `mvm.runs.events` would, without loading pydantic."""
    append_line(run_dir / RECORDS, {"step": 0, "event": event, "time": time.time(), **more})


@contextlib.contextmanager
def _end_recorded(run_dir: Path) -> Iterator[None]:
    """Record in the run why the wait has ended, if its disk takes a line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        with contextlib.suppress(OSError):
            _record(run_dir, "stopped")
        raise
    except Exception as error:
        with contextlib.suppress(OSError):
            _record(run_dir, "failed", reason=reason_of(error))
        raise


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Leave by an exception on SIGTERM, where this is the main thread."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
