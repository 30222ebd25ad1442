"""Manifold matching via deep metric learning: the method, its peers, the runs and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mvm.runs.trained import Trained

__all__ = ["__version__", "load", "rebuild"]

__version__ = "0.2.0.dev0"


# torch and matplotlib take seconds to import: each function imports its module when it is called


def load(
    run: str | Path,
    *,
    variant: str | None = None,
    seed: int | None = None,
    best: bool = False,
    device: str | None = None,
) -> Trained:
    """Load a run's generator and metric: see `mvm.runs.trained.load`."""
    from mvm.runs import trained

    return trained.load(run, variant=variant, seed=seed, best=best, device=device)


def rebuild(folder: Path, runs: Sequence[str] = ()) -> int:
    """Make every figure of a folder again from its recipe, and compare: see `mvm.figures.export.rebuild`."""
    from mvm.figures import export
    from mvm.jobs.process import print_any_text

    print_any_text()
    return export.rebuild(folder, runs)
