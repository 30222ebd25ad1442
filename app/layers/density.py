"""Density: log p of the model, as a field with level curves in the plane, as colours of the reals elsewhere."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from app.charts import clouds
from app.layers.choice import Choice
from app.layers.panels import Layered, Panels
from app.layers.scene import Scene, units_in
from mvm.look.palette import SEQUENTIAL, VOLUME
from mvm.runs.run import Run
from mvm.studies.learned_metric import checkpoint_at
from mvm.studies.model_density import SHARES, ModelDensity, density_at, level_curves, levels, shade_limits

__all__ = ["add_density"]

TITLE = "log density of the model"
PERCENTS = " / ".join(f"{100 * share:.0f}" for share in SHARES)
MEANING = f" Of the fakes, {PERCENTS} % lie where the density is higher than on the level curves."


def add_density(panels: Panels, choice: Choice, scene: Scene) -> Layered:
    """Add log p behind the points of the plane with its level curves, or colour the reals by it."""
    flat = scene.view["real"].shape[-1] == 2
    path = checkpoint_at(scene.run, scene.step)
    keys = [(str(path), path.stat().st_mtime_ns, member) for member in scene.members]
    densities = [_density(key, scene.run, scene.step) for key in keys]
    span = tuple(map(tuple, panels[0]["span"])) if flat else None
    found = [
        _on_plane(key, span, each) if span else _at(key, scene.step, each, scene.view["real"])
        for key, each in zip(keys, densities, strict=True)
    ]
    low, high = shade_limits(found)
    scale = {"title": TITLE, "stops": list(VOLUME if flat else SEQUENTIAL), "low": low, "high": high}
    notes = [f"Log density in nats, in standardised coordinates{'' if flat else ', at the reals'}.{flat * MEANING}"]
    if densities[0].step != scene.step:
        notes.append(f"Density from the checkpoint of step {densities[0].step:,}.")
    if not flat:
        return Layered(clouds.coloured(panels, [{"real": values} for values in found], scale), notes)
    layered = []
    for panel, key, each, values, member in zip(panels, keys, densities, found, scene.members, strict=True):
        shares = levels(_at(key, scene.step, each, scene.view["fake"][member]))
        curves = clouds.curves(
            level_curves(values, panel["span"], shares), name=f"level curves, {PERCENTS} % of the fakes"
        )
        layered.append(panel | {"layers": [clouds.field(values, panel["span"], scale), curves, *panel["layers"]]})
    return Layered(layered, notes)


@st.cache_resource(max_entries=64, show_spinner=False)
def _density(key: tuple, _run: Run, step: int) -> ModelDensity:
    torch.set_num_threads(1)
    return density_at(_run, key[-1], step, units=units_in(_run))


@st.cache_data(max_entries=32, show_spinner="Computing the density")
def _on_plane(key: tuple, span: tuple[tuple[float, float], ...], _density: ModelDensity) -> np.ndarray:
    return _density.on_plane(span)


@st.cache_data(max_entries=64, show_spinner=False)
def _at(key: tuple, step: int, _density: ModelDensity, points: np.ndarray) -> np.ndarray:
    return _density(torch.from_numpy(points)).numpy()
