"""Requests to the trainer of a run: control.json, read and changed here alone.

A training that waits in the queue reads them without having imported torch, numpy or pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mvm.files import locked, write_atomic
from mvm.runs.layout import CONTROL, CONTROL_LOCK

__all__ = ["Control", "change_control", "read_control"]


@dataclass(frozen=True)
class Control:
    """Requests to the trainer that hold now.

    Attributes:
        pause_at: pause once this many steps are done; None: run on.
        stop: save and leave.
        weights: new descriptor weights by name.
        serial: rises with each change of weights, so that a resumed trainer applies each change once.
    """

    pause_at: int | None = None
    stop: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    serial: int = 0


def read_control(run_dir: Path) -> Control:
    """The requests that hold now; a file that is unreadable, or of another form, holds none."""
    try:
        found = Control(**json.loads((run_dir / CONTROL).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return Control()
    return found if _is_valid(found) else Control()


def _is_valid(control: Control) -> bool:
    """Whether each request is of its type: the file may be someone else's."""
    weights = control.weights.values() if isinstance(control.weights, dict) else [None]
    return (
        (control.pause_at is None or type(control.pause_at) is int)
        and type(control.stop) is bool
        and all(type(weight) in (int, float) for weight in weights)
        and type(control.serial) is int
    )


def change_control(run_dir: Path, change: Callable[[Control], Control]) -> Control:
    """Replace the requests by what `change` makes of them; no request that another process makes meanwhile is lost.

    Raises:
        RunBusy: another process is at it for seconds.
    """
    busy = f"run: {run_dir.name} is being asked something by another process; try again"
    with locked(run_dir / CONTROL_LOCK, wait=5, busy=busy):
        wanted = change(read_control(run_dir))
        write_atomic(run_dir / CONTROL, json.dumps(asdict(wanted)).encode())
    return wanted
