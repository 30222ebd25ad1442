"""Density along the manifold, on the Lab: which part the fakes miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
import torch

from app.charts.density import density_chart
from app.columns import columns_of
from app.components.live_plot import live_plot
from app.live import height_of
from app.session import Page
from mvm.data.points import truth_of
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.scoring.density import Density, density_along

if TYPE_CHECKING:
    from toy_manifolds import Manifold

__all__ = ["HEIGHT", "draw_density", "has_density"]

HEIGHT = 280  # pixels


def has_density(run: Run) -> bool:
    """Whether the run's data are a manifold along which points are counted."""
    return _truth(run) is not None


def _truth(run: Run) -> Manifold | None:
    truth = truth_of(run.config) if run.config.kind == "points" else None
    return truth if truth is not None and truth.charts else None


def draw_density(tab: Page, run: Run, records: History, step: int) -> str | None:
    """Draw the density of the fakes along the manifold at a step, a column for each variant; return a note."""
    view, truth = records.at(step), _truth(run)
    if view is None or truth is None:
        return None
    shown = columns_of(run)
    found = [_density(truth, repr(truth), view["fake"][member]) for member in shown.members]
    figure = density_chart(found, titles=shown.titles, step=step, colours=shown.colours)
    note = "; ".join(f"{title} {_words(each)}" for title, each in zip(shown.titles, found, strict=True))
    alt = f"Density of the fakes along the manifold at step {step}: {note}"
    live_plot(figure, key=f"density.{run.name}", height=height_of(tab, HEIGHT), alt=alt)
    return f"Step {step:,}; {note}."


def _words(density: Density) -> str:
    """Shares that are missed and off the manifold."""
    away = f", {100 * density.far:.0f} % of its fakes are off it" if density.far >= 0.005 else ""
    return f"misses {100 * density.missed:.0f} % of the manifold{away}"


@st.cache_data(max_entries=64, show_spinner=False)
def _density(_truth: Manifold, settings: str, fake: np.ndarray) -> Density:
    """The density of one member's fakes; kept, as to project them takes up to 0.3 s."""
    found = density_along(_truth, torch.from_numpy(fake))
    assert found is not None
    return found
