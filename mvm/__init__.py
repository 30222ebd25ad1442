"""Manifold matching via deep metric learning: the method, its peers, the runs and their scores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mvm.runs.trained import Trained

__all__ = ["load"]

# Threads of one training would otherwise spin for as long as they wait for each other, and take the processor from all
# others: beside the app pictures then train at less than half the rate. Put to sleep at once, they are woken for every
# operation, which costs many variants a third. So they spin for some microseconds first. Read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def load(run: str | Path, *, variant: str | None = None, seed: int | None = None, best: bool = False) -> Trained:
    """A run's generator and metric, ready to use: see `mvm.runs.trained.load`."""
    from mvm.runs import trained  # torch takes seconds, and not all who import this package need it

    return trained.load(run, variant=variant, seed=seed, best=best)
