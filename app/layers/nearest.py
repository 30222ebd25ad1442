"""Nearest: the points nearest to a chosen one under the learned metric, in space, and along the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st
import torch

from app.charts import clouds
from app.layers.choice import Choice
from app.layers.panels import Layered, Panels, add_layers
from app.layers.scene import PanelMetric, Scene
from mvm.lenses.nearest import NEAREST, WAYS, nearest_points
from mvm.methods import METHODS

__all__ = ["add_nearest"]


def add_nearest(panels: Panels, choice: Choice, scene: Scene) -> Layered:
    """Mark the reals nearest to the chosen point, and make the points clickable."""
    real, fake = scene.view["real"], scene.view["fake"]
    kind, index = choice.near[0], min(choice.near[1], len(real) - 1)
    learns = METHODS[scene.run.config.method].learns_metric
    manifold = scene.metrics[0].metric.units.manifold
    layered, words = [], []
    for panel, metric, member in zip(panels, scene.metrics, scene.members, strict=True):
        point = real[index] if kind == "real" else fake[member][index]
        if not np.isfinite(point).all():
            layered.append(panel)
            continue
        found = _nearest((*metric.key, kind, index, scene.step), point, real, metric if learns else None, manifold)
        marks = [clouds.nearest(scene.axes(real[found[way]]), way, WAYS[way]) for way in WAYS if way in found]
        clickable = [layer | ({"offset": 0} if layer["name"] in ("real", "fake") else {}) for layer in panel["layers"]]
        layered.append(add_layers(panel | {"layers": clickable}, *marks, clouds.chosen(scene.axes(point[None]))))
        shared = {way: len(np.intersect1d(found[way], found["along"])) for way in found if way != "along"}
        words.append(f"{panel['title']} {shared.get('metric', '–')} / {shared['euclid']}")
    note = (
        f"The {NEAREST} reals nearest to {kind} {index}. Of those along the data, the learned metric / straight lines "
        f"find: {'; '.join(words)}. Click another point."
    )
    return Layered(layered, [note])


@st.cache_data(max_entries=64, show_spinner=False)
def _nearest(
    key: tuple, _point: np.ndarray, _real: np.ndarray, _metric: PanelMetric | None, _manifold: Any
) -> dict[str, np.ndarray]:
    query, points = torch.from_numpy(_point), torch.from_numpy(_real)
    embed = None if _metric is None else (lambda x: torch.from_numpy(_metric.embed(x.float().numpy())))
    return nearest_points(query, points, embed=embed, manifold=_manifold)
