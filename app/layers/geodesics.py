"""Geodesics between two reals: under the learned metric, the straight line, and the manifold's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from app.charts import clouds
from app.layers.choice import Choice
from app.layers.panels import Layered, Panels, add_layers
from app.layers.scene import Scene
from mvm.studies.learned_metric import LearnedMetric, Route, routes, true_route

__all__ = ["add_geodesics"]


def add_geodesics(panels: Panels, choice: Choice, scene: Scene) -> Layered:
    """Add the paths between the two chosen reals, A and B, and make the reals clickable."""
    real = scene.view["real"]
    start, end = (min(index, len(real) - 1) for index in choice.ends)
    ends = real[[start, end]]
    span = tuple(map(tuple, panels[0]["span"]))
    manifold = scene.metrics[0].metric.units.manifold
    true = _true_route((str(scene.run.path), scene.run.identity), ends.tobytes(), manifold)
    layered, lengths = [], []
    for panel, of in zip(panels, scene.metrics, strict=True):
        found = _routes(of.key, ends.tobytes(), span, of.metric, true)
        paths = {kind: route.path.numpy() for kind, route in found.items() if route.path is not None}
        on_top = sorted(paths, key=lambda kind: kind == "geodesic")
        drawn = [clouds.route(paths[kind], kind) for kind in on_top]
        clickable = [layer | ({"offset": 0} if layer["name"] == "real" else {}) for layer in panel["layers"]]
        layered.append(add_layers(panel | {"layers": clickable}, *drawn, clouds.ends(ends)))
        measured = [route.metric_length for route in found.values() if route.metric_length is not None]
        seen = " / ".join(f"{length:.3g}" for length in measured)
        lengths.append(f"{panel['title']} {seen}")
    kinds = "geodesic / straight line" + (" / true geodesic" if true is not None and true.path is not None else "")
    note = f"From real {start} (A) to real {end} (B), lengths under the metric, {kinds}: {'; '.join(lengths)}."
    if true is None:
        note += " The true geodesic is unknown."
    elif true.path is None and np.isinf(true.length):
        note += " There is no true geodesic: A and B lie in different components."
    else:
        note += f" The true geodesic has length {true.length:.3g} in data space."
    note += " Click two real points to choose another pair." if choice.picks_ends else ""
    return Layered(layered, [note])


@st.cache_data(max_entries=64, show_spinner=False)
def _routes(key: tuple, ends: bytes, span: tuple, _metric: LearnedMetric, _true: Route | None) -> dict[str, Route]:
    start, end = _points(ends)
    low, high = torch.tensor(span).T
    return routes(_metric, start, end, bounds=(torch.minimum(low, start), torch.maximum(high, start)), true=_true)


@st.cache_data(max_entries=64, show_spinner=False)
def _true_route(key: tuple, ends: bytes, _manifold: Any) -> Route | None:
    return true_route(_manifold, *_points(ends))


def _points(ends: bytes) -> Tensor:
    """Two points `(2, D)` from their bytes, which a cache's key can hold."""
    return torch.frombuffer(bytearray(ends), dtype=torch.float32).view(2, -1)
