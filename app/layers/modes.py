"""Eigenvector: points coloured by one eigenvector of the distance matrix of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from app.charts import clouds
from app.layers.choice import Choice
from app.layers.panels import Layered, Panels
from app.layers.scene import Scene
from mvm.geometry.spectrum import MOST_RANKS, modes_shown
from mvm.look.palette import DIVERGING
from mvm.runs.run import Run

__all__ = ["Modes", "colour_by_mode", "colour_clouds", "modes_at", "modes_of"]


@dataclass(frozen=True)
class Modes:
    """Leading eigenvectors of the reals' distance matrix, extended to the fakes.

    Attributes:
        values: eigenvalues `(k,)`.
        real: entries at the reals `(k, n)`, of mean square 1.
        fake: entries at the fakes `(k, n)`.
    """

    values: np.ndarray
    real: np.ndarray
    fake: np.ndarray


@st.cache_data(max_entries=128, show_spinner=False)
def modes_of(key: tuple, _embeddings: Sequence[np.ndarray]) -> Modes:
    """Modes of embeddings of reals and of fakes, `(n, d)` each."""
    real, fake = (torch.from_numpy(points) for points in _embeddings)
    found = modes_shown(real, fake, k=MOST_RANKS)
    return Modes(found.values.numpy(), found.real.numpy(), found.fake.numpy())


def modes_at(run: Run, snapshot: dict[str, np.ndarray], member: int) -> Modes:
    """Modes of the embeddings that a snapshot has of a member."""
    embeddings = [snapshot[f"{kind}_embedding"][member] for kind in ("real", "fake")]
    return modes_of((str(run.path), member, int(snapshot["step"]), embeddings[0][0].tobytes()), embeddings)


def colour_clouds(panels: Panels, choice: Choice, scene: Scene) -> Layered:
    """Colour the points of data space; embeddings come from the snapshot, else from the metric."""
    view, found = scene.view, []
    for metric, member in zip(scene.metrics, scene.members, strict=True):
        saved = "real_embedding" in view
        key = (*metric.key, scene.step, saved)
        if saved:
            embeddings = [view["real_embedding"][member], view["fake_embedding"][member]]
        else:
            embeddings = [metric.embed(view["real"]), metric.embed(view["fake"][member])]
        found.append(modes_of(key, embeddings))
    return colour_by_mode(panels, choice.rank, found)


def colour_by_mode(panels: Panels, rank: int, modes: Sequence[Modes]) -> Layered:
    """Colour panels by the eigenvector of one rank, on a scale that they share."""
    values = [{"real": of.real[rank - 1], "fake": of.fake[rank - 1]} for of in modes]
    reals = [of["real"] for of in values]
    scale = clouds.scale_of(reals, title=f"eigenvector {rank}", stops=DIVERGING, symmetric=True)
    numbers = ", ".join(f"{panel['title']} {of.values[rank - 1]:.3g}" for panel, of in zip(panels, modes, strict=True))
    numbers = numbers.replace(" -", " −")
    note = f"Colour: eigenvector {rank} of D / mean D; dots are real, rings are fake. λ: {numbers}."
    return Layered(clouds.coloured(panels, values, scale), [note])
