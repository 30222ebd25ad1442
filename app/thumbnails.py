"""A small picture of each run: its reals and its fakes, or some of its pictures, as the last snapshot has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from app.components.picture_grid import encode
from app.layers.panels import Axes
from mvm.look.palette import FAKE, REAL
from mvm.look.thumbnails import thumbnail
from mvm.runs.run import Run

__all__ = ["thumbnail_of"]

POINTS = 120  # of each layer
PICTURES = 4
WIDE = 2.8  # dots, as they are few and drawn small


def thumbnail_of(run: Run, variant: str | None = None) -> str | None:
    """The data URL of a run's picture; None before there is a snapshot.

    Args:
        run: to be pictured.
        variant: whose fakes are drawn; None for the last one.
    """
    steps, variants = run.snapshot_steps(), run.config.variants
    member = (variants.index(variant) if variant in variants else len(variants) - 1) * len(run.config.seeds)
    return _drawn(run.path, steps[-1], member, _run=run) if steps else None


@st.cache_data(max_entries=1024, show_spinner=False)
def _drawn(path: Path, step: int, member: int, *, _run: Run) -> str | None:
    fakes = _run.snapshot_tensor(step, "fake")
    if fakes is None:
        return None
    fake = fakes[member]
    if _run.config.kind != "points":
        return encode(fake[:PICTURES], quality=80)
    real = _run.snapshot_tensor(step, "real")
    if real is None or not np.isfinite(real).all():
        return None
    axes = Axes.of(real)
    layers = [(axes(points)[:POINTS], colour) for points, colour in ((real, REAL), (fake, FAKE))]
    return thumbnail(*layers, dot=WIDE)
