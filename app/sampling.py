"""Sampling time, a second timeline on the Lab: fakes on their way from noise, for methods that take many steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from app.charts import clouds
from app.columns import columns_of
from app.components.cloud_plot import cloud_plot
from app.components.timeline import clock
from app.layers import Axes
from app.live import height_of
from app.session import Page
from app.text import plain
from mvm.errors import RunError
from mvm.methods import METHODS
from mvm.runs.evaluate import SamplingPath, sampling_path
from mvm.runs.history import History
from mvm.runs.run import Run

__all__ = ["HEIGHT", "draw_sampling"]

HEIGHT = 360  # pixels
LEGEND = 60  # pixels that a chart is wider than high
MOST = 512  # points of each variant


def draw_sampling(tab: Page, run: Run, records: History, step: int) -> str | None:
    """Draw the fakes at a time of their sampling, by the networks of a step; return a note."""
    view = records.at(step)
    if view is None:
        return None
    try:
        kept = run.kept_step(step)
        written = kept is not None and run.kept_path(kept).stat().st_mtime_ns
        path = _path(str(run.path), step if kept is None else kept, written, min(MOST, view["fake"].shape[1]))
    except (RunError, OSError) as error:
        return str(error)
    st.fragment(_draw)(tab, run, view["real"], path)
    times = METHODS[run.config.method].times
    kept_before = f", the last kept before step {step:,}" if path.step < step else ""
    return f"{times}. Networks of step {path.step:,}{kept_before}."


def _draw(tab: Page, run: Run, real: np.ndarray, path: SamplingPath) -> None:
    """Draw the timeline and the fakes at its time."""
    shown, axes = columns_of(run), Axes.of(real)
    i = clock(path.times, key=f"sampling-time.{run.name}")
    fakes = axes(path.frames[i][shown.members])
    panels = clouds.data_panels(axes(real), fakes, titles=shown.titles)
    outside = clouds.outside(fakes, panels[0]["span"], titles=shown.titles)
    height = height_of(tab, HEIGHT)
    with st.container(width=height + LEGEND if len(panels) == 1 else "stretch", gap="xsmall"):
        cloud_plot(
            panels, key=f"sampling.{run.name}", height=height, step=i,
            alt=f"Real points, and fakes on their way from noise at {path.times[i]}: {', '.join(shown.titles)}",
        )  # fmt: skip
        if outside:
            st.caption(plain(f"At {path.times[i]}{outside}."))


@st.cache_data(max_entries=8, show_spinner="sampling ...")
def _path(path: str, step: int, written: int | bool, n: int) -> SamplingPath:
    """The path of a kept checkpoint, which is known by the time at which it was written."""
    return sampling_path(Run(Path(path)), step=step, n=n)
