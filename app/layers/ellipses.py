"""Metric: ellipses of equal distance under the pulled-back metric G = Jᵀ J, over its log distortion ½ log det G."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from app.charts import clouds
from app.layers.choice import Choice
from app.layers.panels import Layered, Panels
from app.layers.scene import Scene
from mvm.geometry.pullback import ellipses, log_volume
from mvm.look.palette import SEQUENTIAL, VOLUME
from mvm.studies.learned_metric import FILL, LearnedMetric, LocalMetric, field_on, on_manifold, step_length

__all__ = ["add_ellipses"]

ON_SURFACE = 120  # ellipses on a manifold in three dimensions
CORNERS = 32  # of the polygon that draws an ellipse
SIZES = {1: "length", 2: "area"}  # what the metric distorts, by dimension


@dataclass(frozen=True)
class _Sample:
    """The metric at n places of D dimensions, as arrays.

    Attributes:
        centres: `(n, D)`.
        bases: orthonormal, of the tangent spaces, `(n, D, d)`.
        metric: `(n, d, d)`.
        small: log volume at the centres, `(n,)`.
        volume: in the plane, log volume on a fine grid `(rows, columns)`; on a manifold, the same as `small`.
        spacing: distance between neighbouring centres.
        length: in the embedding, of the step that an ellipse shows.
    """

    centres: np.ndarray
    bases: np.ndarray
    metric: np.ndarray
    small: np.ndarray
    volume: np.ndarray
    spacing: float
    length: float

    def outlines(self) -> np.ndarray:
        """Polygons `(n, corners, D)` about the centres, no wider than the space between them; segments on a curve."""
        metric, longest = torch.from_numpy(self.metric), FILL * self.spacing
        if metric.shape[-1] == 1:
            half = (self.length / metric[:, 0].clamp_min(1e-30).sqrt()).clamp_max(longest)
            inside = torch.stack([-half, half], dim=1)
        else:
            inside = ellipses(metric, scale=self.length, points=CORNERS, longest=longest)
        return self.centres[:, None] + inside.float().numpy() @ self.bases.swapaxes(-1, -2)


def add_ellipses(panels: Panels, choice: Choice, scene: Scene) -> Layered:
    """Add ellipses, over a field of log volume in the plane, coloured by log volume on a manifold in space."""
    span, dim = panels[0]["span"], scene.view["real"].shape[-1]
    manifold = scene.metrics[0].metric.units.manifold
    if dim == 3 and (manifold is None or manifold.intrinsic_dim == 0):
        return Layered(panels, ["In three dimensions the metric is drawn on the manifold, which is unknown here."])
    if dim == 3:
        places = _spread(scene.view["real"], ON_SURFACE)
        samples = [_on_manifold(of.key, of.metric, places) for of in scene.metrics]
    else:
        samples = [_on_plane(of.key, tuple(map(tuple, span)), of.metric) for of in scene.metrics]
    if not any(np.isfinite(sample.volume).any() for sample in samples):
        return Layered(panels, ["The embedding is constant here: every step has length 0 under the metric."])
    inner = samples[0].metric.shape[-1]
    size = SIZES.get(inner, "volume")
    stops = VOLUME if dim == 2 else SEQUENTIAL
    title = f"log {size} distortion of the metric"
    scale = clouds.scale_of([sample.volume for sample in samples], title=title, stops=stops)
    lengths = {panel["title"]: f"{sample.length:g}" for panel, sample in zip(panels, samples, strict=True)}
    same = next(iter(lengths.values())) if len({*lengths.values()}) == 1 else None
    name = f"points at {f'metric distance {same}' if same else 'equal metric distance'} from the centre"
    layered = []
    for panel, sample in zip(panels, samples, strict=True):
        values = None if dim == 2 else sample.small
        outline = clouds.outlines(sample.outlines(), values, scale, name=name)
        behind = [clouds.field(sample.volume, span, scale)] if dim == 2 else []
        layered.append(panel | {"layers": [*behind, outline, *panel["layers"]]})
    distances = same or ", ".join(f"{length} ({title})" for title, length in lengths.items())
    note = (
        f"{'Segments' if inner == 1 else 'Ellipses'}: points at metric distance {distances} from the centre. "
        f"Log {size} distortion: natural logarithm of the factor by which the metric scales {size}s."
    )
    return Layered(layered, [note])


@st.cache_data(max_entries=32, show_spinner=False)
def _on_plane(key: tuple, span: tuple[tuple[float, float], ...], _metric: LearnedMetric) -> _Sample:
    found = field_on(_metric, span)
    return _sample(found.local, found.spacing, found.volume.float().numpy())


@st.cache_data(max_entries=32, show_spinner=False)
def _on_manifold(key: tuple, _metric: LearnedMetric, _places: np.ndarray) -> _Sample:
    found = on_manifold(_metric, torch.from_numpy(_places))
    nearest = torch.cdist(found.centres, found.centres).fill_diagonal_(torch.inf).amin(1)
    return _sample(found, float(nearest.median()))


def _sample(found: LocalMetric, spacing: float, volume: np.ndarray | None = None) -> _Sample:
    small = log_volume(found.metric).float().numpy()
    centres, bases = found.centres.float().numpy(), found.bases.float().numpy()
    length = step_length(found, spacing)
    return _Sample(centres, bases, found.metric.numpy(), small, small if volume is None else volume, spacing, length)


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the points `(n, D)`, by farthest-point sampling."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=-1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=-1))
    return points[chosen]
