"""The plane that embeddings are shown on: UMAP, or PCA, which is there at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from app.link import linked
from app.live import Projection, request_projection
from app.session import Page
from mvm.runs.history import History
from mvm.runs.run import Run

__all__ = ["draw_projection"]

UMAP, PCA = "UMAP", "PCA"
HELP = (
    "UMAP keeps neighbours together: groups and gaps mean something, distances and sizes do not. PCA is linear: "
    "distances are those of the embeddings, seen along the two directions in which the reals vary most."
)


def draw_projection(tab: Page, run: Run, records: History, step: int) -> Projection:
    """Draw the choice of a projection, and return it; PCA stands in until UMAP is ready.

    Args:
        tab: the page.
        run: the shown run.
        records: of the run.
        step: of a snapshot.
    """
    way = linked(
        st.segmented_control, "Projection of the embeddings", [UMAP, PCA], default=UMAP, required=True,
        key=tab.key("projection"), label_visibility="collapsed", help=HELP, width="content",
    )  # fmt: skip
    projection = principal_projection(run, records, step) if way == PCA else request_projection(run, records, step)
    if projection is None or not np.isfinite(projection.frame).any():
        projection = _meanwhile(run, records, step, projection)
    return projection


def principal_projection(run: Run, records: History, step: int) -> Projection | None:
    """PCA of the embeddings of a snapshot, on the plane of the reals; None where the snapshot has none."""
    snapshot, plane = records.at(step), records.principal(step)
    if snapshot is None or plane is None or "fake_embedding" not in snapshot:
        return None
    points = [plane.project(snapshot[f"{kind}_embedding"]) for kind in ("real", "fake")]
    axes = [[f"{share:.0%} of variance" for share in of] for of in np.nan_to_num(plane.shares)]
    note = f"step {step:,}; the plane in which the real embeddings vary most, with each axis' share of their variance"
    return Projection(np.concatenate(points, axis=1), step, awaited=False, note=note, axes=axes)


def _meanwhile(run: Run, records: History, step: int, awaited: Projection | None) -> Projection:
    """PCA while there is no UMAP; where there are no embeddings either, an empty projection that says why."""
    found = principal_projection(run, records, step)
    if awaited is None:
        return found or request_projection(run, records, step)
    if found is None:
        return awaited
    return replace(found, awaited=awaited.awaited, note=f"PCA of step {step:,}, until UMAP is ready: {awaited.note}")
