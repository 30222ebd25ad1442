"""Manifold matching via deep metric learning: the method, its peers, the runs and their scores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mvm.trained import Trained

__all__ = ["load"]

# Threads of one training would otherwise spin while they wait for each other, and take the processor from all others:
# without spinning, pictures on two threads train 2.5 times as fast beside the app. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def load(run: str | Path, *, variant: str | None = None, seed: int | None = None, best: bool = False) -> Trained:
    """A run's generator and metric, ready to use: see `mvm.trained.load`."""
    from mvm import trained  # torch takes seconds, and not all who import this package need it

    return trained.load(run, variant=variant, seed=seed, best=best)
