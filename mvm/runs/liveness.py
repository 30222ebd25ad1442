"""Liveness of a run's trainer: answered here alone, by its lock, and by its lease where other machines see the disk.

`sweep_run` removes what killed processes have left in a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mvm.files import lock_is_held, locked, sweep
from mvm.runs.layout import FRAMES, KEPT, LOCK, SNAPSHOTS
from mvm.runs.lease import held_elsewhere, hold_lease

__all__ = ["hold_run", "is_alive", "lock_of", "sweep_run"]


def is_alive(run_dir: Path) -> bool:
    """Whether a living process trains the run in this folder."""
    return lock_is_held(run_dir / LOCK) or bool(held_elsewhere(run_dir))


@contextlib.contextmanager
def hold_run(run_dir: Path, *, busy: str | None = None) -> Iterator[None]:
    """Be the only process that may train, rename or delete the run in this folder.

    Args:
        run_dir: folder of the run.
        busy: message if another process holds it; that it is being trained when None.

    Raises:
        RunBusy: another process holds it.
    """
    with locked(run_dir / LOCK, busy=busy), hold_lease(run_dir):
        yield


def lock_of(run_dir: Path) -> Path:
    """The file whose lock a trainer holds."""
    return run_dir / LOCK


def sweep_run(run_dir: Path) -> None:
    """Remove the temporary files that killed processes left in a run."""
    sweep(run_dir)
    for inner in (SNAPSHOTS, FRAMES, KEPT):
        sweep(f"{run_dir}/{inner}")  # quicker than a path
