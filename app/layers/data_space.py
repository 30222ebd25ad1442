"""Data space with the chosen layers over its points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from app.layers.choice import Choice
from app.layers.density import add_density
from app.layers.ellipses import add_ellipses
from app.layers.forces import add_forces
from app.layers.geodesics import add_geodesics
from app.layers.modes import colour_clouds
from app.layers.nearest import add_nearest
from app.layers.panels import Axes, Layered, Panels
from app.layers.scene import Scene, metrics_at
from mvm.errors import ConfigError, RunError
from mvm.methods import METHODS, Method
from mvm.runs.run import Run

__all__ = ["over_clouds"]

OF_METRIC = {"metric": add_ellipses, "geodesic": add_geodesics}  # they need a learned metric, and 2 or 3 dimensions


def over_clouds(
    panels: Panels, choice: Choice, run: Run, view: dict[str, np.ndarray], members: Sequence[int], axes: Axes
) -> Layered:
    """Add the chosen layers to the panels of data space; a layer that fails leaves a note in its place.

    Args:
        panels: from `clouds.cloud`.
        choice: layers and colours.
        run: whose points they are.
        view: arrays of the shown step.
        members: indices into the variant axis, one per panel.
        axes: that the points are drawn on.
    """
    layers, notes = _layers(choice, run, view["real"].shape[-1])
    if not layers:
        return Layered(panels, notes)
    step = int(view["step"])
    try:
        metrics = metrics_at(run, members, step)
        scene = Scene(run, view, members, axes, metrics)
        for layer in layers:
            layered = layer(panels, choice, scene)
            panels, notes = layered.panels, [*notes, *layered.notes]
        used = {*layers} - {colour_clouds, add_density} or (colour_clouds in layers and "real_embedding" not in view)
        if used and metrics[0].metric.step != step:
            notes.append(f"Metric from the checkpoint of step {metrics[0].metric.step:,}.")
    except (RunError, ConfigError, OSError) as error:
        notes.append(f":orange[{error}]")
    return Layered(panels, notes)


def _layers(choice: Choice, run: Run, dim: int) -> tuple[list[Callable[..., Layered]], list[str]]:
    """Functions that draw the chosen layers, in order, and notes on the layers that this run lacks."""
    method = METHODS[run.config.method]
    layers: list[Callable[..., Layered]] = [colour_clouds] if choice.colour == "eigenvector" else []
    notes = []
    if "forces" in choice.layers:
        if method.matches_descriptors:
            layers.append(add_forces)
        else:
            notes.append(f"{method.title} matches no descriptors, so it has no forces to draw.")
    of_metric = [layer for name, layer in OF_METRIC.items() if name in choice.layers]
    if of_metric and not method.learns_metric:
        notes.append(f"{method.title} learns no metric, so there are no ellipses and geodesics to draw.")
    elif of_metric and dim > 3:
        notes.append(f"The metric and its geodesics are drawn in 2 and 3 dimensions; these points have {dim}.")
    else:
        layers += of_metric
    if "density" in choice.layers:
        if method.log_density is not Method.log_density:
            layers.append(add_density)
        else:
            notes.append(f"{method.title} has no density to draw; a normalizing flow or diffusion has one.")
    if "nearest" in choice.layers:
        layers.append(add_nearest)
    return layers, notes
