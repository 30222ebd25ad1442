"""Colours of the UMAP projection: an eigenvector, or how far each point's neighbours are true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
import torch

from app.charts import clouds
from app.layers.choice import COLOURS, Choice
from app.layers.modes import colour_by_mode, modes_at
from app.layers.panels import Layered, Panels
from mvm.geometry.neighbourhoods import continuity, neighbours, trustworthiness
from mvm.look.palette import SEQUENTIAL
from mvm.runs.run import Run

__all__ = ["over_projection"]

SCORES = {"trust": trustworthiness, "continuity": continuity}
TITLES = {"trust": "trustworthiness", "continuity": "continuity"}
MEANING = {
    "trust": "1 where all neighbours in the plot are neighbours under the metric",
    "continuity": "1 where all neighbours under the metric are neighbours in the plot",
}


def over_projection(
    panels: Panels, choice: Choice, run: Run, snapshot: dict[str, np.ndarray] | None, frame: np.ndarray,
    members: Sequence[int],
) -> Layered:  # fmt: skip
    """Colour the panels of a projection.

    Args:
        panels: from `clouds.planar`.
        choice: layers and colours.
        run: whose projection it is.
        snapshot: arrays of the frame's step.
        frame: UMAP coordinates `(V, 2n, 2)`, reals first.
        members: indices into the variant axis, one per panel.
    """
    half = frame.shape[1] // 2
    if choice.colour == COLOURS[0] or snapshot is None:
        return Layered(panels)
    if "real_embedding" not in snapshot or snapshot["real_embedding"].shape[1] != half:
        return Layered(panels)
    if choice.colour == "eigenvector":
        modes = [modes_at(run, snapshot, member) for member in members]
        return Layered(colour_by_mode(panels, choice.rank, modes).panels)  # data space has the note
    sources = []
    for member in members:
        embeddings = [snapshot["real_embedding"][member], snapshot["fake_embedding"][member]]
        sources.append(((str(run.path), member, int(snapshot["step"]), embeddings[0][0].tobytes()), embeddings))
    scores = [
        _scores((*key, frame[member].tobytes()), choice.colour, embeddings, frame[member])
        for member, (key, embeddings) in zip(members, sources, strict=True)
    ]
    values = [{"real": of[:half], "fake": of[half:]} for of in scores]
    title = TITLES[choice.colour]
    scale = clouds.scale_of(scores, title=title, stops=SEQUENTIAL, cut=0.02) | {"high": 1.0}
    means = ", ".join(f"{panel['title']} {of.mean():.3f}" for panel, of in zip(panels, scores, strict=True))
    count = neighbours(frame.shape[1])
    note = f"{title.capitalize()}, {MEANING[choice.colour]} ({count} neighbours). Mean: {means}."
    return Layered(clouds.coloured(panels, values, scale), [note])


@st.cache_data(max_entries=64, show_spinner=False)
def _scores(key: tuple, kind: str, _embeddings: Sequence[np.ndarray], _frame: np.ndarray) -> np.ndarray:
    """Score `(2n,)` of each point of a frame `(2n, 2)`."""
    points = torch.from_numpy(np.concatenate(_embeddings))
    found = SCORES[kind](points, torch.from_numpy(_frame), k=neighbours(len(points)))
    return found.numpy().astype(np.float32)
