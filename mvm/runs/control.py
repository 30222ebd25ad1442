"""Requests to the trainer of a run: control.json, read and changed here alone.

A training that waits in the queue reads them without having imported torch, numpy or pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from mvm.files import locked, write_atomic
from mvm.plain import read_object
from mvm.runs.layout import CONTROL, CONTROL_LOCK

__all__ = ["MOST_COUNT", "MOST_STEP", "WEIGHTS", "Control", "change_control", "control_of", "read_control"]

MOST_STEP, MOST_COUNT = 10_000_000, 2**53  # of a run's documents
WEIGHTS = "weights."  # before the name of a weight in a dotted name


@dataclass(frozen=True)
class Control:
    """Requests to the trainer that hold now.

    Attributes:
        pause_at: pause once this many steps are done; None: run on.
        stop: save and leave.
        stop_at: save and leave once this many steps are done; a search holds a run there. None: run on.
        weights: new weights of losses, by name.
        serial: rises with each change of weights or settings, so that a resumed trainer applies each change once.
        settings: new values of other settings that may be moved while training, by dotted name.
    """

    pause_at: int | None = None
    stop: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    serial: int = 0
    settings: dict[str, float] = field(default_factory=dict)
    stop_at: int | None = None

    @property
    def moved(self) -> dict[str, float]:
        """Weights and other settings, by dotted name."""
        return {f"{WEIGHTS}{name}": value for name, value in self.weights.items()} | self.settings


def read_control(path: Path) -> Control:
    """The requests in a file.

    Raises:
        OSError: it is not there, or cannot be read now.
        ValueError: it is no plain file, or holds something else.
    """
    parts = read_object(path)
    control = Control(**{part.name: parts[part.name] for part in fields(Control) if part.name in parts})
    moved = [control.weights, control.settings]
    numbers = [each.values() if isinstance(each, dict) else [None] for each in moved]
    valid = {
        "pause_at": control.pause_at is None or (type(control.pause_at) is int and 0 <= control.pause_at <= MOST_STEP),
        "stop_at": control.stop_at is None or (type(control.stop_at) is int and 0 <= control.stop_at <= MOST_STEP),
        "stop": type(control.stop) is bool,
        "weights": all(type(weight) in (int, float) for weight in numbers[0]),
        "settings": all(type(value) in (int, float) for value in numbers[1]),
        "serial": type(control.serial) is int and 0 <= control.serial <= MOST_COUNT,
    }
    if wrong := [name for name, fits in valid.items() if not fits]:
        raise ValueError(f"{wrong[0]}: no such request can be made")
    return control


def control_of(run_dir: Path) -> Control:
    """The requests that hold now; a file that is unreadable, or of another form, holds none."""
    try:
        return read_control(run_dir / CONTROL)
    except (OSError, ValueError):
        return Control()


def change_control(run_dir: Path, change: Callable[[Control], Control]) -> Control:
    """Replace the requests by what `change` makes of them; no request that another process makes meanwhile is lost.

    Raises:
        RunBusy: another process holds their lock for 5 s.
    """
    busy = f"run: another process is changing the requests to {run_dir.name}; try again"
    with locked(run_dir / CONTROL_LOCK, wait=5, busy=busy):
        wanted = change(control_of(run_dir))
        write_atomic(run_dir / CONTROL, json.dumps(asdict(wanted)).encode())
    return wanted
