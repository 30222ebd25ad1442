"""All runs under `checkpoints()`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from mvm.errors import RunDamaged, RunError
from mvm.files import checkpoints, hide_folder, lost_target, remove_hidden, sweep
from mvm.runs.layout import CLAIMS, CONFIG, check_name
from mvm.runs.liveness import hold_run, sweep_run

if TYPE_CHECKING:
    from mvm.runs.run import Run

__all__ = ["all_runs", "delete_unreadable", "opened", "run_folders", "sweep_runs"]


def opened(path: Path, known: MutableMapping[str, Run]) -> Run:
    """The run in a folder: the one known by that path as long as it is there, else a new one, known from now on.

    Raises:
        RunError: as for `Run`.
    """
    from mvm.runs.run import Run  # loads torch, which only lists folders need not

    run = known.get(str(path))
    if run is None or not run.is_there():
        run = known[str(path)] = Run(path)
    return run


def all_runs(known: MutableMapping[str, Run] | None = None) -> Iterator[Run]:
    """Every readable run under `checkpoints()`, newest first; others are passed over.

    Args:
        known: as for `opened`.
    """
    known = {} if known is None else known
    for folder in sorted(run_folders(), key=lambda folder: _modified(folder / CONFIG), reverse=True):
        with contextlib.suppress(RunError):
            yield opened(folder, known)


def run_folders() -> Iterator[Path]:
    """Folders under `checkpoints()` that look like runs, and broken links, such as to a disk that is not mounted.

    A run that is being made or deleted has a hidden folder.
    """
    for path in checkpoints().glob("[!.]*"):
        if os.path.exists(f"{path}/{CONFIG}") or lost_target(path):  # noqa: PTH110 (false for what this user may not see)
            yield path


def delete_unreadable(name: str) -> None:
    """Remove a damaged run under `checkpoints()`, at once for all readers.

    Raises:
        RunError: there is none, it is readable, it cannot be read now, or a trainer holds it.
    """
    from mvm.runs.run import Run

    folder = checkpoints() / check_name(name)
    if folder not in run_folders():
        Run(folder)  # says so
    if lost_target(folder):
        folder.unlink()
        return
    with contextlib.suppress(RunDamaged):
        Run(folder)
        raise RunError(f"run: {name} can be read again; look at it before you delete it")
    with hold_run(folder, busy=f"run: {name} is being trained; stop it before you delete it"):
        gone = hide_folder(folder)
    remove_hidden(gone)


def sweep_runs() -> None:
    """Remove the temporary files that killed processes left in the runs and beside them."""
    root = checkpoints()
    for folder in (root, root / CLAIMS, *root.glob(".*/"), *root.glob(".slots/*/"), *root.glob(".sweeps/*/")):
        sweep(folder)
    for run in (*run_folders(), *(path.parent for path in root.glob(f"{CLAIMS}/*/{CONFIG}"))):
        sweep_run(run)


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
