"""The points that the Lab shows of a step, and the learned metric of each panel at that step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from app.layers.panels import Axes
from mvm.data.points import PointData
from mvm.runs.run import Run
from mvm.studies.learned_metric import LearnedMetric, checkpoint_at, metric_at, units_of

__all__ = ["PanelMetric", "Scene", "metrics_at", "units_in"]


@dataclass(frozen=True)
class PanelMetric:
    """The learned metric of one panel.

    Attributes:
        metric: callable on points `(n, D)` in the data's own units.
        key: checkpoint file, its time and the member: what tells this metric from others in a cache.
    """

    metric: LearnedMetric
    key: tuple

    @torch.no_grad()
    def embed(self, points: np.ndarray) -> np.ndarray:
        """Embeddings `(n, k)` of points `(n, D)`."""
        return self.metric(torch.from_numpy(points)).numpy()


@dataclass(frozen=True)
class Scene:
    """The shown points and the metrics of the panels.

    Attributes:
        run: whose points are shown.
        view: arrays of the shown step.
        members: indices into the variant axis, one per panel.
        axes: that points are drawn on.
        metrics: one per panel.
    """

    run: Run
    view: dict[str, np.ndarray]
    members: Sequence[int]
    axes: Axes
    metrics: list[PanelMetric]

    @property
    def step(self) -> int:
        """The shown step."""
        return int(self.view["step"])


def metrics_at(run: Run, members: Sequence[int], step: int) -> list[PanelMetric]:
    """The metrics of these members in the last checkpoint up to a step.

    Raises:
        RunError: there is no checkpoint, or it is damaged.
        ConfigError: the data are missing.
    """
    path = checkpoint_at(run, step)
    keys = [(str(path), path.stat().st_mtime_ns, member) for member in members]
    return [PanelMetric(_metric(key, run, step), key) for key in keys]


@st.cache_resource(max_entries=64, show_spinner=False)
def _metric(key: tuple, _run: Run, _step: int) -> LearnedMetric:
    torch.set_num_threads(1)
    return metric_at(_run, key[-1], _step, units=units_in(_run))


def units_in(run: Run) -> PointData:
    """The run's data set without its points, kept."""
    return _units((str(run.path), run.identity), run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _units(key: tuple, _run: Run) -> PointData:
    return units_of(_run)
