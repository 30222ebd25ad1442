"""All runs under `checkpoints()`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from mvm.errors import RunDamaged, RunError
from mvm.files import checkpoints, hide_folder, remove_hidden
from mvm.runs.layout import CONFIG, check_name
from mvm.runs.liveness import hold_run
from mvm.runs.run import Run

__all__ = ["all_runs", "delete_unreadable", "opened", "run_folders"]


def opened(path: Path, known: MutableMapping[str, Run]) -> Run:
    """The run in a folder: the one known by that path as long as it is there, else a new one, known from now on.

    Raises:
        RunError: as for `Run`.
    """
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
    """Folders under `checkpoints()` that look like runs; a run that is being made or deleted has a hidden one."""
    return (path.parent for path in checkpoints().glob(f"[!.]*/{CONFIG}"))


def delete_unreadable(name: str) -> None:
    """Remove a run under `checkpoints()` whose files are none of a run, at once for all who look.

    Raises:
        RunError: there is none, it is whole, it cannot be read now, or a trainer holds it.
    """
    folder = checkpoints() / check_name(name)
    with contextlib.suppress(RunDamaged):
        Run(folder)
        raise RunError(f"run: {name} can be read again; look at it before you delete it")
    with hold_run(folder, busy=f"run: {name} is being trained; stop it before you delete it"):
        gone = hide_folder(folder)
    remove_hidden(gone)


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
